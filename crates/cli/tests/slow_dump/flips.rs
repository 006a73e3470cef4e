//! C5: whatever byte is flipped or cut is named, `integrity check failed` is said, and no database is touched.

use std::path::{Path, PathBuf};

use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::rich;
use testkit::site::Site;

use crate::site;

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
    path: PathBuf,
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
fn c5_a_flipped_or_cut_byte_anywhere_is_named_and_touches_no_database() {
    let damaged = backed_up();
    let files = damaged.site.files();
    let kinds = ["config", "keys/", "index/", "snapshots/", "data/"];
    let mut cases = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| kinds.iter().any(|kind| name.starts_with(kind))) {
        // Ends and middles of each file: a key file is text, of which not every letter matters.
        let last = bytes.len() - 1;
        let places = match name.starts_with("data/") {
            true => vec![0, bytes.len() / 3, last.saturating_sub(5), last],
            false => vec![0, bytes.len() / 2, last],
        };
        for place in places {
            let context = format!("byte {place} of {name}");
            let _changed = damaged.change(name, |bytes| bytes[place] ^= 0x40);
            judge(&damaged, name, &context);
            cases += 1;
        }
        let context = format!("{name} cut");
        let _changed = damaged.change(name, |bytes| bytes.truncate(last));
        judge(&damaged, name, &context);
        drop(_changed);
    }
    assert!(cases > 15, "{cases}");
    damaged.site.assert_sound();
    damaged.site.run(&["backup", "restore", &damaged.id, "--database", "target"]).ok();
}

/// check finds it always; restore and verify say it, or did not need that byte and were right.
#[track_caller]
fn judge(damaged: &Damaged, name: &str, context: &str) {
    let (site, id) = (&damaged.site, damaged.id.as_str());
    let checked = site.run(&["check", "--read-data"]);
    if name.starts_with("keys/") && checked.code == Some(2) {
        assert!(checked.stderr.contains("wrong password"), "{context}: {}", checked.stderr);
        return;
    }
    Damaged::assert_said(&checked, "", context);
    let all = checked.stderr.clone() + &checked.text();
    assert!(all.contains(named(name)), "{context}: {} is not in {all}", named(name));
    let verified = site.run(&["backup", "verify", id]);
    let restored = site.run(&["backup", "restore", id, "--database", "fresh"]);
    if verified.code == Some(0) {
        // The header of a pack is for those who lost the index: nobody else reads it.
        assert!(name.starts_with("data/"), "{context}: {}", verified.stderr);
        assert_eq!(restored.code, Some(0), "{context}");
        damaged.server.psql("DROP DATABASE fresh");
    } else {
        Damaged::assert_said(&verified, "", context);
        Damaged::assert_said(&restored, "", context);
        let into = site.run(&["backup", "restore", id, "--database", "target"]);
        Damaged::assert_said(&into, "", context);
    }
    damaged.assert_untouched(context);
}
