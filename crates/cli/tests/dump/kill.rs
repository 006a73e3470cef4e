//! Killed or interrupted at any moment: earlier backups are whole, nothing half-made is seen, the next one works.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::moments::Moments;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::rich;
use testkit::site::{Site, id_of};

use crate::site;

/// Start a backup and end it after a moment; whether it had said that it was done.
fn back_up_and_end(site: &Site, signal: Signal, after: Duration) -> Ran {
    let child = site.program().start(&["backup", "create", "acme", "--database", "app"]);
    std::thread::sleep(after);
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).ok();
    Ran::wait(child)
}

fn set_up() -> (Postgres, Site, Vec<(String, Vec<u8>)>, Duration) {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let begin = Instant::now();
    let first = site.back_up("app");
    let length = begin.elapsed();
    let dump = site.run(&["backup", "export", &first]).ok().stdout;
    (server, site, vec![(first, dump)], length)
}

/// Every backup that was acknowledged is there, byte for byte.
fn assert_kept(site: &Site, acknowledged: &[(String, Vec<u8>)]) {
    let ids = site.ids();
    for (id, dump) in acknowledged {
        assert!(ids.contains(id), "{id} of {ids:?}");
        assert!(&site.run(&["backup", "export", id]).ok().stdout == dump, "{id}");
    }
}

#[test]
fn kill_9_at_any_moment_costs_no_backup() {
    let (server, site, mut acknowledged, length) = set_up();
    let mut moments = Moments::seeded("kill_9_at_any_moment_costs_no_backup");
    for round in 0..10 {
        server.psql_in(
            "app",
            &format!("UPDATE filler SET words = md5(n::text || {round}) WHERE n % 10 = {round} % 10"),
        );
        let ran = back_up_and_end(&site, Signal::KILL, moments.below(length));
        if ran.stderr.contains("backup ok id=") {
            let id = id_of(&ran);
            let dump = site.run(&["backup", "export", &id]).ok().stdout;
            acknowledged.push((id, dump));
        }
        if round % 3 == 0 {
            assert_kept(&site, &acknowledged[acknowledged.len() - 1..]);
            site.run(&["check"]).ok();
        }
    }
    site.assert_sound();
    let next = site.back_up("app");
    site.run(&["backup", "verify", &next]).ok();
    assert_kept(&site, &acknowledged);
    site.assert_sound();
}

#[test]
fn ctrl_c_leaves_no_snapshot_and_no_lock() {
    let (_server, site, acknowledged, length) = set_up();
    let mut moments = Moments::seeded("ctrl_c_leaves_no_snapshot_and_no_lock");
    let mut interrupted = 0;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP].into_iter().cycle().take(40) {
        let before = site.ids();
        // Not in the first moment, when the program does not watch for signals yet and simply ends.
        let ran = back_up_and_end(&site, signal, Duration::from_millis(20) + moments.below(length));
        let after = site.ids();
        match ran.code {
            Some(0) => assert_eq!(after.len(), before.len() + 1, "{}", ran.stderr),
            code => {
                assert!(code.is_none_or(|code| code == 1), "{code:?}: {}", ran.stderr);
                assert_eq!(after, before, "{code:?}: {}", ran.stderr);
                interrupted += usize::from(code.is_some());
            }
        }
        let left: Vec<_> = site.files().into_iter().map(|(name, _)| name).collect();
        let is_claim = |name: &String| name.starts_with("locks/") || name.starts_with("x/lease/");
        assert!(ran.code.is_none() || !left.iter().any(is_claim), "{left:?}");
        if interrupted == 4 {
            break;
        }
    }
    assert!(interrupted >= 3, "{interrupted} were interrupted while they worked");
    // Nobody is in the way of whoever wants the repository for himself.
    for restic in testkit::restic::installed() {
        site.restic(&restic, &["prune"]).ok();
    }
    assert_kept(&site, &acknowledged);
    site.assert_sound();
}

/// Both signals come while it cannot look, so that it sees the second before it has come to an end after the first.
#[test]
fn a_second_ctrl_c_ends_it_at_once_with_130() {
    let (server, site, _, _) = set_up();
    let session = server.session("app");
    let mut holder = session.command(&server.client().program("psql"));
    let holder = holder.args(["-X", "-q", "-c", "BEGIN; LOCK TABLE filler; SELECT pg_sleep(300)"]);
    let mut holder = holder.spawn().unwrap();
    let mut codes = (0..10).map(|_| {
        let child = site.program().start(&["backup", "create", "acme", "--database", "app"]);
        let pid = Pid::from_child(&child);
        let locks =
            || site.repository().join("locks").read_dir().is_ok_and(|mut names| names.next().is_some());
        let until = Instant::now() + Duration::from_secs(60);
        while !locks() {
            assert!(Instant::now() < until, "it is at work");
            std::thread::sleep(Duration::from_millis(5));
        }
        for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
            kill_process(pid, signal).unwrap();
        }
        let code = Ran::wait(child).code;
        std::fs::remove_dir_all(site.repository().join("locks")).unwrap();
        std::fs::create_dir(site.repository().join("locks")).unwrap();
        assert!(code == Some(130) || code == Some(1), "{code:?}");
        code
    });
    // Two threads may take one each, at the same time: then neither is the second.
    assert!(codes.any(|code| code == Some(130)));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)' AND pid <> pg_backend_pid()";
    server.psql(sessions);
    site.back_up("app");
    site.assert_sound();
}

#[test]
fn threat_12_kill_9_leaves_no_password_in_any_file() {
    let (server, site, _, length) = set_up();
    let temporary = site.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let program = site.program().with("TMPDIR", &temporary);
    for part in [2, 3, 5] {
        let child = program.start(&["backup", "create", "acme", "--database", "app"]);
        std::thread::sleep(length / part);
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::KILL).ok();
        Ran::wait(child);
    }
    for (name, bytes) in testkit::site::files_below(&temporary) {
        let password = server.password().as_bytes();
        assert!(!bytes.windows(password.len()).any(|window| window == password), "{name}");
    }
}
