//! C4, C5: whatever is flipped, cut or gone is named, `integrity check failed` is said, and no database is touched.

use std::path::Path;

use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::site::Site;

use crate::site;
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

#[test]
fn c5_an_altered_dump_sends_no_statement_to_the_target() {
    let damaged = backed_up();
    // Every pack broken in the middle of its largest blob.
    let names: Vec<_> =
        damaged.site.files().into_iter().filter(|(name, _)| name.starts_with("data/")).collect();
    let changed: Vec<_> = names
        .iter()
        .map(|(name, _)| {
            damaged.change(name, |bytes| {
                let at = bytes.len() / 2;
                bytes[at] ^= 1
            })
        })
        .collect();
    damaged.server.psql("ALTER SYSTEM SET log_statement = 'all'; SELECT pg_reload_conf()");
    damaged.server.psql_in("target", "SELECT 'the log is on'");
    let statistics = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'target'";
    let before = damaged.server.psql(statistics);
    Damaged::assert_said(
        &damaged.site.run(&["backup", "restore", &damaged.id, "--database", "target"]),
        "blob",
        "",
    );
    Damaged::assert_said(&damaged.site.run(&["backup", "export", &damaged.id]), "blob", "");
    let log = damaged.server.cluster().log();
    assert!(log.contains("the log is on"));
    assert!(!log.contains("CREATE TABLE") && !log.contains("COPY public"), "{log}");
    assert!(before.parse::<u64>().is_ok());
    damaged.assert_untouched("");
    drop(changed);
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
