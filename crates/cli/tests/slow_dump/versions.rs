//! Several versions of PostgreSQL on one machine: the right programs are chosen, and where none fits the way out is
//! named. `make test` fetches two more versions; without them there is nothing to choose.

use std::path::{Path, PathBuf};

use testkit::means;
use testkit::postgres::{Postgres, installed};
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
