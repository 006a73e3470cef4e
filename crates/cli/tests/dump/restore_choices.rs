//! Parts of a dump, other owners, other servers, hostile names: what a restore can be asked for.

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::postgres::Postgres;
use testkit::restic;
use testkit::revived::give_to_owner_of;
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
    // Tables with odd names, and with the longest.
    let (long_schema, long_table) = (format!("s{}", "é".repeat(31)), format!("t{}", "ü".repeat(31)));
    for (schema, table) in
        [(odd, "tab\"le' with\nnewline; \\. --"), (long_schema.as_str(), long_table.as_str())]
    {
        let of = format!("{}.{}", rich::quoted(schema), rich::quoted(table));
        server.psql("CREATE DATABASE one_table");
        server.psql_in("one_table", &format!("CREATE SCHEMA {}", rich::quoted(schema)));
        let restore = ["backup", "restore", &id, "--database", "one_table", "--table", table];
        site.run(&[&restore[..], &["--clean", "--yes=one_table"]].concat()).ok();
        assert_eq!(server.psql_in("one_table", &format!("SELECT count(*) FROM {of}")), "2", "{of}");
        let all = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND oid > 16383";
        assert_eq!(server.psql_in("one_table", all), "1", "{of}");
        server.psql("DROP DATABASE one_table");
    }
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

/// A tablespace in an empty directory.
fn make_tablespace(server: &Postgres, name: &str, place: &TempDir) {
    give_to_owner_of(place.path(), server);
    server.psql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", place.path().display()));
}

/// A file that lies beside the newest dump, as restic gives it.
fn beside(site: &Site, name: &str) -> Value {
    let restic = &restic::installed()[0];
    serde_json::from_slice(&site.restic(restic, &["dump", "latest", name]).ok().stdout).unwrap()
}

#[test]
fn a_dump_with_tablespaces_goes_where_they_are_and_where_they_are_not() {
    let (fast, home, there) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, other) = (Postgres::start(), Postgres::start());
    make_tablespace(&server, "fast", &fast);
    make_tablespace(&server, "home", &home);
    server.psql("CREATE DATABASE app TABLESPACE home");
    let tables = "CREATE TABLE at_home AS SELECT generate_series(1, 10) AS n;
        CREATE TABLE outside TABLESPACE fast AS SELECT generate_series(1, 20) AS n;
        CREATE INDEX outside_n ON at_home (n) TABLESPACE fast";
    server.psql_in("app", tables);
    let site = site().with_server(&server);
    let id = site.back_up("app");
    // What one database's dump lacks is beside it.
    let spaces = &beside(&site, "globals.json")["tablespaces"];
    let kept = [(&spaces[0]["name"], &spaces[0]["location"]), (&spaces[1]["name"], &spaces[1]["location"])];
    let place = |place: &TempDir| json!(place.path());
    assert_eq!(kept, [(&json!("fast"), &place(&fast)), (&json!("home"), &place(&home))]);
    let version = server.psql_in("app", "SELECT extversion FROM pg_extension WHERE extname = 'plpgsql'");
    assert_eq!(
        beside(&site, "manifest.json")["extensions"],
        json!([{ "name": "plpgsql", "version": version }])
    );

    let places = "SELECT string_agg(relname || ' ' || coalesce(spcname, '-'), ', ' ORDER BY relname) FROM pg_class \
        LEFT JOIN pg_tablespace t ON t.oid = reltablespace WHERE relnamespace = 'public'::regnamespace";
    let lies = |server: &Postgres, name: &str| {
        let own = "SELECT spcname FROM pg_tablespace t JOIN pg_database ON dattablespace = t.oid";
        let rows = server.psql_in(name, "SELECT count(*) FROM outside");
        assert_eq!(rows, "20", "{name}");
        (server.psql(&format!("{own} WHERE datname = '{name}'")), server.psql_in(name, places))
    };
    let restore = |program: &testkit::program::Program, to: &str, more: &[&str]| {
        program.run(&[&["backup", "restore", &id, "--database", to, "--jobs", "2"][..], more].concat()).ok()
    };
    let own = site.program();
    let (apart, together) = ("at_home -, outside fast, outside_n fast", "at_home -, outside -, outside_n -");
    // Where they are, and where they are but are not wanted.
    assert!(!restore(&own, "again", &[]).stderr.contains("tablespace"));
    assert_eq!(lies(&server, "again"), ("home".into(), apart.into()));
    restore(&own, "without", &["--no-tablespaces"]);
    assert_eq!(lies(&server, "without"), ("pg_default".into(), together.into()));
    // Where none is, and where one of them is.
    let elsewhere = at_server(site.program(), &other);
    let dry = elsewhere.run(&["--json", "backup", "restore", &id, "--database", "new", "--dry-run"]).ok();
    let plan: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!(plan["missingTablespaces"], json!(["fast", "home"]));
    restore(&elsewhere, "new", &[]).says("has no tablespace [\"fast\", \"home\"]");
    other.psql("CREATE DATABASE empty");
    restore(&elsewhere, "empty", &[]).says("has no tablespace [\"fast\"]");
    restore(&elsewhere, "empty", &["--clean", "--yes=empty"]).says("has no tablespace [\"fast\"]");
    for name in ["new", "empty"] {
        assert_eq!(lies(&other, name), ("pg_default".into(), together.into()), "{name}");
    }
    make_tablespace(&other, "home", &there);
    restore(&elsewhere, "at_home", &[]).says("has no tablespace [\"fast\"]");
    assert_eq!(lies(&other, "at_home"), ("home".into(), together.into()));
}
