//! Several destinations of one backup: one that is down fails no other, and catches up.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::program::{Program, Ran};
use testkit::site::{PASSWORD, Site};
use testkit::tree::assert_same_tree;

use crate::{MAINSTAY, fill, id};

/// Three places, the second under another password, and a directory.
struct World {
    site: Site,
    program: Program,
    other_password: String,
    data: PathBuf,
}

impl World {
    fn new() -> Self {
        let site = Site::bare(MAINSTAY);
        let data = site.path().join("data");
        fs::create_dir(&data).unwrap();
        fill(&data, 20, 50_000);
        let program = site.program().without("MAINSTAY_REPOSITORY");
        let other_password = PASSWORD.replace('C', "D");
        fs::write(site.path().join("usual"), PASSWORD).unwrap();
        fs::write(site.path().join("other"), &other_password).unwrap();
        let world = Self { site, program, other_password, data };
        for place in ["a", "b", "c"] {
            world.on(place).run(&["init", "--no-recovery-key"]).ok();
        }
        world
    }

    fn place(&self, name: &str) -> String {
        self.site.path().join(name).to_str().unwrap().to_owned()
    }

    /// The program on one of them.
    fn on(&self, name: &str) -> Program {
        let program = self.program.clone().with("MAINSTAY_REPOSITORY", self.place(name));
        if name == "b" { program.with("MAINSTAY_PASSWORD", &self.other_password) } else { program }
    }

    /// Back up into all three.
    fn create(&self) -> Ran {
        let (a, b, c) = (self.place("a"), self.place("b"), self.place("c"));
        let (usual, other) = (self.place("usual"), self.place("other"));
        let create = ["--json", "backup", "create", "acme", "--directory", self.data.to_str().unwrap()];
        let places = ["--dest", &a, "--dest-password-file", &usual, "--dest", &b];
        let rest = ["--dest-password-file", &other, "--dest", &c];
        self.program.run(&[&create[..], &places, &rest].concat())
    }

    fn ids(&self, place: &str) -> Vec<String> {
        let listed = self.on(place).run(&["backup", "list"]).ok().text();
        listed.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    fn take_away(&self, place: &str) {
        fs::rename(self.place(place), self.place(&format!("{place}-away"))).unwrap();
    }

    fn bring_back(&self, place: &str) {
        fs::rename(self.place(&format!("{place}-away")), self.place(place)).unwrap();
    }
}

fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn every_place_gets_the_backup_and_one_that_was_down_catches_up() {
    let world = World::new();
    let mut ids = vec![id(&world.create().ok())];
    let all_have = |ids: &[String]| {
        let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
        for place in ["a", "b", "c"] {
            assert_eq!(world.ids(place), newest_first, "{place}");
        }
    };
    all_have(&ids);
    let back = world.site.path().join("back");
    world.on("b").run(&["backup", "restore", &ids[0], "--to", back.to_str().unwrap()]).ok();
    assert_same_tree(&world.data, &back);

    // The second one is down for two nights: each says so and has its backup in the others.
    world.take_away("b");
    for night in 0..2 {
        fs::write(world.data.join("night"), [night; 9]).unwrap();
        let ran = world.create().exits(3).says("1 places have no copy");
        let document = json(&ran);
        let failures = document["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 1, "{document}");
        assert_eq!(failures[0]["destination"], world.place("b").as_str(), "{document}");
        assert_eq!(document["copies"].as_array().unwrap().len(), 1, "{document}");
        ids.push(id(&ran));
    }
    world.bring_back("b");
    ids.push(id(&world.create().ok()));
    all_have(&ids);

    // The first one is down: the next one gets the backup, and the first one catches up from it.
    world.take_away("a");
    let ran = world.create().exits(3).says("copy failed destination=");
    assert_eq!(json(&ran)["record"]["location"], world.place("b").as_str());
    ids.push(id(&ran));
    world.bring_back("a");
    ids.push(id(&world.create().ok()));
    all_have(&ids);
    for place in ["a", "b", "c"] {
        world.on(place).run(&["check", "--read-data"]).ok();
    }
}

#[test]
fn what_a_place_forgot_by_its_own_policy_does_not_come_back() {
    let world = World::new();
    let ids: Vec<_> = (0..3).map(|_| id(&world.create().ok())).collect();
    world.on("b").run(&["forget", "--keep-last", "1"]).ok();
    let newest = id(&world.create().ok());
    assert_eq!(world.ids("b"), [newest.as_str(), &ids[2]]);
    assert_eq!(world.ids("a").len(), 4);
}

#[test]
fn places_that_make_no_sense_are_refused_before_anything_is_read() {
    let world = World::new();
    let create = ["backup", "create", "acme", "--directory", world.data.to_str().unwrap()];
    let (a, c) = (world.place("a"), world.place("c"));
    let run = |more: &[&str]| world.program.run(&[&create[..], more].concat());
    let same = format!("file://{}", Path::new(&a).display());
    run(&["--dest", &a, "--dest", &same]).exits(2).says("are one repository");
    let usual = world.place("usual");
    let two = ["--dest-password-file", &usual, "--dest-password-file", &usual];
    run(&[&["--dest", &a], &two[..]].concat()).exits(2).says("more --dest-password-file");
    world.take_away("a");
    world.take_away("c");
    // None is there: the first one says why.
    run(&["--dest", &a, "--dest", &c]).exits(6).says(&a);
    assert!(world.ids("b").is_empty());
}
