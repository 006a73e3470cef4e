//! Several versions of PostgreSQL on one machine: the right programs are chosen, and where none fits the way out is
//! named. `make test` fetches two more versions; without them there is nothing to choose.

use std::path::{Path, PathBuf};

use testkit::means;
use testkit::postgres::{Postgres, installed, of_major};
use testkit::program::Program;
use testkit::rich;
use testkit::site::{Site, at_server, id_of};

use crate::site;

/// Every installed version, oldest first; `None`, and said so, where there is only one.
fn versions() -> Option<Vec<PathBuf>> {
    let mut found = installed();
    found.sort_by_key(|bin_dir| major(bin_dir));
    if found.len() == 1 {
        means::lack("there is one version of PostgreSQL here, and nothing to choose");
    }
    (found.len() > 1).then_some(found)
}

/// The program where all these versions are in the `PATH`, at this server.
fn program(site: &Site, server: &Postgres, among: &[PathBuf]) -> Program {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = among.iter().cloned().chain(std::env::split_paths(&path));
    at_server(site.program().with("PATH", std::env::join_paths(all).unwrap()), server)
}

fn major(bin_dir: &Path) -> u32 {
    pg::client::Client::at(bin_dir).unwrap().version().major()
}

#[test]
fn t12_a_backup_goes_into_every_later_version_through_the_command_line() {
    let Some(versions) = versions() else { return };
    let servers: Vec<_> = versions.iter().map(|bin_dir| Postgres::start_with(bin_dir)).collect();
    let site = site();
    // All of them before the first restore, which brings the roles along.
    for server in &servers {
        rich::create(server, "app");
        // It may not be installed beside a newer server.
        server.psql_in("app", "DROP EXTENSION IF EXISTS pg_trgm CASCADE");
    }
    for (nth, source) in servers.iter().enumerate() {
        let tenant = format!("v{}", source.client().version().major());
        let create = ["backup", "create", &tenant, "--database", "app"];
        let id = id_of(&program(&site, source, &versions).run(&create).ok());
        let get = site.run(&["backup", "export", &id]).ok().stdout;
        assert!(get.starts_with(b"PGDMP"));
        let rows = |server: &Postgres, name: &str| {
            let facts = pg::server::Server::open(server.client(), &server.session("postgres")).unwrap();
            facts.table_rows(name).unwrap()
        };
        for target in &servers[nth..] {
            let name = format!("from_{tenant}");
            let restore = ["backup", "restore", &id, "--database", &name, "--with-roles", "--jobs", "2"];
            let ran = program(&site, target, &versions).run(&restore).ok();
            let version = target.client().version();
            assert!(ran.stderr.contains(&format!("pg_restore {}.", version.major())), "{}", ran.stderr);
            assert_eq!(rows(target, &name), rows(source, "app"), "{tenant} into {version}");
        }
    }
    site.assert_sound();
}

#[test]
fn pitfall_26_programs_that_do_not_fit_are_refused_and_the_way_out_named() {
    let Some(versions) = versions() else { return };
    let (oldest, newest) = (&versions[0], &versions[versions.len() - 1]);
    let (old, new) = (Postgres::start_with(oldest), Postgres::start_with(newest));
    rich::create_small(&new, "app");
    let site = site();
    let names = rich::databases(&old);
    // The older pg_dump is not even tried.
    let way_out = format!("postgresql-client-{}", major(newest));
    let older = at_server(site.program(), &new).with("MAINSTAY_PG_BIN_DIR", oldest);
    older.run(&["backup", "create", "acme", "--database", "app"]).exits(2).says("cannot dump").says(&way_out);
    assert!(site.ids().is_empty());
    // With all versions at hand the newest dumps, and its archive does not go back.
    let all = program(&site, &new, &versions);
    let id = id_of(&all.run(&["backup", "create", "acme", "--database", "app"]).ok());
    let back = program(&site, &old, &versions).run(&["backup", "restore", &id, "--database", "back"]);
    if major(newest) >= 17 && major(oldest) < 17 {
        back.exits(2).says("PostgreSQL 17 or later");
        assert_eq!(rich::databases(&old), names);
    }
    // The newer server takes it, and the older programs alone cannot.
    let older = older.with("MAINSTAY_PG_BIN_DIR", oldest);
    let ran = older.run(&["backup", "restore", &id, "--database", "copy"]).exits(2);
    assert!(ran.stderr.contains("no pg_restore here"), "{}", ran.stderr);
    all.run(&["backup", "restore", &id, "--database", "copy"]).ok();
    assert_eq!(rich::plain(&new, "copy"), rich::plain(&new, "app"));
}

/// The calls of TimescaleDB, and nothing else of it: that they were made is seen in the database itself.
const LIKE_TIMESCALE: &str = "
    CREATE FUNCTION timescaledb_pre_restore() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET timescaledb.restoring = on', current_database()); RETURN true; END $$;
    CREATE FUNCTION timescaledb_post_restore() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('ALTER DATABASE %I RESET timescaledb.restoring', current_database());
        EXECUTE format('ALTER DATABASE %I SET timescaledb.restored = on', current_database()); RETURN true; END $$;
    CREATE FUNCTION stop_background_workers() RETURNS bool LANGUAGE sql AS 'SELECT true';
    CREATE FUNCTION is_restoring() RETURNS bool LANGUAGE sql
        AS $$ SELECT coalesce(pg_catalog.current_setting('timescaledb.restoring', true), '') = 'on' $$;";

#[test]
fn pitfall_29_a_dump_with_timescaledb_goes_between_the_calls_that_it_asks_for() {
    let Some(bin_dir) = of_major(18) else {
        means::lack("extensions outside PostgreSQL's own directory need version 18");
        return;
    };
    // A server that runs as somebody else reads it, too.
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let extension = place.path().join("extension");
    std::fs::create_dir(&extension).unwrap();
    let control = |version: &str| {
        std::fs::write(extension.join("timescaledb.control"), format!("default_version = '{version}'\n"))
            .unwrap();
        std::fs::write(extension.join(format!("timescaledb--{version}.sql")), LIKE_TIMESCALE).unwrap();
    };
    control("2.17.2");
    let path = format!("{}:$system", place.path().display());
    let server = Postgres::start_with_settings(&bin_dir, &[("extension_control_path", &path)]);
    // Rows that the server takes between the two calls alone.
    let tables = "CREATE EXTENSION timescaledb; CREATE SCHEMA metrics;
        CREATE TABLE metrics.readings (n int CHECK (is_restoring())); CREATE TABLE metrics.others (n int);
        SET timescaledb.restoring = on; INSERT INTO metrics.readings SELECT generate_series(1, 1000);
        INSERT INTO metrics.others VALUES (1)";
    rich::make(&server, "app", tables);
    let site = site();
    let program = program(&site, &server, &[bin_dir]);
    program.run(&["backup", "create", "acme", "--database", "app"]).ok();
    let restore = |to: &str, more: &[&str]| {
        program.run(&[&["backup", "restore", "acme/app", "--jobs", "4", "--database", to][..], more].concat())
    };
    restore("new", &[]).ok().says("1 at a time").says("start_background_workers()");
    let rows = "SELECT (SELECT count(*) FROM metrics.readings), (SELECT count(*) FROM metrics.others)";
    assert_eq!(server.psql_in("new", rows), "1000|1");
    let settings = "SELECT setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase WHERE datname = 'new'";
    assert_eq!(server.psql(settings), "{timescaledb.restored=on}", "the second call was the last one");
    // Into one that is there it would be half of it, whatever is in it.
    server.psql("CREATE DATABASE empty");
    restore("empty", &[]).exits(6).says("TimescaleDB");
    restore("new", &["--clean", "--yes=new"]).exits(6).says("TimescaleDB");
    restore("new", &["--table", "others", "--clean", "--yes=new"]).exits(6).says("TimescaleDB");
    assert_eq!(server.psql_in("new", rows), "1000|1");
    // Another version of it reads nothing of this one.
    control("2.18.0");
    let names = rich::databases(&server);
    restore("other", &[]).exits(2).says("TimescaleDB 2.17.2").says("2.18.0");
    assert_eq!(rich::databases(&server), names);
}
