//! Parts of a dump, other owners, other servers, hostile names: what a restore can be asked for.

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::site::{Site, at_server};

use crate::site;
use testkit::rich;

/// A backup of the rich database, and the server it came from.
fn backed_up() -> (Postgres, Site, String) {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    (server, site, id)
}

#[test]
fn n14_parts_come_back_alone_and_failures_leave_no_half_state() {
    let (server, site, id) = backed_up();
    // One table, into an empty database.
    server.psql("CREATE DATABASE part");
    site.run(&["backup", "restore", &id, "--database", "part", "--table", "tricky"]).ok();
    let tables =
        "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND oid > 16383";
    assert_eq!(server.psql_in("part", tables), "tricky");
    assert_eq!(server.psql_in("part", "SELECT count(*) FROM tricky"), "10");
    // One schema.
    server.psql("CREATE DATABASE schema_only");
    server.psql_in("schema_only", "CREATE SCHEMA \"odd \"\"schema'\né\"; DROP SCHEMA \"odd \"\"schema'\né\"");
    let odd = "odd \"schema'\né";
    let ran = site.run(&["backup", "restore", &id, "--database", "schema_only", "--schema", odd]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let count = "SELECT count(*) FROM \"odd \"\"schema'\né\".\"tab\"\"le' with\nnewline; \\. --\"";
    assert_eq!(server.psql_in("schema_only", count), "2");
    // A table that the dump does not have, a database that is not there.
    server.psql("CREATE DATABASE none");
    let ran = site.run(&["backup", "restore", &id, "--database", "none", "--table", "no_such_table"]);
    assert_ne!(ran.code, Some(0), "nothing restored is no success (pitfall 30): {}", ran.stderr);
    site.run(&["backup", "restore", &id, "--database", "absent", "--table", "tricky"]).exits(6);
    // A restore that fails in the middle changes nothing, whether into an existing or a new database.
    server.psql_in("none", "CREATE SCHEMA theirs; CREATE VIEW theirs.v AS SELECT 1 AS one");
    let before = rich::plain(&server, "none");
    let arguments = ["backup", "restore", &id, "--database", "none", "--clean", "--yes=none"];
    server.psql("ALTER DATABASE none SET default_tablespace = 'pg_default'");
    server.psql_in(
        "none",
        "CREATE TABLE public.tricky (line text); CREATE VIEW theirs.w AS SELECT * FROM tricky",
    );
    let with_view = rich::plain(&server, "none");
    assert_ne!(before, with_view);
    site.run(&arguments).exits(1).says("theirs.w");
    assert_eq!(rich::plain(&server, "none"), with_view);
}

#[test]
fn n14_a_dry_run_changes_nothing_and_shows_the_plan() {
    let (server, site, id) = backed_up();
    let before = (rich::databases(&server), rich::plain(&server, "app"));
    let ran = site.run(&["backup", "restore", &id, "--database", "elsewhere", "--dry-run"]).ok();
    assert!(ran.stderr.contains("elsewhere") && ran.stdout.is_empty(), "{}", ran.stderr);
    let ran = site.run(&["--json", "backup", "restore", &id, "--database", "elsewhere", "--dry-run"]).ok();
    let plan: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(plan["dryRun"], true);
    assert!(plan["rows"].is_string() && plan["sizeBytes"].is_string(), "{plan}");
    site.run(&["backup", "restore", &id, "--clean", "--dry-run"]).ok();
    assert_eq!((rich::databases(&server), rich::plain(&server, "app")), before);
}

#[test]
fn pitfall_27_roles_and_settings_come_back_on_another_server() {
    let (server, site, _) = backed_up();
    server.psql("ALTER DATABASE app SET work_mem = '7MB'; ALTER DATABASE app OWNER TO rich_owner");
    server.psql("GRANT CONNECT ON DATABASE app TO \"odd \"\"role'\"");
    let id = site.back_up("app");
    let before = rich::plain(&server, "app");
    let other = Postgres::start();
    let program = at_server(site.program(), &other);
    // Without its roles it fails and leaves nothing.
    let names = rich::databases(&other);
    program.run(&["backup", "restore", &id]).exits(1).says("rich_owner");
    assert_eq!(rich::databases(&other), names);
    // Without owners it goes.
    program.run(&["backup", "restore", &id, "--database", "ownerless", "--no-owner"]).ok();
    let ours = rich::plain_with(&server, "app", &["--no-owner", "--no-acl", "--no-comments"]);
    let theirs = rich::plain_with(&other, "ownerless", &["--no-owner", "--no-acl", "--no-comments"]);
    assert_eq!(theirs, ours);
    // With its roles all of it is there.
    program.run(&["backup", "restore", &id, "--with-roles", "--jobs", "2"]).ok();
    assert_eq!(rich::plain(&other, "app"), before);
    let facts = "SELECT pg_get_userbyid(datdba), (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = oid), \
        has_database_privilege('odd \"role''', oid, 'CONNECT') FROM pg_database WHERE datname = 'app'";
    assert_eq!(other.psql(facts), server.psql(facts));
    let members = "SELECT pg_has_role('odd \"role''', 'rich_owner', 'MEMBER')";
    assert_eq!(other.psql(members), server.psql(members));
}
