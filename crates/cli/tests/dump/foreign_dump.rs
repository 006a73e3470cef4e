//! An archive that mainstay did not write (threat 11): put into a repository by stock restic, and manipulated.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::program::{Program, Ran};
use testkit::restic;
use testkit::rich;
use testkit::site::{PASSWORD, Site};

use crate::bare;

/// What `pg_dump` writes when somebody else calls it, compressed as it likes.
fn dump(server: &Postgres, database: &str) -> Vec<u8> {
    let session = server.session(database);
    let output = session.command(&server.client().program("pg_dump")).arg("-Fc").output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Put bytes into the repository as `restic backup --stdin` does; returns the id that mainstay lists.
fn put(site: &Site, bytes: &[u8], name: &str) -> String {
    let file = site.path().join("stdin");
    fs::write(&file, bytes).unwrap();
    let arguments = ["--no-cache", "backup", "--stdin", "--stdin-filename", name];
    let mut command = restic::installed()[0].on(&site.repository(), PASSWORD).command(&arguments);
    let output = command.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.ids()[0].clone()
}

/// The real programs of `server`, but for two things: they say that they are of this minor version, because the
/// patched ones are not to be had everywhere, and psql keeps what it is told.
fn programs(site: &Site, server: &Postgres, minor: u32) -> PathBuf {
    let folder = site.path().join(format!("bin{minor}"));
    let real = server.client().bin_dir().display();
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(server.client().program("pg_restore"), folder.join("pg_restore")).unwrap();
    let major = server.client().version().major();
    let said = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo 'pg_dump (PostgreSQL) {major}.{minor}'\nexec {real}/pg_dump \"$@\"\n"
    );
    let told = format!("#!/bin/sh\ntee -a {} | {real}/psql \"$@\"\n", folder.join("told").display());
    for (name, script) in [("pg_dump", said), ("psql", told)] {
        fs::write(folder.join(name), script).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn with_programs(site: &Site, folder: &Path) -> Program {
    site.program().with("MAINSTAY_PG_BIN_DIR", folder)
}

fn set_up() -> (Postgres, Site) {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    server.psql_in("app", "COMMENT ON TABLE account IS 'canary of the archive'");
    let site = bare().with_server(&server);
    site.restic(&restic::installed()[0], &["init"]).ok();
    (server, site)
}

fn hazards(ran: &Ran) -> String {
    let plan: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(plan["foreign"], true);
    plan["hazards"].to_string()
}

#[test]
fn threat_11_an_archive_of_somebody_else_needs_a_patched_pg_restore_and_a_word() {
    let (server, site) = set_up();
    let id = put(&site, &dump(&server, "app"), "x.dump");
    let listed = site.run(&["backup", "list"]).ok().text();
    assert!(listed.lines().nth(1).unwrap().starts_with("restic-"), "{listed}");
    let before = rich::databases(&server);
    let restore = ["backup", "restore", &id, "--database", "copy", "--yes=copy"];
    // A pg_restore that such an archive could take over never sees it.
    let ran = with_programs(&site, &programs(&site, &server, 9)).run(&restore);
    ran.exits(6).says("CVE-2026-116314").says("install");
    // A patched one does, after a word that names the target.
    let patched = programs(&site, &server, 99);
    let program = with_programs(&site, &patched);
    program.run(&restore[..5]).exits(6).says("somebody else's archive").says("--yes=copy");
    program.run(&[&restore[..5], &["--dry-run"]].concat()).ok().says("mainstay did not write this archive");
    assert_eq!(rich::databases(&server), before);
    program.run(&[&restore[..], &["--jobs", "2"]].concat()).ok();
    assert_eq!(rich::plain(&server, "copy"), rich::plain(&server, "app"));
    // Over an existing one, all or nothing.
    server.psql_in("copy", "DROP TABLE filler");
    program.run(&[&restore[..], &["--clean"]].concat()).ok();
    assert_eq!(rich::plain(&server, "copy"), rich::plain(&server, "app"));
    program
        .run(&[&restore[..4], &["third", "--with-roles", "--yes=third"]].concat())
        .exits(2)
        .says("no roles");
    // Nothing of the archive was ever told to psql.
    let told = fs::read_to_string(patched.join("told")).unwrap();
    assert!(told.contains("CREATE DATABASE"), "psql is what makes databases");
    assert!(!told.contains("canary") && !told.contains("account"), "{told}");
}

#[test]
fn threat_11_a_manipulated_archive_is_named_and_reaches_no_database() {
    let (server, site) = set_up();
    server.psql_in("app", "CREATE FUNCTION deep() RETURNS int LANGUAGE internal AS 'pg_backend_pid'");
    let sound = dump(&server, "app");
    let program = with_programs(&site, &programs(&site, &server, 99));
    let before = rich::databases(&server);
    let restore =
        |id: &str, flag: &str| program.run(&["--json", "backup", "restore", id, "--database", "copy", flag]);
    // Cut, or with a table of contents that makes no sense: said as damage.
    let id = put(&site, &sound[..sound.len() - 100], "cut.dump");
    restore(&id, "--yes=copy").exits(4).says("not a sound archive");
    let mut broken = sound.clone();
    broken[40..60].fill(0xff);
    let id = put(&site, &broken, "broken.dump");
    restore(&id, "--yes=copy").exits(4).says("not a sound archive");
    // Rows that come from somewhere else: the same length, so that all else fits.
    let (copy, shell): (&[u8], &[u8]) =
        (b"COPY public.filler (n, words) FROM stdin;", b"COPY public.filler FROM PROGRAM 'id'    ;");
    assert_eq!(copy.len(), shell.len());
    let at = sound.windows(copy.len()).position(|window| window == copy).unwrap();
    let mut hostile = sound.clone();
    hostile[at..at + copy.len()].copy_from_slice(shell);
    let id = put(&site, &hostile, "hostile.dump");
    let named = hazards(&restore(&id, "--dry-run").ok());
    assert!(named.contains("TABLE DATA public.filler takes its rows by something else"), "{named}");
    assert!(named.contains("FUNCTION public.deep() calls compiled or untrusted code"), "{named}");
    restore(&id, "--no-owner").exits(6).says("public.filler takes its rows");
    // What is no archive, and what is several.
    let id = put(&site, b"-- a script\nDROP TABLE account;", "x.sql");
    restore(&id, "--yes=copy").exits(2).says("has 0 archives");
    assert_eq!(rich::databases(&server), before);
    // The bytes themselves are to be had all the same.
    let to = site.path().join("to");
    program.run(&["backup", "restore", &id, "--to", to.to_str().unwrap()]).ok();
    assert_eq!(fs::read(to.join("x.sql")).unwrap(), b"-- a script\nDROP TABLE account;");
}

/// Years of dumps join: each with its time, none twice, none that is cut, and none is believed.
#[test]
fn dumps_of_others_become_backups_with_their_times_and_are_not_believed() {
    let (server, site) = set_up();
    let folder = site.path().join("old");
    fs::create_dir(&folder).unwrap();
    let bytes = dump(&server, "app");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let first = file("app-20240101-020000.dump", &bytes);
    server.psql_in("app", "CREATE TABLE later (n int)");
    let second = file("whatever", &dump(&server, "app"));
    let import =
        |arguments: &[&str]| site.run(&[&["backup", "import", "--tenant", "acme"], arguments].concat());
    import(&[&first, "--dry-run"]).ok().says("made 2024-01-01T02:00:00Z; nothing was done");
    import(&[&first]).ok().says("backup ok id=acme-app-20240101T020000Z bytes=");
    import(&[&second, "--created-at", "2025-06-01T00:00:00+02:00", "--name", "old"]).ok();
    let listed = site.run(&["backup", "list", "acme"]).ok().text();
    let ids: Vec<_> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["acme-old-20250531T220000Z", "acme-app-20240101T020000Z"], "{listed}");
    // The same bytes are one backup, whatever they are called.
    import(&[&file("again-20250101.dump", &bytes)]).ok().says("is here already as acme-app-20240101T020000Z");
    // Cut, junk and nothing: no backup, and the good one beside them is made.
    let cut = file("cut.dump", &bytes[..bytes.len() - 100]);
    import(&[&cut]).exits(4);
    import(&[&file("junk.dump", b"-- plain SQL\n")]).exits(4);
    import(&[&folder.join("gone.dump").to_string_lossy()]).exits(5).says("gone.dump");
    server.psql_in("app", "CREATE TABLE latest (n int)");
    let third = file("third-20260101T000000Z.dump", &dump(&server, "app"));
    import(&[&cut, &third])
        .exits(3)
        .says("import failed file=")
        .says("backup ok id=acme-app-20260101T000000Z");
    assert_eq!(site.ids().len(), 3);
    site.assert_sound();
    // What comes out is what went in, and pg_restore of a patched version alone may touch it.
    let exported = site.run(&["backup", "export", "acme-app-20240101T020000Z"]).ok();
    assert!(exported.stdout == bytes);
    let restore = ["backup", "restore", "acme-app-20240101T020000Z", "--database", "copy", "--yes=copy"];
    with_programs(&site, &programs(&site, &server, 9)).run(&restore).exits(6);
    let plan = with_programs(&site, &programs(&site, &server, 99))
        .run(&[&restore[..], &["--dry-run", "--json"]].concat());
    assert_eq!(serde_json::from_slice::<Value>(&plan.ok().stdout).unwrap()["foreign"], true);
    with_programs(&site, &site.path().join("bin99")).run(&restore).ok();
    assert_eq!(
        server.psql_in("copy", "SELECT count(*) FROM account"),
        server.psql_in("app", "SELECT count(*) FROM account")
    );
}
