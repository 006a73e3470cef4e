//! The agent: a convenience that never stands in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::scene::{Scene, name, segment, signal};

#[test]
fn one_that_is_killed_or_hangs_costs_time_and_nothing_else() {
    let scene = Scene::new();
    for number in 3..9 {
        scene.write(number, 1);
    }
    scene.push(3, &[]).ok();
    let first = scene.agent().expect("the push started an agent");
    scene.push(4, &[]).ok();
    assert_eq!(scene.agent(), Some(first), "it is the same for the next one");
    signal(first, "-KILL");
    scene.push(5, &[]).ok();
    let second = scene.agent().expect("another one was started");
    assert_ne!(second, first);
    signal(second, "-STOP");
    pitfall_02_a_signal_is_a_failure(&scene);
    let begin = Instant::now();
    scene.push(6, &[]).ok();
    scene.fetch(&name(6), &["--timeout", "30s"]).ok();
    assert!(begin.elapsed() < Duration::from_secs(30), "it was waited for too long");
    assert!(scene.fetched().unwrap() == segment(6, 1));
    signal(second, "-CONT");
    scene.push(7, &[]).ok();
}

/// PostgreSQL would start its archiver anew, and count nothing.
fn pitfall_02_a_signal_is_a_failure(scene: &Scene) {
    let path = scene.wal(&name(8)).display().to_string();
    let child = scene.site.program().start(&["wal", "push", &path]);
    let process = i32::try_from(child.id()).unwrap();
    // proc_pid_status(5): the signals that are caught, a bit for each.
    let catches = || {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & (1 << 14) != 0
    };
    while !catches() {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(process, "-TERM");
    testkit::program::Ran::wait(child).exits(1);
}

#[test]
fn pitfall_01_what_is_ready_is_stored_ahead_and_a_file_that_changed_since_is_another_one() {
    let scene = Scene::new();
    for number in 3..7 {
        scene.write(number, 1);
        fs::write(scene.wal(&format!("archive_status/{}.ready", name(number))), "").unwrap();
    }
    scene.write(7, 1);
    scene.push(3, &[]).ok();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(4..7).all(|number| scene.object(&name(number)).exists()) {
        assert!(Instant::now() < deadline, "nothing was stored ahead");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!scene.object(&name(7)).exists(), "what is not ready is not touched");
    scene.push(4, &[]).ok();
    // Whatever changed it: it is looked at again, and what is stored stays.
    scene.write(5, 2);
    scene.push(5, &[]).exits(6).says("with other bytes");
    // So is what was stored ahead and is gone since.
    scene.write(5, 1);
    scene.push(5, &[]).ok();
    scene.push(6, &[]).ok();
}

#[test]
fn it_ends_after_a_failure_so_that_the_next_one_knows_what_is_true_then() {
    let scene = Scene::bare();
    scene.write(3, 1);
    scene.push(3, &[]).exits(5).says("no repository in");
    scene.site.run(&["init", "--no-recovery-key"]).ok();
    scene.push(3, &[]).ok();
    assert!(scene.object(&name(3)).exists());
}

#[test]
fn where_it_listens_is_its_users_alone_and_no_password_is_to_be_seen() {
    let scene = Scene::new();
    scene.write(3, 1);
    let session = scene.site.path().join("session");
    fs::create_dir(&session).unwrap();
    let program = scene.site.program().with("XDG_RUNTIME_DIR", &session);
    program.run(&["wal", "push", scene.wal(&name(3)).to_str().unwrap()]).ok();
    let mode = fs::metadata(session.join("mainstay")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let agent = scene.agent().expect("an agent");
    for file in ["environ", "cmdline"] {
        let shown = fs::read(format!("/proc/{agent}/{file}")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&shown).contains("CanaryRepositoryPassword"), "{file}");
    }
    signal(agent, "-TERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    while scene.agent().is_some() {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sockets = fs::read_dir(session.join("mainstay")).unwrap().flatten();
    assert!(sockets.filter(|entry| entry.path().extension().is_some_and(|end| end == "sock")).count() == 0);
}
