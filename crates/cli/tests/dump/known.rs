//! Without `-r`, backups are looked for in every repository that `--dest` used from here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::program::Program;
use testkit::rich;
use testkit::site::{PASSWORD, Site, id_of};

use crate::bare;

fn set_up() -> (Postgres, Site, Program) {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = bare().with_server(&server);
    let program =
        site.program().without("MAINSTAY_REPOSITORY").with("MAINSTAY_BACKUP_DIR", site.path().join("none"));
    (server, site, program)
}

fn path(site: &Site, name: &str) -> String {
    site.path().join(name).display().to_string()
}

/// Make a repository and back up into it; returns the id.
#[track_caller]
fn back_up(program: &Program, place: &str, tenant: &str) -> String {
    if !Path::new(place).exists() {
        program.run(&["-r", place, "init", "--no-recovery-key"]).ok();
    }
    id_of(&program.run(&["backup", "create", tenant, "--database", "app", "--dest", place]).ok())
}

fn ids(listed: &str) -> Vec<&str> {
    listed.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect()
}

#[test]
fn every_repository_that_dest_used_is_looked_into() {
    let (server, site, program) = set_up();
    program.run(&["backup", "list"]).exits(2).says("no repository was named");
    let (one, two, named) = (path(&site, "one"), path(&site, "two"), path(&site, "named"));
    let (in_one, in_two) = (back_up(&program, &one, "acme"), back_up(&program, &two, "other"));
    program.run(&["-r", &named, "init", "--no-recovery-key"]).ok();
    program.run(&["-r", &named, "backup", "create", "third", "--database", "app"]).ok();

    let listed = program.run(&["backup", "list"]).ok();
    assert!(listed.stderr.is_empty(), "{}", listed.stderr);
    assert_eq!(ids(&listed.text()), [in_two.as_str(), &in_one], "what -r named is not remembered");
    for (line, place) in listed.text().lines().skip(1).zip([&two, &one]) {
        assert_eq!(line.split_whitespace().last(), Some(place.as_str()));
    }
    // -r names one exactly.
    assert_eq!(ids(&program.run(&["-r", &one, "backup", "list"]).ok().text()), [in_one.as_str()]);
    // Every verb finds it, by a unique beginning.
    let record: Value =
        serde_json::from_slice(&program.run(&["--json", "backup", "get", "acme"]).ok().stdout).unwrap();
    assert_eq!(record["location"], one.as_str());
    program.run(&["backup", "verify", "other"]).ok();
    let dump = program.run(&["backup", "export", &in_one]).ok().stdout;
    assert_eq!(program.run(&["-r", &one, "backup", "export", &in_one]).ok().stdout, dump);
    program.run(&["backup", "restore", "acme/app", "--database", "again"]).ok();
    assert_eq!(rich::plain(&server, "again"), rich::plain(&server, "app"));
    program.run(&["backup", "get", "no_such"]).exits(5);
    // A copy is the same backup, and said.
    program.run(&["-r", &one, "copy", &in_one, "--to", &two]).ok();
    program.run(&["backup", "get", &in_one]).ok().says("is in");
    // The newest of a source, wherever it lies.
    server.psql_in("app", "DELETE FROM filler");
    back_up(&program, &two, "acme");
    program.run(&["backup", "restore", "acme/app", "--database", "newest"]).ok();
    assert_eq!(server.psql_in("newest", "SELECT count(*) FROM filler"), "0");

    // The list has addresses and nothing else, for its owner alone.
    let file = site.path().join(".local/state/mainstay/repositories");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{one}\n{two}\n"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let shown = program.run(&["repositories", "list"]).ok().text();
    assert_eq!(shown.lines().collect::<Vec<_>>(), [two.as_str(), &one]);
    program.run(&["repositories", "forget", &two]).ok();
    program.run(&["repositories", "forget", &two]).exits(5);
    assert_eq!(ids(&program.run(&["backup", "list"]).ok().text()), [in_one.as_str()]);
    assert!(Path::new(&two).join("config").exists());
}

#[test]
fn a_repository_that_is_gone_locked_or_damaged_hides_no_other() {
    let (_server, site, program) = set_up();
    let (sound, gone, locked) = (path(&site, "sound"), path(&site, "gone"), path(&site, "locked"));
    let id = back_up(&program, &sound, "acme");
    back_up(&program, &gone, "acme");
    let other =
        program.clone().without("MAINSTAY_PASSWORD").with("MAINSTAY_PASSWORD", PASSWORD.replace('C', "D"));
    back_up(&other, &locked, "acme");
    fs::rename(&gone, path(&site, "moved")).unwrap();
    // Lines that make no sense, from whatever hand.
    let file = site.path().join(".local/state/mainstay/repositories");
    let mut text = fs::read(&file).unwrap();
    text.extend_from_slice(b"\xff\xfe\nrelative/place\nsftp://user:canary@host/srv\n\n\x07\n");
    fs::write(&file, &text).unwrap();

    let ran = program.run(&["backup", "list"]).ok().says(&gone).says(&locked).says("left out");
    assert_eq!(ids(&ran.text()), [id.as_str()]);
    assert!(!ran.stderr.contains("canary") && !ran.stderr.contains("relative"), "{}", ran.stderr);
    program.run(&["backup", "verify", &id]).ok();
    program.run(&["backup", "get", "none"]).exits(5).says(&gone);
    // A password that opens the other one shows the other one.
    let ran = other.run(&["backup", "list"]).ok().says(&sound);
    assert!(ran.text().contains(&locked), "{}", ran.text());
    // The next --dest writes the list anew, without what made no sense.
    back_up(&program, &sound, "acme");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{gone}\n{locked}\n{sound}\n"));
    // Nowhere to remember: the backup is made all the same.
    let homeless = program.without("HOME").with("XDG_STATE_HOME", "/proc/none");
    homeless
        .run(&["backup", "create", "acme", "--database", "app", "--dest", &sound])
        .ok()
        .says("not remembered");
}
