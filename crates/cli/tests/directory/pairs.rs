//! A repository on two stores from the command line: made, used, refused where half of it is named, mended.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::program::{Program, Ran};
use testkit::restic;
use testkit::site::{PASSWORD, Site, files_below};
use testkit::tree::assert_same_tree;

use crate::{MAINSTAY, fill, id};

struct Pair {
    site: Site,
    hot: PathBuf,
    data: PathBuf,
    program: Program,
}

impl Pair {
    fn new() -> Self {
        let site = Site::bare(MAINSTAY);
        let (hot, data) = (site.path().join("hot"), site.path().join("data"));
        fs::create_dir(&data).unwrap();
        fill(&data, 40, 50_000);
        let program = site.program().with("MAINSTAY_REPOSITORY_HOT", &hot);
        let pair = Self { site, hot, data, program };
        pair.run(&["init", "--no-recovery-key"]).ok();
        pair
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.program.run(arguments)
    }

    fn back_up(&self) -> String {
        let data = self.data.to_str().unwrap();
        id(&self.run(&["backup", "create", "acme", "--directory", data]).ok())
    }

    fn assert_restores(&self, id: &str) {
        let to = tempfile::tempdir_in(self.site.path()).unwrap();
        self.run(&["backup", "restore", id, "--to", to.path().join("back").to_str().unwrap()]).ok();
        assert_same_tree(&self.data, &to.path().join("back"));
    }

    /// Names in a part of the repository; those of leases come and go.
    fn names(&self, part: &Path) -> Vec<String> {
        let names = files_below(part).into_iter().map(|(name, _)| name);
        names.filter(|name| !name.starts_with("x/lease/")).collect()
    }
}

#[test]
fn u8_a_pair_there_and_back_and_restic_reads_the_cold_part_as_it_is() {
    let pair = Pair::new();
    let first = pair.back_up();
    fs::write(pair.data.join("more"), "more").unwrap();
    let second = pair.back_up();
    pair.assert_restores(&second);
    pair.run(&["backup", "verify", &first]).ok();
    let sound = pair.run(&["check", "--read-data"]).ok();
    assert!(!sound.text().contains("missing"), "{}", sound.text());
    // Asking alone restores nothing, also where nothing can be cold.
    let to = pair.site.path().join("not there");
    for program in [&pair.program, &pair.site.program()] {
        let only = ["backup", "restore", &second, "--to", to.to_str().unwrap(), "--warm-up-only"];
        assert!(program.run(&only).ok().text().contains("nothing is cold"));
        assert!(!to.exists());
    }
    // Everything is in cold; in hot all but the packs of data, which are most of it.
    let (hot, cold) = (pair.names(&pair.hot), pair.names(&pair.site.repository()));
    assert!(hot.iter().all(|name| cold.contains(name)), "{hot:?}");
    let only_cold: Vec<_> = cold.iter().filter(|name| !hot.contains(name)).collect();
    assert!(!only_cold.is_empty() && only_cold.iter().all(|name| name.starts_with("data/")), "{only_cold:?}");
    assert!(hot.iter().any(|name| name.starts_with("data/")));
    for restic in restic::installed() {
        pair.site.restic(&restic, &["check", "--read-data"]).ok();
        let snapshots = pair.site.restic(&restic, &["snapshots", "--json"]).ok().text();
        assert_eq!(snapshots.matches("\"short_id\"").count(), 2, "{snapshots}");
        // Hot alone has no data: restic is not deceived into thinking it sound.
        let of_hot = restic.run(&pair.hot, PASSWORD, &["check"]);
        assert_ne!(of_hot.code, Some(0), "{}", of_hot.stderr);
    }
    let doctor = pair.run(&["--json", "doctor"]);
    for area in ["\"area\":\"store\"", "2 backups"] {
        assert!(doctor.text().replace(": ", ":").contains(area), "{}", doctor.text());
    }
    assert_eq!(doctor.text().replace(": ", ":").matches("\"area\":\"store\"").count(), 2);
    pair.run(&["forget", "--keep-last", "1"]).ok();
    pair.run(&["prune", "--cooling-off", "0h"]).ok();
    pair.assert_restores(&second);
    pair.run(&["check", "--read-data"]).ok();
    let ids = pair.run(&["backup", "list"]).ok().text();
    assert!(ids.contains(&second) && ids.lines().count() == 2, "{ids}");
}

#[test]
fn u8_half_a_pair_and_a_part_of_another_one_are_refused_by_name() {
    let pair = Pair::new();
    let first = pair.back_up();
    let hot = pair.hot.to_str().unwrap();
    // The hot part alone.
    let alone = pair.site.program().with("MAINSTAY_REPOSITORY", hot);
    alone.run(&["backup", "list"]).exits(6).says("only the hot part").says("--repository-hot");
    // The cold part alone is a whole repository.
    let cold = pair.site.program();
    assert!(cold.run(&["backup", "list"]).ok().text().contains(&first));
    // Neither another's hot part, nor a whole repository, nor nothing at all.
    let other = Pair::new();
    let list = ["backup", "list"];
    let with = |hot: &Path| pair.program.clone().with("MAINSTAY_REPOSITORY_HOT", hot).run(&list);
    with(&other.hot).exits(2).says("is not the hot part of the repository in");
    with(&other.site.repository()).exits(2).says("is not the hot part");
    with(&pair.site.repository()).exits(2).says("is not the hot part");
    with(&pair.site.path().join("nothing")).exits(6).says("is not in").says("repair hot");
    // Nothing of theirs is overwritten either.
    let repair =
        |hot: &Path| pair.program.clone().with("MAINSTAY_REPOSITORY_HOT", hot).run(&["repair", "hot"]);
    let before = files_below(&other.hot);
    repair(&other.hot).exits(2).says("is not the hot part");
    assert!(files_below(&other.hot) == before);
    repair(&other.site.repository()).exits(2).says("is not the hot part");
    pair.site.run(&["repair", "hot"]).exits(2).says("--repository-hot");
    pair.program.clone().without("MAINSTAY_REPOSITORY").run(&list).exits(2).says("its cold part");
    pair.run(&["init", "--no-recovery-key"]).exits(6).says("exists already");
    let fresh = pair.site.path().join("fresh");
    let twice =
        pair.site.program().with("MAINSTAY_REPOSITORY", &fresh).with("MAINSTAY_REPOSITORY_HOT", &fresh);
    twice.run(&["init", "--no-recovery-key"]).exits(2).says("a place each");
    let into_used = pair.program.clone().with("MAINSTAY_REPOSITORY", &fresh);
    into_used.run(&["init", "--no-recovery-key"]).exits(6).says("exists already").says(hot);
    assert!(!fresh.join("config").exists());
}

#[test]
fn u8_a_lost_or_damaged_hot_part_comes_back_from_the_cold_one() {
    let pair = Pair::new();
    let first = pair.back_up();
    let whole = pair.names(&pair.hot);
    fs::remove_dir_all(&pair.hot).unwrap();
    pair.run(&["backup", "list"]).exits(6).says("repair hot");
    let plan = pair.run(&["repair", "hot", "--dry-run"]).ok().text();
    assert!(plan.contains("objects missing or damaged") && plan.contains("nothing was changed"), "{plan}");
    assert!(!pair.hot.exists());
    pair.run(&["repair", "hot"]).ok();
    assert_eq!(pair.names(&pair.hot), whole);
    assert!(pair.run(&["repair", "hot"]).ok().text().contains("hot       0 objects"));
    pair.assert_restores(&first);
    let second = pair.back_up();
    // One pack of trees is gone, another damaged; so is an index file.
    let packs: Vec<_> = pair.names(&pair.hot).into_iter().filter(|name| name.starts_with("data/")).collect();
    fs::remove_file(pair.hot.join(&packs[0])).unwrap();
    let damaged = pair.hot.join(&packs[1]);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[20] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let index = pair.names(&pair.hot).into_iter().find(|name| name.starts_with("index/")).unwrap();
    fs::remove_file(pair.hot.join(&index)).unwrap();
    pair.run(&["check"]).exits(4).says("2 objects are missing in the hot part, 1 of them").says("repair hot");
    assert!(pair.run(&["repair"]).ok().text().contains("hot       3 objects"));
    fs::remove_file(pair.hot.join(&index)).unwrap();
    assert!(pair.run(&["check"]).ok().text().contains("1 objects are missing in the hot part"));
    pair.run(&["repair", "hot"]).ok();
    pair.run(&["check", "--read-data"]).ok();
    pair.assert_restores(&second);
}

#[test]
fn u8_a_recovery_key_is_seen_also_when_the_hot_part_cannot_be_made() {
    let site = Site::bare(MAINSTAY);
    let hot = site.path().join("hot");
    let program = site.program().with("MAINSTAY_REPOSITORY_HOT", &hot);
    // Hot can be asked whether anything is there, and takes no key.
    fs::create_dir(&hot).unwrap();
    fs::write(hot.join("keys"), "no directory").unwrap();
    let made = program.run(&["--json", "init"]);
    assert_ne!(made.code, Some(0));
    assert!(made.stderr.contains("repair hot"), "{}", made.stderr);
    let made: serde_json::Value = serde_json::from_str(&made.text()).unwrap();
    fs::remove_file(hot.join("keys")).unwrap();
    program.run(&["repair", "hot"]).ok();
    program.with("MAINSTAY_PASSWORD", made["recoveryKey"].as_str().unwrap()).run(&["backup", "list"]).ok();
}

#[test]
fn u8_check_and_repair_go_on_past_a_damaged_index_file_of_a_pair() {
    let pair = Pair::new();
    let id = pair.back_up();
    let index = pair.names(&pair.hot).into_iter().find(|name| name.starts_with("index/")).unwrap();
    for part in [&pair.hot, &pair.site.repository()] {
        let mut bytes = fs::read(part.join(&index)).unwrap();
        bytes[20] ^= 1;
        fs::write(part.join(&index), bytes).unwrap();
    }
    let check = pair.run(&["check"]).exits(4);
    assert!(check.text().contains("its bytes do not fit its name"), "{}", check.text());
    let hot = pair.run(&["repair", "hot"]).exits(4).says("mainstay repair");
    assert!(hot.text().contains("is damaged in the cold part"), "{}", hot.text());
    let repair = pair.run(&["repair"]).ok().text();
    assert!(repair.contains("index     1 unreadable files, "), "{repair}");
    pair.run(&["check", "--read-data"]).ok();
    pair.run(&["repair", "hot"]).ok();
    pair.assert_restores(&id);
}

#[test]
fn u8_copies_mirrors_and_places_beside_have_hot_parts_of_their_own() {
    let pair = Pair::new();
    let id = pair.back_up();
    let path = |name: &str| pair.site.path().join(name).to_str().unwrap().to_owned();
    let made = |name: &str| {
        let (cold, hot) = (path(&format!("{name}-cold")), path(&format!("{name}-hot")));
        let program =
            pair.site.program().with("MAINSTAY_REPOSITORY", &cold).with("MAINSTAY_REPOSITORY_HOT", &hot);
        program.run(&["init", "--no-recovery-key"]).ok();
        (program, cold, hot)
    };
    let is_complete = |program: &Program, hot: &str, id: &str| {
        // Hot lacks nothing that `check` knows it should have, and the data come back.
        let sound = program.run(&["check", "--read-data"]).ok();
        assert!(!sound.text().contains("missing"), "{}", sound.text());
        assert!(pair.names(Path::new(hot)).iter().any(|name| name.starts_with("snapshots/")));
        let to = tempfile::tempdir_in(pair.site.path()).unwrap();
        program.run(&["backup", "restore", id, "--to", to.path().join("back").to_str().unwrap()]).ok();
        assert_same_tree(&pair.data, &to.path().join("back"));
    };
    let (copied, cold, hot) = made("copied");
    pair.run(&["copy", "--to", &cold, "--to-hot", &hot]).ok();
    is_complete(&copied, &hot, &id);
    let (mirrored, cold, hot) = made("mirrored");
    let own = pair.site.repository().to_str().unwrap().to_owned();
    let own_hot = pair.hot.to_str().unwrap().to_owned();
    pair.site.program().run(&["mirror", &own, &cold, "--from-hot", &own_hot, "--to-hot", &hot]).ok();
    is_complete(&mirrored, &hot, &id);
    let (beside, cold, hot) = made("beside");
    let data = pair.data.to_str().unwrap();
    let two = ["--dest", &own, "--dest-hot", &own_hot, "--dest", &cold, "--dest-hot", &hot];
    let create = [&["backup", "create", "acme", "--directory", data][..], &two].concat();
    let newest = self::id(&pair.site.program().run(&create).ok());
    is_complete(&beside, &hot, &newest);
    pair.assert_restores(&newest);
    let plain = path("plain");
    pair.site.program().with("MAINSTAY_REPOSITORY", &plain).run(&["init", "--no-recovery-key"]).ok();
    let without = ["--dest", &plain, "--dest-hot", "none", "--dest", &cold, "--dest-hot", &hot];
    let create = [&["backup", "create", "acme", "--directory", data][..], &without].concat();
    pair.site.program().run(&create).ok();
    let more = pair.site.program().run(&[&create[..], &["--dest-hot", &hot]].concat());
    assert_eq!((more.code, more.stderr.contains("more --dest-hot than --dest")), (Some(2), true));
    let alone = ["backup", "create", "acme", "--directory", data, "-r", &plain, "--dest-hot", &hot];
    pair.site.program().run(&alone).exits(2).says("more --dest-hot than --dest");
}
