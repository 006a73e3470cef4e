//! kill -9 at every moment of prune, key rotation, copy, forget and repair; of backups, one after the other.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use testkit::moments::Moments;
use testkit::restic;
use testkit::site::{PASSWORD, files_below};
use testkit::strace;

use crate::directory_site::{create, fill, id, site};
use crate::moment::Verb;
use crate::scene::{END, NEW_PASSWORD, Scene, Target, assert_exports, assert_sound, stored};

/// Kills at times by chance, for each verb.
const ROUNDS: usize = 5;
/// Bytes by which what is compressed and sealed again may differ: headers, and times in trees.
const SLACK: u64 = 2000;

/// Kill the verb everywhere; `judge` is called with the moment.
fn killed_everywhere(scene: &Scene, arguments: &[&str], test: &str, mut judge: impl FnMut(&str)) {
    let verb = Verb { program: scene.program(), arguments, reset: &|| scene.reset() };
    verb.killed_everywhere(ROUNDS, &mut Moments::seeded(test), &mut |moment| {
        judge(&format!("{arguments:?}, {moment}"));
    });
}

/// Both steps of prune. Then the next backup, and prune to its end.
fn prune_is_killed(scene: &Scene, arguments: &[&str], test: &str) {
    // What is marked is not relied on, so that much is sent again, killed or not.
    scene.reset();
    scene.run(&["prune", "--max-unused", "0"]).ok();
    let sent_max = scene.sent_by_next_backup() + SLACK;
    killed_everywhere(scene, arguments, test, |moment| {
        scene.assert_sound(moment);
        scene.assert_kept(moment);
        let sent = scene.sent_by_next_backup();
        assert!(sent <= sent_max, "{moment}: {sent} of {sent_max} bytes were sent again");
        scene.run(&END).ok();
        scene.run(&["check", "--read-data"]).ok();
        assert_eq!(scene.site.ids().len(), scene.live.len() + 1, "{moment}");
        scene.live.iter().for_each(|kept| assert_exports(&scene.program(), kept, moment));
        assert_eq!(
            scene.run(&["backup", "undelete"]).ok().text().lines().count(),
            1,
            "{moment}: a header alone"
        );
        let left = |folder: &str| {
            let folder = scene.site.repository().join(folder);
            if folder.exists() { files_below(&folder).len() } else { 0 }
        };
        assert_eq!((left("locks"), left("x/lease"), left("x/deleted")), (0, 0, 0), "{moment}");
    });
}

#[test]
fn prune_killed_while_it_marks_costs_nothing() {
    if strace::is_permitted() {
        prune_is_killed(
            &Scene::new(),
            &["prune", "--max-unused", "0"],
            "prune_killed_while_it_marks_costs_nothing",
        );
    }
}

#[test]
fn prune_killed_while_it_deletes_costs_nothing() {
    if strace::is_permitted() {
        prune_is_killed(&Scene::new(), &END, "prune_killed_while_it_deletes_costs_nothing");
    }
}

/// Whether a password opens the repository: mainstay and every restic say the same.
#[track_caller]
fn opens(scene: &Scene, password: &str, moment: &str) -> bool {
    let ran = scene.program().with("MAINSTAY_PASSWORD", password).run(&["check"]);
    assert!(matches!(ran.code, Some(0 | 2)), "{moment}: {}{}", ran.text(), ran.stderr);
    for restic in restic::installed() {
        let theirs = restic.run(&scene.site.repository(), password, &["--no-lock", "snapshots"]);
        assert_eq!(theirs.code == Some(0), ran.code == Some(0), "{moment}: {}", theirs.stderr);
    }
    ran.code == Some(0)
}

#[test]
fn a_killed_key_rotation_never_leaves_a_repository_that_no_password_opens() {
    if !strace::is_permitted() {
        return;
    }
    let scene = Scene::new();
    let test = "a_killed_key_rotation_never_leaves_a_repository_that_no_password_opens";
    let new = scene.password_file("new", NEW_PASSWORD);
    let rotate = ["key", "rotate", "--new-password-file", &new];
    let mut seen = BTreeSet::new();
    killed_everywhere(&scene, &rotate, test, |moment| {
        let (old, new) = (opens(&scene, PASSWORD, moment), opens(&scene, NEW_PASSWORD, moment));
        assert!(old || new, "{moment}: nothing opens it");
        seen.insert((old, new));
        if old {
            scene.run(&rotate).ok();
        }
        assert_eq!((opens(&scene, PASSWORD, moment), opens(&scene, NEW_PASSWORD, moment)), (false, true));
    });
    assert_eq!(seen, [(true, false), (true, true), (false, true)].into(), "killed in each of its states");
    let add = ["key", "add", "--new-password-file", &new];
    killed_everywhere(&scene, &add, test, |moment| {
        assert!(opens(&scene, PASSWORD, moment), "{moment}");
        scene.run(&add).ok();
        assert!(opens(&scene, PASSWORD, moment) && opens(&scene, NEW_PASSWORD, moment), "{moment}");
    });
    scene.reset();
    let added: Value =
        serde_json::from_slice(&scene.run(&["--json", "key", "add", add[2], add[3]]).ok().stdout).unwrap();
    scene.keep_as_it_is();
    let remove = ["key", "remove", added["id"].as_str().unwrap()];
    killed_everywhere(&scene, &remove, test, |moment| {
        assert!(opens(&scene, PASSWORD, moment), "{moment}");
        let there = opens(&scene, NEW_PASSWORD, moment);
        scene.run(&remove).exits(if there { 0 } else { 5 });
        assert!(opens(&scene, PASSWORD, moment) && !opens(&scene, NEW_PASSWORD, moment), "{moment}");
    });
    scene.assert_kept("at the end");
}

/// The repository without what says who is at work.
fn unlocked(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let all = scene.site.files().into_iter();
    all.filter(|(name, _)| !name.starts_with("locks/") && !name.starts_with("x/lease/")).collect()
}

#[test]
fn a_killed_copy_is_sound_on_both_sides_and_sends_nothing_twice() {
    if !strace::is_permitted() {
        return;
    }
    let scene = Scene::new();
    let target = Target::new(&scene);
    let (there, path) = (&target.program, &target.path);
    let reset = || {
        scene.reset();
        target.reset();
    };
    let arguments = ["copy", "--to", path.to_str().unwrap()];
    scene.run(&arguments).ok();
    let (once, source) = (stored(path), unlocked(&scene));
    let verb = Verb { program: scene.program(), arguments: &arguments, reset: &reset };
    let mut moments = Moments::seeded("a_killed_copy_is_sound_on_both_sides_and_sends_nothing_twice");
    verb.killed_everywhere(ROUNDS, &mut moments, &mut |moment| {
        let moment = format!("copy, {moment}");
        assert!(unlocked(&scene) == source, "{moment}: the source is as it was");
        assert_sound(there, path, &moment);
        let listed = there.run(&["backup", "list"]).ok().text();
        for kept in scene.live.iter().filter(|kept| listed.contains(&format!("{} ", kept.id))) {
            assert_exports(there, kept, &moment);
        }
        scene.run(&arguments).ok();
        there.run(&["check", "--read-data"]).ok();
        scene.live.iter().for_each(|kept| assert_exports(there, kept, &moment));
        assert!(stored(path) < once + SLACK, "{moment}: {} bytes instead of {once}", stored(path));
    });
}

#[test]
fn a_killed_forget_deletes_a_backup_or_keeps_it_and_never_both_nor_neither() {
    if !strace::is_permitted() {
        return;
    }
    let mut scene = Scene::new();
    let test = "a_killed_forget_deletes_a_backup_or_keeps_it_and_never_both_nor_neither";
    let forget = ["forget", "--keep-last", "1"];
    let going = [scene.live.pop().unwrap()];
    killed_everywhere(&scene, &forget, test, |moment| {
        scene.assert_sound(moment);
        let ids = scene.site.ids();
        let is_seen = ids.contains(&going[0].id);
        match is_seen {
            true => assert_exports(&scene.program(), &going[0], moment),
            false => assert_eq!(scene.assert_comes_back(&going, moment), 1, "{moment}"),
        }
        scene.run(&forget).ok();
        scene.assert_kept(moment);
        assert_eq!(scene.assert_comes_back(&going, moment), 1, "{moment}");
    });
}

/// What every backup of the repository exports.
fn exports(scene: &Scene) -> BTreeSet<Vec<u8>> {
    let ids = scene.site.ids();
    ids.iter().map(|id| scene.run(&["backup", "export", id]).ok().stdout).collect()
}

#[test]
fn a_killed_repair_loses_nothing_more_and_the_next_one_ends_the_same() {
    if !strace::is_permitted() {
        return;
    }
    let scene = Scene::new();
    // The pack of what `aa` and `cc` share is damaged in one blob; one index file is gone.
    let repository = scene.site.repository();
    let mut packs = files_below(&repository.join("data"));
    packs.sort_by_key(|(_, bytes)| bytes.len());
    let (name, bytes) = packs.pop().unwrap();
    let pack = repository.join("data").join(name);
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, [&bytes[..1000], &[bytes[1000] ^ 1], &bytes[1001..]].concat()).unwrap();
    let index = files_below(&repository.join("index")).into_iter().map(|(name, _)| name).max().unwrap();
    fs::remove_file(repository.join("index").join(index)).unwrap();
    scene.keep_as_it_is();
    let repair = ["repair", "--replace"];
    scene.run(&repair).ok();
    let saved = exports(&scene);
    assert_eq!(saved.len(), 2, "the damage left both of them something");
    let test = "a_killed_repair_loses_nothing_more_and_the_next_one_ends_the_same";
    killed_everywhere(&scene, &repair, test, |moment| {
        scene.run(&repair).ok();
        // What was replaced could come back as broken as it was: that is given up here.
        scene.run(&END).ok();
        scene.assert_sound(moment);
        assert!(exports(&scene) == saved, "{moment}");
    });
}

#[test]
fn backups_killed_one_after_the_other_send_nothing_twice() {
    const SIZE: u64 = 200 * 800_000;
    let (site, data) = site();
    fill(&data, 200, 800_000);
    let mut moments = Moments::seeded("backups_killed_one_after_the_other_send_nothing_twice");
    let begin = std::time::Instant::now();
    let other = site.program().with("MAINSTAY_REPOSITORY", site.path().join("measured"));
    other.run(&["init", "--no-recovery-key"]).ok();
    other.run(&["backup", "create", "acme", "--directory", data.to_str().unwrap()]).ok();
    let length = begin.elapsed();
    for _ in 0..ROUNDS {
        let before = stored(&site.repository());
        let mut child =
            site.program().start(&["backup", "create", "acme", "--directory", data.to_str().unwrap()]);
        std::thread::sleep(moments.below(length / 2));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(stored(&site.repository()) >= before, "a backup takes nothing away");
        site.run(&["check", "--read-data"]).ok();
    }
    let made = id(&create(&site, &data, &[]).ok());
    let bytes = stored(&site.repository());
    assert!(bytes < SIZE * 102 / 100, "{bytes} bytes: something was sent twice");
    assert!(site.ids().contains(&made));
    site.assert_sound();
}
