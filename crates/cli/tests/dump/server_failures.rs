//! Whatever goes wrong with pg_dump or its server: no backup, its own words, nothing left behind, and the next works.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::site::Site;

use crate::site;
use testkit::rich;

/// A directory of client programs whose pg_dump is this script; `REAL` in it is the real one.
pub(crate) fn programs(site: &Site, server: &Postgres, name: &str, pg_dump: &str) -> PathBuf {
    let directory = site.path().join(name);
    std::fs::create_dir(&directory).unwrap();
    for program in ["pg_restore", "psql"] {
        std::os::unix::fs::symlink(server.client().program(program), directory.join(program)).unwrap();
    }
    let real = server.client().program("pg_dump");
    let script = format!(
        "#!/bin/bash\nREAL={}\n[ \"$1\" = --version ] && {{ {}; exit; }}\n{pg_dump}\n",
        real.display(),
        if pg_dump.is_empty() { "echo 'pg_dump (PostgreSQL) 9.6.24'" } else { "exec \"$REAL\" --version" }
    );
    std::fs::write(directory.join("pg_dump"), script).unwrap();
    std::fs::set_permissions(directory.join("pg_dump"), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

/// Nothing is to be seen of what failed: no snapshot, no record, no lock, no lease, and restic agrees.
#[track_caller]
fn assert_nothing_left(site: &Site, snapshots: usize) {
    let files = site.files();
    let below = |folder: &str| files.iter().filter(|(name, _)| name.starts_with(folder)).count();
    assert_eq!(below("snapshots/"), snapshots);
    assert_eq!(below("x/record/"), snapshots);
    assert_eq!(below("locks/"), 0, "{:?}", files.iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert_eq!(site.ids().len(), snapshots);
    site.assert_sound();
}

fn create_with(site: &Site, bin_dir: &Path) -> Ran {
    let directory = bin_dir.to_str().unwrap();
    site.run(&["backup", "create", "acme", "--database", "app", "--pg-bin-dir", directory])
}

#[test]
fn pitfall_25_every_failure_of_pg_dump_means_no_backup() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let halves = "kill -9 $$";
    let cases = [
        ("half", format!("\"$REAL\" \"$@\" | head -c 100000; {halves}"), "signal"),
        ("whole_then_killed", format!("\"$REAL\" \"$@\"; {halves}"), "signal"),
        (
            "whole_then_1",
            "\"$REAL\" \"$@\"; echo 'pg_dump: error: canary words' >&2; exit 1".into(),
            "canary words",
        ),
        ("cut_and_0", "\"$REAL\" \"$@\" | head -c 100000; exit 0".into(), "archive"),
        ("cut_in_toc", "\"$REAL\" \"$@\" | head -c 500; exit 0".into(), "archive"),
        ("nothing", "exit 0".into(), "archive"),
        ("words_alone", "echo 'FATAL: no such luck' >&2; exit 3".into(), "no such luck"),
        ("longer", "\"$REAL\" \"$@\"; echo more".into(), "archive"),
        ("gzip", "\"$REAL\" \"$@\" | gzip".into(), "archive"),
    ];
    for (name, script, words) in cases {
        let bin_dir = programs(&site, &server, name, &script);
        let ran = create_with(&site, &bin_dir);
        assert!(ran.code.is_some_and(|code| code != 0), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && !ran.stderr.contains("backup ok"), "{name}: {}", ran.stderr);
    }
    // Older than the server, and none at all.
    let old = programs(&site, &server, "old", "");
    create_with(&site, &old).exits(2).says("install postgresql-client-");
    create_with(&site, &site.path().join("missing")).exits(2);
    assert_nothing_left(&site, 0);
    let id = site.back_up("app");
    site.run(&["backup", "verify", &id]).ok();
    assert_nothing_left(&site, 1);
}

#[test]
fn a_server_that_is_down_or_goes_away_means_no_backup() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    // Its connection is ended half-way.
    let script = "\"$REAL\" \"$@\" | { head -c 50000; touch \"$(dirname \"$0\")/begun\"; sleep 1; cat; }; \
        exit ${PIPESTATUS[0]}";
    // A dump longer than all pipes, so that pg_dump still works when its server ends it.
    server.psql_in(
        "app",
        "INSERT INTO filler SELECT n, repeat(md5(n::text), 100) FROM generate_series(1, 3000) n",
    );
    let bin_dir = programs(&site, &server, "slow", script);
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| create_with(&site, &bin_dir));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !bin_dir.join("begun").exists() {
            assert!(Instant::now() < deadline && !ran.is_finished(), "pg_dump begins");
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        assert_eq!(server.psql(ended), "1");
        ran.join().unwrap()
    });
    ran.exits(1).says("PQgetCopyData() failed");
    assert_nothing_left(&site, 0);
    site.back_up("app");
    // It is not there at all.
    let nobody = site.program().with("PGPORT", "1");
    nobody.run(&["backup", "create", "acme", "--database", "app"]).exits(1).says("refused");
    // The database is not there, the password is wrong.
    let none = site.run(&["backup", "create", "acme", "--database", "none"]);
    assert!([1, 5].contains(&none.code.unwrap()), "{}", none.stderr);
    none.says("none");
    let wrong = site.program().with("PGPASSWORD", "wrong-canary");
    let ran = wrong
        .run(&["backup", "create", "acme", "--database", "app"])
        .exits(1)
        .says("password authentication");
    assert!(!ran.stderr.contains("wrong-canary"));
    assert_nothing_left(&site, 1);
}

#[test]
fn c10_one_failing_database_stops_no_other() {
    let server = Postgres::start();
    for name in ["one", "two", "three"] {
        rich::create_small(&server, name);
    }
    server.psql("CREATE ROLE reader LOGIN PASSWORD 'reader'");
    for name in ["one", "three", "postgres"] {
        server.psql_in(name, "GRANT pg_read_all_data TO reader");
    }
    // pg_read_all_data is the whole server's; row security makes one table unreadable for pg_dump.
    server.psql_in("two", "CREATE TABLE hidden (n int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY");
    let site = site().with_server(&server);
    let program = site.program().with("PGUSER", "reader").with("PGPASSWORD", "reader");
    let ran = program.run(&["--json", "backup", "create", "acme", "--all-databases"]).exits(3);
    let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let mut made: Vec<_> =
        document["records"].as_array().unwrap().iter().map(|r| r["database"].clone()).collect();
    made.sort_by_key(ToString::to_string);
    assert_eq!(made, ["one", "postgres", "three"]);
    assert_eq!(document["failures"].as_array().unwrap().len(), 1, "{document:#}");
    assert_eq!(document["failures"][0]["source"], "two");
    assert!(document["failures"][0]["error"].as_str().unwrap().contains("hidden"), "{document:#}");
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("backup ok ")).count(), 3);
    assert_nothing_left(&site, 3);
    // Alone, it fails.
    program.run(&["backup", "create", "acme", "--database", "two"]).exits(1).says("hidden");
}
