//! System calls that fail during prune, key rotation, copy and forget: said with the documented code, nothing is lost, and the
//! same command finishes afterwards.

use testkit::moments::Moments;
use testkit::program::{Program, Ran};
use testkit::site::PASSWORD;
use testkit::strace::{self, Fault, Faulted};

use crate::scene::{END, NEW_PASSWORD, Scene, Target, assert_exports};

/// What fails, as what, and how many times of each a verb is tried.
const FAULTS: [(&str, &str, u64); 6] = [
    ("fsync,fdatasync", "EIO", 14),
    ("write,pwrite64,writev", "EIO", 12),
    ("write,pwrite64,writev", "ENOSPC", 12),
    ("linkat,link", "EIO", 8),
    ("linkat,link", "ENOSPC", 8),
    ("unlink,unlinkat", "EIO", 10),
];
/// Tries of each fault: the first calls, which every verb makes, and then some by chance.
const TRIES: u64 = 4;
const FIRST: u64 = 2;

/// What a command that met a fault may end with: it found another way, or it failed and says what.
#[track_caller]
fn assert_said(fault: &Faulted, moment: &str) {
    let ran = &fault.ran;
    match ran.code {
        Some(0) => {}
        // The words themselves may be what could not be written.
        Some(1) => assert!(ran.stderr.contains("error: ") || fault.is_silenced, "{moment}: {}", ran.stderr),
        other => panic!("{moment}: {other:?}: {}", ran.stderr),
    }
}

/// Let calls of a command fail, one in each try; `judge` looks at what is left.
fn fail_everywhere(
    test: &str,
    (program, arguments): (&Program, &[&str]),
    reset: impl Fn(),
    mut judge: impl FnMut(&Ran, &str),
) {
    let mut moments = Moments::seeded(test);
    let (mut met, mut failed) = (0, 0);
    for (calls, error, among) in FAULTS {
        for number in 1..=TRIES {
            let nth = if number <= FIRST { number } else { 1 + moments.number() % among };
            reset();
            let fault = Fault::error(calls, error).nth(nth).run(program, arguments);
            let moment = format!("{arguments:?}, {calls} {nth}: {error}");
            assert_said(&fault, &moment);
            met += usize::from(fault.happened);
            failed += usize::from(fault.ran.code != Some(0));
            judge(&fault.ran, &moment);
        }
    }
    assert!(met >= 6 && failed >= 2, "{met} faults were met, {failed} runs failed");
}

#[test]
fn a_failing_disk_stops_prune_and_costs_nothing() {
    if !strace::is_permitted() {
        return;
    }
    let scene = Scene::new();
    let test = "a_failing_disk_stops_prune_and_costs_nothing";
    fail_everywhere(
        test,
        (&scene.program(), &END),
        || scene.reset(),
        |ran, moment| {
            scene.assert_sound(moment);
            scene.assert_kept(moment);
            if ran.code == Some(0) {
                let deleted = scene.run(&["backup", "undelete"]).ok().text();
                assert_eq!(deleted.lines().count(), 1, "{moment}: said to be done, and it is not");
            }
            scene.run(&END).ok();
            scene.run(&["check", "--read-data"]).ok();
            scene.assert_kept(moment);
        },
    );
}

#[test]
fn a_failing_disk_never_takes_the_last_password() {
    if !strace::is_permitted() {
        return;
    }
    let scene = Scene::new();
    let new = scene.password_file("new", NEW_PASSWORD);
    let rotate = ["key", "rotate", "--new-password-file", &new];
    let test = "a_failing_disk_never_takes_the_last_password";
    fail_everywhere(
        test,
        (&scene.program(), &rotate),
        || scene.reset(),
        |ran, moment| {
            let opens = |password| {
                scene.program().with("MAINSTAY_PASSWORD", password).run(&["check"]).code == Some(0)
            };
            let (old, new) = (opens(PASSWORD), opens(NEW_PASSWORD));
            match ran.code {
                Some(0) => assert!(new && !old, "{moment}: said to be done"),
                _ => assert!(new || old, "{moment}: nothing opens it"),
            }
            if old {
                scene.run(&rotate).ok();
            }
            assert!(opens(NEW_PASSWORD) && !opens(PASSWORD), "{moment}");
        },
    );
}

#[test]
fn a_failing_disk_stops_a_copy_and_the_next_one_finishes() {
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
    let test = "a_failing_disk_stops_a_copy_and_the_next_one_finishes";
    fail_everywhere(test, (&scene.program(), &arguments), reset, |ran, moment| {
        there.run(&["check", "--read-data"]).ok();
        let listed = there.run(&["backup", "list"]).ok().text();
        for kept in &scene.live {
            let is_there = listed.contains(&format!("{} ", kept.id));
            assert!(is_there || ran.code == Some(1), "{moment}: said to be done");
            if is_there {
                assert_exports(there, kept, moment);
            }
        }
        scene.run(&arguments).ok();
        there.run(&["check", "--read-data"]).ok();
        scene.live.iter().for_each(|kept| assert_exports(there, kept, moment));
        scene.assert_kept(moment);
    });
}

#[test]
fn a_failing_disk_stops_forget_and_every_backup_is_here_or_comes_back() {
    if !strace::is_permitted() {
        return;
    }
    let mut scene = Scene::new();
    let going = [scene.live.pop().unwrap()];
    let forget = ["forget", "--keep-last", "1"];
    let test = "a_failing_disk_stops_forget_and_every_backup_is_here_or_comes_back";
    fail_everywhere(
        test,
        (&scene.program(), &forget),
        || scene.reset(),
        |ran, moment| {
            let is_seen = scene.site.ids().contains(&going[0].id);
            match is_seen {
                true => assert!(ran.code == Some(1), "{moment}: said to be done"),
                false => assert_eq!(scene.assert_comes_back(&going, moment), 1, "{moment}"),
            }
            scene.run(&forget).ok();
            scene.run(&["check", "--read-data"]).ok();
            scene.assert_kept(moment);
            assert_eq!(scene.assert_comes_back(&going, moment), 1, "{moment}");
        },
    );
}
