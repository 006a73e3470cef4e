//! kill -9, again and again, on a database that takes a while: nothing that was acknowledged is ever lost.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::moments::Moments;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::rich;
use testkit::site::id_of;
use testkit::strace::{self, Fault};

use crate::site;

/// Rounds; more by `MAINSTAY_TEST_ROUNDS`.
const ROUNDS: usize = 25;

#[test]
fn kill_9_of_the_whole_family_costs_no_backup() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let begin = std::time::Instant::now();
    let first = site.back_up("app");
    let length = begin.elapsed();
    let mut kept = vec![(first.clone(), site.run(&["backup", "export", &first]).ok().stdout)];
    let mut moments = Moments::seeded("kill_9_of_the_whole_family_costs_no_backup");
    let rounds = std::env::var("MAINSTAY_TEST_ROUNDS").ok().and_then(|text| text.parse().ok());
    for round in 0..rounds.unwrap_or(ROUNDS) {
        let change =
            format!("INSERT INTO wide SELECT {round} + 10, decode(repeat(md5('{round}'), 20000), 'hex')");
        server.psql_in("app", &change);
        // Two at once, of which one is killed: the other does not mind.
        let mut children = vec![site.program().start(&["backup", "create", "acme", "--database", "app"])];
        if round % 5 == 0 {
            children.push(site.program().start(&["backup", "create", "other", "--database", "app"]));
        }
        std::thread::sleep(moments.below(length));
        kill_process(Pid::from_raw(children[0].id() as i32).unwrap(), Signal::KILL).ok();
        for ran in children.into_iter().map(Ran::wait) {
            if ran.code == Some(0) {
                let id = id_of(&ran);
                kept.push((id.clone(), site.run(&["backup", "export", &id]).ok().stdout));
            } else {
                assert!(ran.code.is_none(), "{}", ran.stderr);
            }
        }
        site.run(&["check"]).ok();
    }
    for (id, dump) in &kept {
        assert!(&site.run(&["backup", "export", id]).ok().stdout == dump, "{id}");
    }
    let next = site.back_up("app");
    site.run(&["backup", "restore", &next, "--database", "again"]).ok();
    assert_eq!(rich::plain(&server, "again"), rich::plain(&server, "app"));
    site.assert_sound();
}

#[test]
fn killed_before_any_object_a_visible_backup_never_lacks_its_hold() {
    if !strace::is_permitted() {
        return;
    }
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let create = ["backup", "create", "acme", "--database", "app", "--hold"];
    let killed = |fault: Fault| {
        let ran = fault.run(&site.program(), &create).ran;
        let listed = site.run(&["--json", "backup", "list"]).ok();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let records = listed["records"].as_array().unwrap();
        assert!(records.iter().all(|record| record["hold"] == true), "{fault:?}: {listed}");
        (ran.code, records.len())
    };
    // An object gets its name by linkat: killed there, everything before it is visible and nothing behind it. strace
    // counts the calls of each thread by itself, so some orders repeat; the last round is not killed.
    let mut whole = 0;
    for nth in 1..100 {
        let (code, visible) = killed(Fault::kill("linkat").nth(nth));
        whole = visible;
        if code == Some(0) {
            break;
        }
    }
    assert!(whole >= 1, "the last one was not killed");
    // Made visible and killed before anything else: the folder's fsync comes next.
    let (code, seen) = killed(Fault::kill("fsync").at(&site.repository().join("snapshots")));
    assert_eq!((code, seen), (None, whole + 1), "killed behind the snapshot's name");
    site.run(&["forget", "--keep-last", "1"]).ok();
    assert_eq!(site.ids().len(), seen, "a hold outlives retention");
    site.run(&["check"]).ok();
}
