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

/// Rows that are judged by functions which read other tables, whose names come later: a chain of three, one of them
/// through a domain. Every whole restore loads them in the order of their names, and fails.
const JUDGED: &str = "CREATE TABLE known (n int PRIMARY KEY); INSERT INTO known SELECT generate_series(1, 100);
    CREATE FUNCTION is_known(int) RETURNS bool LANGUAGE sql
      AS 'SELECT EXISTS (SELECT FROM public.known WHERE n = $1)';
    CREATE TABLE b_second (n int CHECK (is_known(n)), filler text);
    INSERT INTO b_second SELECT n, repeat('x', 1000) FROM generate_series(1, 100) n;
    CREATE FUNCTION is_second(int) RETURNS bool LANGUAGE plpgsql AS
      'BEGIN IF NOT EXISTS (SELECT FROM public.b_second b WHERE b.n = $1) THEN RAISE ''not yet''; END IF; RETURN true; END';
    CREATE DOMAIN second AS int CHECK (is_second(VALUE));
    CREATE TABLE a_first (n second, filler text);
    INSERT INTO a_first SELECT n, repeat('x', 2000) FROM generate_series(1, 100) n;
    CREATE VIEW one AS SELECT n FROM known; CREATE VIEW two AS SELECT n, count(*) FROM one GROUP BY n;
    CREATE VIEW three AS SELECT k.n, k FROM known k GROUP BY k.n;
    CREATE MATERIALIZED VIEW four AS SELECT * FROM two;";

#[test]
fn pitfall_29_rows_judged_by_functions_that_read_other_tables_come_back() {
    let server = Postgres::start();
    rich::make(&server, "app", JUDGED);
    let before = rich::plain(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    for jobs in ["1", "3"] {
        let name = format!("by_{jobs}");
        site.run(&["backup", "restore", &id, "--database", &name, "--jobs", jobs]).ok();
        assert_eq!(rich::plain(&server, &name), before, "{jobs}");
    }
    // Over an existing database there is only pg_restore's own order: said, and nothing is changed.
    let ran = site.run(&["backup", "restore", &id, "--clean", "--yes=app"]).exits(1);
    assert!(ran.stderr.contains("a_first") || ran.stderr.contains("b_second"), "{}", ran.stderr);
    assert_eq!(rich::plain(&server, "app"), before);
    // Rows that are wrong stay wrong, however often they are tried.
    server.psql_in("app", "DELETE FROM known WHERE n = 7");
    let wrong = site.back_up("app");
    let names = rich::databases(&server);
    let ran = site.run(&["backup", "restore", &wrong, "--database", "wrong", "--jobs", "2"]);
    let ran = ran.exits(1);
    assert!(ran.stderr.contains("a_first") || ran.stderr.contains("b_second"), "{}", ran.stderr);
    assert_eq!(rich::databases(&server), names);
}

#[test]
fn pitfall_29_rights_come_after_the_rows() {
    let server = Postgres::start();
    server.psql(
        "CREATE ROLE keeper LOGIN CREATEDB PASSWORD 'pw'; CREATE ROLE reader; CREATE DATABASE app OWNER keeper",
    );
    server.psql_in(
        "app",
        "SET ROLE keeper; CREATE SCHEMA s; CREATE TABLE s.t (n int PRIMARY KEY);
         INSERT INTO s.t SELECT generate_series(1, 100);
         CREATE TABLE s.u (n int REFERENCES s.t); INSERT INTO s.u VALUES (1);
         CREATE MATERIALIZED VIEW s.m AS SELECT count(*) FROM s.t;
         REVOKE ALL ON s.t, s.u FROM keeper; GRANT SELECT ON s.t TO keeper; GRANT SELECT, INSERT ON s.t TO reader;",
    );
    let before = rich::plain(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    // The owner took the right to write away from himself, and nobody else restores.
    let program = site.program().with("PGUSER", "keeper").with("PGPASSWORD", "pw");
    for jobs in ["1", "2"] {
        let name = format!("by_{jobs}");
        program.run(&["backup", "restore", &id, "--database", &name, "--jobs", jobs]).ok();
        assert_eq!(rich::plain(&server, &name), before, "{jobs}");
    }
    let rights = "SELECT has_table_privilege('keeper', 's.t', 'INSERT'), has_table_privilege('reader', 's.t', 'INSERT')";
    assert_eq!(server.psql_in("by_1", rights), "f|t");
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
