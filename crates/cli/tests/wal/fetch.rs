//! Fetching, and what a server that recovers is told.

use std::fs;

use testkit::disk::SmallDisk;

use crate::scene::{Scene, name, segment};

#[test]
fn pitfall_08_absent_is_one_and_everything_else_stops_the_recovery() {
    let scene = Scene::new();
    scene.write(3, 1);
    scene.push(3, &[]).ok();
    let program = scene.site.program();
    let to = scene.target().display().to_string();
    for more in [&["--no-agent"][..], &[]] {
        scene.fetch(&name(3), more).ok();
        fs::remove_file(scene.target()).unwrap();
        scene.fetch(&name(4), more).exits(1).says("is not archived");
        scene.fetch("00000002.history", more).exits(1).says("is not archived");
    }
    let line = ["wal", "fetch", &name(3), &to, "--timeout", "0s", "--no-agent"];
    let wrong = [
        program.clone().with("MAINSTAY_PASSWORD", "wrong"),
        program.clone().with("MAINSTAY_REPOSITORY", "/nonexistent/repository"),
        program.clone().without("MAINSTAY_PASSWORD"),
        program.clone().without("MAINSTAY_REPOSITORY").with("MAINSTAY_BACKUP_DIR", "/nonexistent"),
        program.clone().without("MAINSTAY_REPOSITORY").with("MAINSTAY_CONFIG", "/nonexistent/mainstay.toml"),
        program.clone().with("MAINSTAY_RETRY_FOR", "nonsense"),
    ];
    for program in &wrong {
        program.run(&line).exits(255);
    }
    program.run(&["wal", "fetch", &name(3), &to, "--typo"]).exits(255);
    program.run(&["wal", "fetch", "nonsense", &to]).exits(255);
    program.run(&["wal", "fetch"]).exits(255);
    // A standby asks again.
    fs::write(scene.data.join("standby.signal"), "").unwrap();
    for program in &wrong[..2] {
        program.run(&line).exits(1);
    }
    assert_eq!(scene.fetched(), None);
}

#[test]
fn pitfall_08_a_repository_that_is_not_there_any_more_has_not_said_that_there_is_no_such_file() {
    let scene = Scene::new();
    scene.write(3, 1);
    scene.push(3, &[]).ok();
    // The agent has it open, and the disk is unmounted.
    let (repository, away) = (scene.site.repository(), scene.site.path().join("away"));
    fs::rename(&repository, &away).unwrap();
    fs::create_dir(&repository).unwrap();
    for more in [&[][..], &["--no-agent"]] {
        scene.fetch(&name(3), more).exits(255);
        scene.fetch(&name(4), more).exits(255);
    }
    fs::remove_dir(&repository).unwrap();
    fs::rename(&away, &repository).unwrap();
    scene.fetch(&name(3), &[]).ok();
    assert!(scene.fetched().unwrap() == segment(3, 1));
}

#[test]
fn pitfall_07_damage_is_no_answer_and_nothing_half_is_delivered() {
    let scene = Scene::new();
    for number in 3..6 {
        scene.write(number, 1);
        scene.push(number, &[]).ok();
    }
    let object = scene.object(&name(4));
    let whole = fs::read(&object).unwrap();
    let replace = |bytes: &[u8]| {
        fs::remove_file(&object).unwrap();
        fs::write(&object, bytes).unwrap();
    };
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let other = fs::read(scene.object(&name(5))).unwrap();
    for bytes in [&flipped[..], &whole[..whole.len() / 2], &[], &other] {
        replace(bytes);
        for more in [&["--no-agent"][..], &[]] {
            // The one before it, so that the agent prefetches the damaged one.
            scene.fetch(&name(3), more).ok();
            fs::remove_file(scene.target()).unwrap();
            scene.fetch(&name(4), more).exits(255).says("integrity check failed");
            assert_eq!(scene.fetched(), None);
        }
    }
    replace(&whole);
    scene.fetch(&name(4), &[]).ok();
    assert!(scene.fetched().unwrap() == segment(4, 1));
}

#[test]
fn pitfall_07_a_disk_without_room_is_no_answer_and_leaves_nothing() {
    let scene = Scene::new();
    scene.write(3, 1);
    scene.push(3, &[]).ok();
    let Some(disk) = SmallDisk::mount(&scene.site.path().join("small"), "512k") else { return };
    fs::create_dir(disk.path().join("global")).unwrap();
    fs::copy(scene.data.join("global/pg_control"), disk.path().join("global/pg_control")).unwrap();
    fs::create_dir(disk.path().join("pg_wal")).unwrap();
    let to = disk.path().join("pg_wal/RECOVERYXLOG").display().to_string();
    for more in [&["--no-agent"][..], &[]] {
        let order = ["wal", "fetch", &name(3), &to, "--timeout", "1s"];
        scene.site.run(&[&order, more].concat()).exits(255).says("No space left");
        assert_eq!(fs::read_dir(disk.path().join("pg_wal")).unwrap().count(), 0);
    }
}

#[test]
fn pitfall_06_what_was_not_there_is_looked_for_again() {
    let scene = Scene::new();
    for number in 3..5 {
        scene.write(number, 1);
        scene.push(number, &[]).ok();
    }
    // The agent looks ahead, and finds an end that moves on.
    scene.fetch(&name(3), &[]).ok();
    scene.fetch(&name(5), &[]).exits(1);
    scene.write(5, 1);
    scene.push(5, &["--no-agent"]).ok();
    scene.fetch(&name(5), &[]).ok();
    assert!(scene.fetched().unwrap() == segment(5, 1));
    scene.fetch(&name(4), &[]).ok();
    assert!(scene.fetched().unwrap() == segment(4, 1));
}

#[test]
fn what_is_exported_is_what_was_written() {
    let scene = Scene::new();
    for number in 3..8 {
        scene.write(number, number as u8);
        scene.push(number, &[]).ok();
    }
    let history = scene.wal("00000002.history");
    fs::write(&history, "1\t0/5000000\tbecause\n").unwrap();
    scene.site.run(&["wal", "push", history.to_str().unwrap()]).ok();
    let out = scene.site.path().join("out");
    let order = ["wal", "export", out.to_str().unwrap(), "--from", &name(4), "--to", &name(6)];
    assert!(scene.site.run(&order).ok().text().contains("4 files"));
    let mut names: Vec<_> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [name(4), name(5), name(6), "00000002.history".to_owned()]);
    assert!(fs::read(out.join(name(5))).unwrap() == segment(5, 5));
    assert!(scene.site.run(&order).ok().text().contains("0 of them new"));
    fs::write(out.join(name(5)), b"mine").unwrap();
    scene.site.run(&order).exits(6).says("with other bytes");
}

#[test]
fn pitfall_09_pitfall_10_status_alarms_on_a_gap_and_on_silence() {
    let scene = Scene::new();
    scene.site.run(&["wal", "status"]).ok();
    scene.site.run(&["wal", "status", "--max-lag", "1h"]).exits(7).says("no WAL is archived");
    for number in [3, 4, 5, 7] {
        scene.write(number, 1);
        scene.push(number, &[]).ok();
    }
    let ran =
        scene.site.run(&["wal", "status"]).exits(7).says("WAL is missing: 1 gaps").says("full base backup");
    assert!(ran.text().contains(&format!("gap: {0} to {0} are missing", name(6))), "{}", ran.text());
    let ran = scene.site.run(&["wal", "status", "--json"]).exits(7);
    assert!(ran.text().contains("\"openGaps\": 1"), "{}", ran.text());
    scene.write(6, 1);
    scene.push(6, &[]).ok();
    let ran = scene.site.run(&["wal", "status", "--max-lag", "1h"]).ok().text();
    let row = ran.lines().nth(2).unwrap().split_whitespace().take(3).collect::<Vec<_>>();
    assert_eq!(row, ["1", &name(3), &name(7)]);
    // Running, and nothing comes: the time of the store counts.
    for number in 3..8 {
        let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(4000);
        let object = fs::File::open(scene.object(&name(number))).unwrap();
        object.set_modified(hour_ago).unwrap();
    }
    scene.site.run(&["wal", "status"]).ok();
    scene
        .site
        .run(&["wal", "status", "--max-lag", "1h"])
        .exits(7)
        .says("was archived for")
        .says("pg_stat_archiver");
}

/// The page of the book, its only block of Python, and what it gives.
#[test]
fn the_decoder_of_the_book_needs_no_mainstay() {
    let scene = Scene::new();
    scene.write(3, 1);
    scene.push(3, &[]).ok();
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let text = fs::read_to_string(page).unwrap();
    let code = text.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 35, "about thirty lines, and not {lines}");
    let script = scene.site.path().join("decode-wal.py");
    fs::write(&script, code).unwrap();
    let object = scene.object(&name(3));
    let key = object.strip_prefix(scene.site.repository()).unwrap().display().to_string();
    let decode = |password: &str, out: &str| {
        let out = scene.site.path().join(out);
        let mut python = std::process::Command::new("python3");
        python.arg(&script).arg(scene.site.repository()).arg(&key).arg(&out);
        let ran = testkit::program::Ran::of(&python.env("MAINSTAY_PASSWORD", password).output().unwrap());
        (ran, fs::read(out).ok())
    };
    let (ran, out) = decode(testkit::site::PASSWORD, "out");
    ran.ok();
    assert!(out.unwrap() == segment(3, 1));
    decode("wrong", "none").0.exits(1).says("the password opens no key");
    let mut flipped = fs::read(&object).unwrap();
    flipped[100] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, flipped).unwrap();
    decode(testkit::site::PASSWORD, "none").0.exits(1).says("damaged");
}
