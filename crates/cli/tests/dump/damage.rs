//! C4, C5: whatever is flipped, cut or gone is named, `integrity check failed` is said, and no database is touched.

use std::path::Path;
use std::sync::Arc;

use engine::catalog;
use engine::stored_file::StoredFile;
use model::digest::Digest;
use repo::BlobKind;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::site::Site;

use crate::site;
use crate::strange::open;
use testkit::rich;

struct Damaged {
    server: Postgres,
    site: Site,
    id: String,
    databases: Vec<String>,
}

fn backed_up() -> Damaged {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    server.psql("CREATE DATABASE target");
    let databases = rich::databases(&server);
    Damaged { server, site, id, databases }
}

impl Damaged {
    /// What was said says what is wrong, with exit code 4, and names the thing.
    #[track_caller]
    fn assert_said(ran: &Ran, what: &str, context: &str) {
        assert_eq!(ran.code, Some(4), "{context}: {}", ran.stderr);
        assert!(ran.stderr.contains("integrity check failed"), "{context}: {}", ran.stderr);
        assert!(ran.stderr.contains(what), "{context}: {what} is not in {}", ran.stderr);
    }

    /// Neither the server nor the target changed.
    #[track_caller]
    fn assert_untouched(&self, context: &str) {
        assert_eq!(rich::databases(&self.server), self.databases, "{context}");
        let things = "SELECT count(*) FROM pg_class WHERE oid >= 16384";
        assert_eq!(self.server.psql_in("target", things), "0", "{context}");
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Changed {
        let path = self.site.repository().join(name);
        let before = std::fs::read(&path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        write(&path, &bytes);
        Changed { path, before }
    }
}

struct Changed {
    path: std::path::PathBuf,
    before: Vec<u8>,
}

impl Drop for Changed {
    fn drop(&mut self) {
        write(&self.path, &self.before);
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).ok();
    std::fs::write(path, bytes).unwrap();
}

/// Of a path, what an error names: the id of the file, shortened, or its name.
fn named(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap();
    &name[..name.len().min(8)]
}

/// Flip one byte of the last piece of the dump, and nothing that a plan is made of; the name of the piece.
fn flip_the_end(damaged: &Damaged) -> (Digest, Changed) {
    let repository = Arc::new(open(&damaged.site));
    let index = Arc::new(repository.load_index().unwrap());
    let record = catalog::find(&repository, &damaged.id).unwrap();
    let root = catalog::load_snapshot(&repository, &record).unwrap().tree;
    let dump = StoredFile::open(&repository, &index, &root, "database.dump").unwrap();
    assert!(dump.ids().len() >= 2, "the table of contents is in another piece");
    let last = *dump.ids().last().unwrap();
    let place = index.require(BlobKind::Data, &last).unwrap();
    let pack = index.pack_id(place.pack).to_hex();
    let name = damaged.site.files().into_iter().map(|(name, _)| name).find(|name| name.ends_with(&pack));
    let at = place.offset as usize + place.length as usize / 2;
    (last, damaged.change(&name.unwrap(), |bytes| bytes[at] ^= 1))
}

#[test]
fn c5_an_altered_dump_sends_no_statement_to_the_target() {
    let damaged = backed_up();
    let Damaged { server, site, id, .. } = &damaged;
    rich::make(server, "filled", "CREATE TABLE account (id int); INSERT INTO account VALUES (7)");
    let databases = rich::databases(server);
    let filled = rich::plain(server, "filled");
    let (piece, _changed) = flip_the_end(&damaged);
    server.psql("ALTER SYSTEM SET log_statement = 'all'; SELECT pg_reload_conf()");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !server.cluster().log().contains("the log is on") {
        assert!(std::time::Instant::now() < until, "statements are logged");
        server.psql_in("target", "SELECT 'the log is on'");
    }
    let before = server.cluster().log().len();
    let restore = ["backup", "restore", id, "--with-roles", "--database"];
    for target in [&["target"][..], &["filled", "--clean", "--yes=filled"]] {
        let ran = site.run(&[&restore[..], target].concat());
        Damaged::assert_said(&ran, &format!("blob {piece}"), &format!("{target:?}"));
    }
    let log = server.cluster().log()[before..].split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(log.contains("statement: SELECT"), "the plan is made by questions: {log}");
    let changing =
        ["CREATE ", "COPY ", "BEGIN", "DROP ", "ALTER ", "INSERT ", "TRUNCATE ", "COMMENT ", "DO "];
    let sent = changing.iter().find(|word| log.contains(&format!("statement: {word}")));
    assert!(sent.is_none(), "{sent:?} in {log}");
    assert_eq!((rich::databases(server), rich::plain(server, "filled")), (databases, filled));
    assert_eq!(server.psql_in("target", "SELECT count(*) FROM pg_class WHERE oid >= 16384"), "0");
    Damaged::assert_said(&site.run(&["backup", "export", id]), &format!("blob {piece}"), "export");
    Damaged::assert_said(&site.run(&["backup", "verify", id]), &format!("blob {piece}"), "verify");
}

#[test]
fn c4_the_list_survives_its_copies_and_one_bad_snapshot_hides_no_other() {
    let damaged = backed_up();
    let Damaged { server, site, .. } = &damaged;
    let second = site.back_up("app");
    let before = site.run(&["--json", "backup", "list"]).ok().text();
    // A damaged record is a damaged copy.
    let records: Vec<_> =
        site.files().into_iter().filter(|(name, _)| name.starts_with("x/record/")).collect();
    assert_eq!(records.len(), 2);
    for (name, _) in &records {
        let _changed = damaged.change(name, |bytes| bytes[40] ^= 1);
        let _cut = damaged.change(name, |bytes| bytes.truncate(10));
        assert_eq!(parsed(&site.run(&["--json", "backup", "list"]).ok().text()), parsed(&before), "{name}");
    }
    // All of x/ gone: the same list, and everything works. With the server down too.
    std::fs::remove_dir_all(site.repository().join("x")).unwrap();
    let without = site.program().with("PGPORT", "1").run(&["--json", "backup", "list"]).ok().text();
    assert_eq!(parsed(&without), parsed(&before));
    site.run(&["backup", "restore", &second, "--database", "fresh"]).ok();
    assert_eq!(rich::plain(server, "fresh"), rich::plain(server, "app"));
    // One snapshot is damaged: the other is listed and restored, and the damage is said.
    let names: Vec<_> = site.files().into_iter().filter(|(name, _)| name.starts_with("snapshots/")).collect();
    let _changed = damaged.change(&names[0].0, |bytes| bytes[30] ^= 1);
    let ran = site.run(&["backup", "list"]);
    Damaged::assert_said(&ran, named(&names[0].0), "list");
    let left: Vec<_> =
        ran.text().lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(left.len(), 1);
    site.run(&["backup", "restore", &left[0], "--database", "other"]).ok();
    let gone = if left[0] == second { &damaged.id } else { &second };
    Damaged::assert_said(&site.run(&["backup", "restore", gone, "--database", "third"]), "", "restore");
}

/// The records without what only the copy knows: how much the backup added.
fn parsed(json: &str) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    for record in value["records"].as_array_mut().unwrap() {
        record["storedBytes"] = "".into();
    }
    value
}

#[test]
fn a_missing_index_or_pack_is_said() {
    let damaged = backed_up();
    let Damaged { site, id, .. } = &damaged;
    let index = site.repository().join("index");
    std::fs::rename(&index, site.path().join("index")).unwrap();
    std::fs::create_dir(&index).unwrap();
    Damaged::assert_said(&site.run(&["backup", "restore", id, "--database", "target"]), "in no index", "");
    Damaged::assert_said(&site.run(&["check"]), "", "");
    damaged.assert_untouched("index gone");
    std::fs::remove_dir(&index).unwrap();
    std::fs::rename(site.path().join("index"), &index).unwrap();
    site.assert_sound();
    // A pack that is gone.
    let pack = site.files().into_iter().find(|(name, _)| name.starts_with("data/")).unwrap();
    std::fs::remove_file(site.repository().join(&pack.0)).unwrap();
    let checked = site.run(&["check"]);
    Damaged::assert_said(&checked, "", "pack gone");
    assert!(checked.text().contains(named(&pack.0)), "{}", checked.text());
    let ran = site.run(&["backup", "restore", id, "--database", "target"]);
    Damaged::assert_said(&ran, "", "pack gone");
    damaged.assert_untouched("pack gone");
    write(&site.repository().join(&pack.0), &pack.1);
    site.assert_sound();
}

/// Whoever writes to the store may change the dump and all that records its hash: here everything but the keys comes
/// from a repository that fits together, sealed by somebody who has not our key.
#[test]
fn c5_dump_and_recorded_hash_replaced_together_are_still_detected() {
    let damaged = backed_up();
    let forger = site().with_server(&damaged.server);
    damaged.server.psql_in("app", "UPDATE account SET balance = 1000000 WHERE id = 7");
    forger.back_up("app");
    let is_key = |name: &str| name == "config" || name.starts_with("keys/");
    for (name, _) in damaged.site.files().iter().filter(|(name, _)| !is_key(name)) {
        std::fs::remove_file(damaged.site.repository().join(name)).unwrap();
    }
    for (name, bytes) in forger.files().iter().filter(|(name, _)| !is_key(name)) {
        let path = damaged.site.repository().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, bytes);
    }
    let id = &forger.ids()[0];
    for arguments in [
        &["backup", "list"][..],
        &["backup", "get", id],
        &["backup", "verify", id],
        &["backup", "export", id],
        &["backup", "restore", id, "--database", "target"],
        &["backup", "restore", "acme/app", "--database", "new"],
    ] {
        let ran = damaged.site.run(arguments);
        assert!(ran.stdout.is_empty() || arguments[1] == "list", "{arguments:?}");
        Damaged::assert_said(&ran, "snapshot", &format!("{arguments:?}"));
        damaged.assert_untouched(&format!("{arguments:?}"));
    }
}
