//! N8, H8: passwords come, go and are replaced, and restic agrees; no data byte is rewritten.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::restic;
use testkit::site::{PASSWORD, Site};

use crate::{bare, site};
use testkit::rich;

/// A file with a password, private.
fn password_file(site: &Site, name: &str, password: &str) -> String {
    let file = site.path().join(name);
    std::fs::write(&file, format!("{password}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[track_caller]
fn assert_opens(site: &Site, password: &str, opens: bool) {
    let ran = site.program().with("MAINSTAY_PASSWORD", password).run(&["backup", "list"]);
    assert_eq!(ran.code, Some(if opens { 0 } else { 2 }), "{}", ran.stderr);
    for restic in restic::installed() {
        let ran = restic.run(&site.repository(), password, &["snapshots"]);
        assert_eq!(ran.code == Some(0), opens, "{}", ran.stderr);
    }
}

#[test]
fn n8_keys_come_and_go_and_no_data_byte_is_rewritten() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    let dump = site.run(&["backup", "export", &id]).ok().stdout;
    let others =
        || site.files().into_iter().filter(|(name, _)| !name.starts_with("keys/")).collect::<Vec<_>>();
    let before = others();
    let new = "N".repeat(20) + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
    let third = "T".repeat(20) + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
    site.run(&["key", "rotate", "--new-password-file", &password_file(&site, "new", &new)]).ok();
    assert_opens(&site, &new, true);
    assert_opens(&site, PASSWORD, false);
    let rotated = site.program().with("MAINSTAY_PASSWORD", &new);
    let ran = rotated
        .run(&["--json", "key", "add", "--new-password-file", &password_file(&site, "third", &third)])
        .ok();
    let added: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_opens(&site, &third, true);
    let listed: Value = serde_json::from_slice(&rotated.run(&["--json", "key", "list"]).ok().stdout).unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed:#}");
    let own = listed["keys"].as_array().unwrap().iter().find(|key| key["current"] == true).unwrap();
    rotated.run(&["key", "remove", own["id"].as_str().unwrap()]).exits(6);
    rotated.run(&["key", "remove", &added["id"].as_str().unwrap()[..8]]).ok();
    assert_opens(&site, &third, false);
    assert_opens(&site, &new, true);
    rotated.run(&["key", "remove", "ffffffffff"]).exits(5);
    assert_eq!(others(), before, "only keys changed");
    // Old backups restore with the new password.
    assert_eq!(rotated.run(&["backup", "export", &id]).ok().stdout, dump);
    rotated.run(&["backup", "restore", &id, "--database", "again"]).ok();
    // A key that restic adds opens here too.
    for restic in restic::installed() {
        let by_restic = format!("{}{}", restic.number(), "R".repeat(60));
        let file = password_file(&site, "by-restic", &by_restic);
        restic.run(&site.repository(), &new, &["key", "add", "--new-password-file", &file]).ok();
        assert_opens(&site, &by_restic, true);
    }
}

#[test]
fn h8_passwords_are_generated_once_and_weak_ones_are_warned_about() {
    let site = bare();
    let file = site.path().join("password");
    let name = file.to_str().unwrap();
    let ran = site.run(&["--json", "init", "--generate-password", name]).ok();
    let recovery: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let password = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let is_strong =
        |text: &str| text.len() == 64 && text.chars().all(|letter| letter.is_ascii_alphanumeric());
    assert!(is_strong(password.trim_end()), "{password}");
    assert!(!ran.stderr.contains(password.trim_end()) && !ran.text().contains(password.trim_end()));
    let recovery = recovery["recoveryKey"].as_str().unwrap();
    assert!(is_strong(recovery));
    assert_opens(&site, password.trim_end(), true);
    assert_opens(&site, recovery, true);
    let by_file = site.program().without("MAINSTAY_PASSWORD");
    by_file.run(&["--password-file", name, "backup", "list"]).ok();
    // Never overwritten, whoever asks.
    let second = bare();
    second.run(&["init", "--generate-password", name]).exits(6).says("exists already");
    assert!(!second.repository().join("config").exists());
    by_file.run(&["--password-file", name, "key", "rotate", "--generate-password", name]).exits(6);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), password);
    // An existing repository is refused before a password is drawn.
    let other = site.path().join("other");
    site.run(&["init", "--generate-password", other.to_str().unwrap()]).exits(6);
    assert!(!other.exists());
    let drawn = site.run(&["key", "generate"]).ok().text();
    assert!(is_strong(drawn.trim_end()) && drawn != site.run(&["key", "generate"]).text());
    let third = bare();
    third
        .program()
        .with("MAINSTAY_PASSWORD", "hunter2")
        .run(&["init"])
        .ok()
        .says("weak")
        .says("key generate");
    let ran = bare().program().with("MAINSTAY_PASSWORD", drawn.trim_end()).run(&["init"]).ok();
    assert!(!ran.stderr.contains("weak"), "{}", ran.stderr);
}

#[test]
fn c24_one_tenants_key_opens_nothing_of_another() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let (a, b) = (site().with_server(&server), bare().with_server(&server));
    let other = "B".repeat(64);
    let program = b.program().with("MAINSTAY_PASSWORD", &other);
    program.run(&["init", "--no-recovery-key"]).ok();
    a.back_up("app");
    program.run(&["backup", "create", "b", "--database", "app"]).ok();
    b.run(&["backup", "list"]).exits(2);
    // The same contents have no name in common but what is chance: chunks are cut and packs are sealed differently.
    let names = |site: &Site| {
        site.files()
            .into_iter()
            .filter(|(name, _)| !name.starts_with("x/"))
            .map(|(name, _)| name)
            .collect::<std::collections::HashSet<_>>()
    };
    let (ours, theirs) = (names(&a), names(&b));
    let both: Vec<_> = ours.intersection(&theirs).collect();
    assert_eq!(both, ["config"]);
    // A pack carried over is no one's: it is not opened, and nothing is listed.
    let foreign = b.files().into_iter().find(|(name, _)| name.starts_with("snapshots/")).unwrap();
    std::fs::write(a.repository().join(&foreign.0), &foreign.1).unwrap();
    a.run(&["check"]).exits(4).says("integrity check failed");
}
