//! A full disk and a read-only one under prune, key rotation, copy and forget: they say so, nothing is lost, and with room
//! the same command finishes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use testkit::disk::SmallDisk;

use crate::scene::{END, NEW_PASSWORD, Scene, assert_exports};

/// Room on the disk, beside a repository of one megabyte.
const SIZE: &str = "6m";

/// The scene's repository on a small disk of its own; `None`, and said so, where none can be made.
fn on_small_disk(scene: &Scene) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&scene.site.repository(), SIZE)?;
    bring_back(scene, &disk);
    Some(disk)
}

fn bring_back(scene: &Scene, disk: &SmallDisk) {
    for entry in fs::read_dir(disk.path()).unwrap() {
        Command::new("rm").arg("-rf").arg(entry.unwrap().path()).status().unwrap();
    }
    let copied = Command::new("cp").arg("-a").arg(scene.aside.join(".")).arg(disk.path()).status().unwrap();
    assert!(copied.success());
}

/// Fill the disk up to `room` bytes.
fn fill_up(disk: &Path, room: u64) {
    let mut ballast = File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[7; 4096]).is_ok() {}
    let len = ballast.metadata().unwrap().len();
    ballast.set_len(len.saturating_sub(room)).unwrap();
}

#[test]
fn a_full_disk_stops_prune_forget_and_key_rotation_and_costs_nothing() {
    let mut scene = Scene::new();
    let Some(disk) = on_small_disk(&scene) else { return };
    let new = scene.password_file("new", NEW_PASSWORD);
    let going = scene.live.pop().unwrap();
    let verbs: [(&[&str], u64); 5] = [
        (&END, 0),
        // Room for leases and marks, and not for what is repacked.
        (&END, 90_000),
        (&["forget", "--keep-last", "1"], 0),
        (&["backup", "delete", &going.id], 0),
        (&["key", "rotate", "--new-password-file", &new], 0),
    ];
    for (arguments, room) in verbs {
        bring_back(&scene, &disk);
        fill_up(disk.path(), room);
        let moment = format!("{arguments:?} with {room} bytes");
        let ran = scene.run(arguments);
        assert!(ran.code == Some(1) && ran.stderr.contains("No space left"), "{moment}: {ran:?}");
        // Reading needs no room.
        assert_exports(&scene.program(), &going, &moment);
        fs::remove_file(disk.path().join("ballast")).unwrap();
        scene.run(&["check", "--read-data"]).ok();
        scene.live.push(going.clone());
        scene.assert_kept(&moment);
        scene.live.pop();
        scene.run(arguments).ok();
        let after = scene.program();
        let after = if arguments[0] == "key" { after.with("MAINSTAY_PASSWORD", NEW_PASSWORD) } else { after };
        after.run(&["check", "--read-data"]).ok();
        scene.live.iter().for_each(|kept| assert_exports(&after, kept, &moment));
    }
}

/// As the book says it: something that can go stands beside the repository.
#[test]
fn a_reserve_gives_prune_on_a_full_disk_the_room_to_begin() {
    let mut scene = Scene::new();
    let Some(disk) = on_small_disk(&scene) else { return };
    let reserve = disk.path().join("reserve");
    fs::write(&reserve, vec![7; 512 << 10]).unwrap();
    fill_up(disk.path(), 0);
    let going = scene.live.pop().unwrap();
    let forget = ["backup", "delete", &going.id];
    let prune = ["prune", "--cooling-off", "0h", "--max-unused", "100%"];
    for verb in [&forget[..], &prune] {
        scene.run(verb).exits(1).says("No space left").says("When the disk is full");
    }
    fs::remove_file(&reserve).unwrap();
    scene.run(&forget).ok();
    let before = scene.site.files().len();
    scene.run(&prune).ok();
    assert!(scene.site.files().len() < before);
    scene.run(&["check", "--read-data"]).ok();
    scene.live.iter().for_each(|kept| assert_exports(&scene.program(), kept, "after it"));
}

#[test]
fn a_full_disk_stops_a_copy_and_with_room_it_finishes() {
    let scene = Scene::new();
    let target = scene.site.path().join("target");
    let Some(disk) = SmallDisk::mount(&target, SIZE) else { return };
    let there = scene.program().with("MAINSTAY_REPOSITORY", &target);
    there.run(&["init", "--no-recovery-key"]).ok();
    let arguments = ["copy", "--to", target.to_str().unwrap()];
    for room in [0, 90_000, 300_000] {
        fill_up(disk.path(), room);
        scene.run(&arguments).exits(1).says("No space left");
        fs::remove_file(disk.path().join("ballast")).unwrap();
        there.run(&["check", "--read-data"]).ok();
        assert!(
            there.run(&["backup", "list"]).ok().text().lines().count() <= 1,
            "{room}: half of it is no copy"
        );
    }
    scene.run(&arguments).ok();
    there.run(&["check", "--read-data"]).ok();
    scene.live.iter().for_each(|kept| assert_exports(&there, kept, "with room"));
    scene.assert_kept("with room");
}

#[test]
fn a_read_only_disk_is_said_by_every_verb_and_still_read() {
    let scene = Scene::new();
    let Some(disk) = on_small_disk(&scene) else { return };
    let new = scene.password_file("new", NEW_PASSWORD);
    let from = scene.site.path().join("from");
    let there = scene.program().with("MAINSTAY_REPOSITORY", &from);
    there.run(&["init", "--no-recovery-key"]).ok();
    let repository = scene.site.repository();
    disk.remount("ro");
    let before = scene.site.files();
    let verbs: [&[&str]; 6] = [
        &END,
        &["prune"],
        &["forget", "--keep-last", "1"],
        &["backup", "undelete", &scene.deleted[0].id],
        &["key", "rotate", "--new-password-file", &new],
        &["repair"],
    ];
    for arguments in verbs {
        scene.run(arguments).exits(1).says("Read-only");
    }
    there.run(&["copy", "--to", repository.to_str().unwrap()]).exits(1).says("Read-only");
    assert!(scene.site.files() == before, "something was changed");
    scene.run(&["check", "--read-data"]).ok();
    scene.live.iter().for_each(|kept| assert_exports(&scene.program(), kept, "read-only"));
    disk.remount("rw");
    scene.assert_kept("writable again");
    for arguments in verbs {
        bring_back(&scene, &disk);
        scene.run(arguments).ok();
    }
}
