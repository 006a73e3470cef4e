//! How logical backups of PostgreSQL were really lost elsewhere, by the numbers of the list.

use testkit::postgres::Postgres;
use testkit::rich;
use testkit::site::at_server;

use crate::{bare, site};

#[test]
fn pitfall_23_repository_and_password_are_enough_and_without_a_key_nothing_opens() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let before = rich::plain(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    // Another machine: nothing but a copy of the repository, the password and a new server.
    let elsewhere = bare();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(site.repository()).arg(elsewhere.path()).status();
    assert!(copied.unwrap().success());
    server.psql("DROP DATABASE app");
    let other = Postgres::start();
    let program = at_server(elsewhere.program(), &other);
    program.run(&["backup", "restore", &id, "--with-roles"]).ok();
    assert_eq!(rich::plain(&other, "app"), before);
    for (name, _) in elsewhere.files().iter().filter(|(name, _)| name.starts_with("keys/")) {
        std::fs::remove_file(elsewhere.repository().join(name)).unwrap();
    }
    for arguments in [&["backup", "list"][..], &["backup", "create", "acme", "--database", "app"]] {
        let ran = program.run(arguments);
        assert!([2, 4, 5].contains(&ran.code.unwrap()), "{}", ran.stderr);
    }
    assert!(elsewhere.files().iter().all(|(name, _)| !name.starts_with("locks/")));
}

#[test]
fn pitfall_28_large_objects_come_with_content_owner_and_comment() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    let objects = "SELECT string_agg(format('%s %s %s %s %s', oid, pg_get_userbyid(lomowner), lomacl, \
        md5(lo_get(oid)), obj_description(oid, 'pg_largeobject')), E'\\n' ORDER BY oid) FROM pg_largeobject_metadata";
    let before = server.psql_in("app", objects);
    assert_eq!(before.lines().count(), 3);
    for jobs in ["1", "2"] {
        let name = format!("by_{jobs}");
        site.run(&["backup", "restore", &id, "--database", &name, "--jobs", jobs]).ok();
        assert_eq!(server.psql_in(&name, objects), before, "{jobs}");
    }
}

#[test]
fn pitfall_29_check_functions_and_views_survive_clean() {
    let server = Postgres::start();
    rich::make(
        &server,
        "app",
        "CREATE TABLE known (n int PRIMARY KEY); INSERT INTO known SELECT generate_series(1, 100);
         CREATE FUNCTION is_known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.known WHERE n = $1)';
         CREATE TABLE a_first (n int CHECK (is_known(n))); INSERT INTO a_first SELECT generate_series(1, 100);
         CREATE VIEW one AS SELECT n FROM known; CREATE VIEW two AS SELECT n, count(*) FROM one GROUP BY n;
         CREATE VIEW three AS SELECT k.n, k FROM known k GROUP BY k.n; CREATE MATERIALIZED VIEW four AS SELECT * FROM two;",
    );
    let before = rich::plain(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    // A CHECK that reads another table fails for everybody while that table is empty: said, and nothing is half there.
    let names = rich::databases(&server);
    let ran = site.run(&["backup", "restore", &id, "--database", "again"]);
    match ran.code {
        Some(0) => assert_eq!(rich::plain(&server, "again"), before),
        _ => {
            assert!(ran.stderr.contains("a_first"), "{}", ran.stderr);
            assert_eq!(rich::databases(&server), names);
        }
    }
    let ran = site.run(&["backup", "restore", &id, "--clean", "--yes=app"]);
    assert!([0, 1].contains(&ran.code.unwrap()), "{}", ran.stderr);
    assert_eq!(rich::plain(&server, "app"), before);
}

#[test]
fn pitfall_30_nothing_restored_is_no_success() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    server.psql("CREATE DATABASE target");
    for part in ["--table", "--schema"] {
        let ran = site.run(&["backup", "restore", &id, "--database", "target", part, "no_such"]).exits(2);
        assert!(ran.stderr.contains("no_such") && !ran.stderr.contains("restore ok"), "{}", ran.stderr);
    }
    let things = "SELECT count(*) FROM pg_class WHERE oid >= 16384";
    assert_eq!(server.psql_in("target", things), "0");
    // A server that says no in the middle: nothing is half there.
    server.psql("ALTER DATABASE target SET default_transaction_read_only = on");
    site.run(&["backup", "restore", &id, "--database", "target"]).exits(1).says("read-only");
    assert_eq!(server.psql_in("target", things), "0");
}
