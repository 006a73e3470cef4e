//! kill -9 of prune, of a key's rotation and of a copy, at moments by chance, in object storage: nothing that was kept is
//! harmed, and the next run finishes what was begun.

use std::time::{Duration, Instant};

use testkit::moments::Moments;
use testkit::program::Program;
use testkit::s3::S3;
use testkit::site::{PASSWORD, assert_restores, id_of};

use crate::{BUCKET, Far, ceph, cold, text};

/// Kills of each verb.
const ROUNDS: usize = 6;
/// Both steps of prune at once.
const PRUNE: [&str; 5] = ["prune", "--cooling-off", "0h", "--max-unused", "0"];

/// Kills a verb somewhere in the time that it took when it was let alone.
struct Killer {
    moments: Moments,
    took: Duration,
}

impl Killer {
    fn new(test: &str, program: &Program, arguments: &[&str]) -> Self {
        let begin = Instant::now();
        program.run(arguments).ok();
        Self { moments: Moments::seeded(test), took: begin.elapsed() }
    }

    /// What is said of it when something is wrong.
    fn kill(&mut self, program: &Program, arguments: &[&str]) -> String {
        let after = self.moments.below(self.took);
        let mut child = program.start(arguments);
        std::thread::sleep(after);
        // It may have ended already.
        child.kill().unwrap();
        format!("killed after {after:?}, {:?}", child.wait().unwrap())
    }
}

#[test]
fn a_killed_prune_in_object_storage_harms_nothing_that_is_kept() {
    let s3 = ceph();
    let far = Far::on(&s3, "prune");
    let source = far.source("kept", 12);
    let kept = id_of(&far.back_up(&source, &[]).ok());
    let leave_garbage = |round: usize| {
        let source = far.source(&"garbage".repeat(round + 1), 4);
        let id = id_of(&far.back_up(&source, &[]).ok());
        far.run(&["backup", "delete", &id]).ok();
    };
    leave_garbage(0);
    let test = "a_killed_prune_in_object_storage_harms_nothing_that_is_kept";
    let mut killer = Killer::new(test, &far.program, &PRUNE);
    for round in 1..=ROUNDS {
        leave_garbage(round);
        let moment = killer.kill(&far.program, &PRUNE);
        far.run(&["check", "--read-data"]).ok();
        assert_eq!(far.ids(), std::slice::from_ref(&kept), "{moment}");
        far.assert_restores(&kept, &source);
    }
    far.run(&PRUNE).ok();
    far.assert_sound();
    let stats = far.json(&["stats"]);
    let stored: u64 = stats["storedBytes"].as_str().unwrap().parse().unwrap();
    assert!(stored < 14 << 20, "{stats}");
    far.assert_restores(&kept, &source);
}

#[test]
fn a_killed_rotation_in_object_storage_leaves_a_key_that_opens() {
    let s3 = ceph();
    let far = Far::on(&s3, "rotate");
    let source = far.source("kept", 4);
    let kept = id_of(&far.back_up(&source, &[]).ok());
    let password = |round: usize| PASSWORD.replace('C', &round.to_string());
    let with = |password: &str| far.program.clone().with("MAINSTAY_PASSWORD", password);
    let opens = |password: &str| with(password).run(&["backup", "list"]).code == Some(0);
    let file = far.site.path().join("new");
    let rotate = ["key", "rotate", "--new-password-file", text(&file)];
    let told = |password: &str| {
        std::fs::write(&file, password).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    told(&password(0));
    let test = "a_killed_rotation_in_object_storage_leaves_a_key_that_opens";
    let mut killer = Killer::new(test, &far.program, &rotate);
    for round in 0..ROUNDS {
        let (old, new) = (password(round), password(round + 1));
        told(&new);
        let moment = killer.kill(&with(&old), &rotate);
        assert!(opens(&old) || opens(&new), "{moment}: nothing opens it");
        if opens(&old) {
            with(&old).run(&rotate).ok();
        }
        assert_eq!((opens(&old), opens(&new)), (false, true), "round {round}, {moment}");
    }
    let last = with(&password(ROUNDS));
    last.run(&["check", "--read-data"]).ok();
    assert_restores(&last, &kept, &source);
}

#[test]
fn a_killed_copy_in_object_storage_is_finished_by_the_next_one() {
    let s3 = ceph();
    let (far, target) = (Far::on(&s3, "from"), Far::on(&s3, "to"));
    let back_up = |round: usize| {
        let source = far.source(&"source".repeat(round + 1), 10);
        (id_of(&far.back_up(&source, &[]).ok()), source)
    };
    let mut made = vec![back_up(0)];
    let to = s3.url(BUCKET, "to");
    let copy = ["copy", "--to", &to];
    let test = "a_killed_copy_in_object_storage_is_finished_by_the_next_one";
    let mut killer = Killer::new(test, &far.program, &copy);
    for round in 1..=ROUNDS {
        made.push(back_up(round));
        let moment = killer.kill(&far.program, &copy);
        target.run(&["check", "--read-data"]).ok();
        let there = target.ids();
        assert!(there.len() == round || there.len() == round + 1, "{moment}: {there:?}");
        far.run(&copy).ok();
        assert_eq!(target.ids().len(), round + 1, "{moment}");
    }
    made.iter().for_each(|(id, source)| target.assert_restores(id, source));
    target.assert_sound();
    far.assert_sound();
}

/// Both parts are sound, each by itself as far as it goes, and hot has nothing that cold lacks.
fn assert_pair(s3: &S3, far: &Far, kept: &str, moment: &str) {
    far.run(&["check", "--read-data"]).ok();
    far.program.clone().without("MAINSTAY_REPOSITORY_HOT").run(&["check", "--read-data"]).ok();
    assert!(far.ids().iter().any(|id| id == kept), "{moment}");
    let listed = s3.ask("GET", BUCKET, &[], "");
    assert!(!listed.contains("<IsTruncated>true"), "one page is enough");
    let names = |part: &str| -> std::collections::BTreeSet<String> {
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next());
        keys.filter_map(|key| key.strip_prefix(part)).map(str::to_owned).collect()
    };
    let alone: Vec<_> = names("hot/").difference(&names("cold/")).cloned().collect();
    assert!(alone.is_empty(), "{moment}: hot alone has {alone:?}");
}

fn back_up(source: &std::path::Path) -> [&str; 5] {
    ["backup", "create", "acme", "--directory", text(source)]
}

#[test]
fn u8_who_is_killed_at_work_on_two_stores_leaves_a_sound_pair() {
    let s3 = ceph();
    let far = cold::pair(&s3, "");
    let source = far.source("kept", 8);
    let kept = id_of(&far.back_up(&source, &[]).ok());
    let test = "u8_who_is_killed_at_work_on_two_stores_leaves_a_sound_pair";
    let changing = |round: usize| far.source(&"changing".repeat(round), 6);
    let first = changing(1);
    let mut killer = Killer::new(test, &far.program, &back_up(&first));
    for round in 2..=ROUNDS + 1 {
        let source = changing(round);
        let moment = killer.kill(&far.program, &back_up(&source));
        assert_pair(&s3, &far, &kept, &format!("backup {moment}"));
    }
    let leave_garbage = |round: usize| {
        let id = id_of(&far.back_up(&far.source(&"garbage".repeat(round), 4), &[]).ok());
        far.run(&["backup", "delete", &id]).ok();
    };
    leave_garbage(1);
    let mut killer = Killer::new(test, &far.program, &PRUNE);
    for round in 2..=ROUNDS + 1 {
        leave_garbage(round);
        let moment = killer.kill(&far.program, &PRUNE);
        assert_pair(&s3, &far, &kept, &format!("prune {moment}"));
    }
    far.run(&["repair", "hot"]).ok();
    far.assert_sound();
    far.assert_restores(&kept, &source);
}
