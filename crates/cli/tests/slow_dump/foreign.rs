//! Repositories that stock restic wrote are read by mainstay, and what restic does to ours leaves it sound.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::restic::{self, Restic};
use testkit::rich;
use testkit::site::{PASSWORD, Site, files_below};

use crate::{bare, site};

/// Files that cut, repeat and compress in their own ways.
fn sample(site: &Site) -> std::path::PathBuf {
    let folder = site.path().join("sample");
    std::fs::create_dir_all(folder.join("below")).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("words"), "words ".repeat(100_000)).unwrap();
    let noise: Vec<u8> =
        (0..3_000_000u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8).collect();
    std::fs::write(folder.join("below/noise"), &noise).unwrap();
    std::fs::write(folder.join("below/again"), &noise).unwrap();
    folder
}

/// mainstay lists and reads it, to the last byte.
#[track_caller]
fn assert_read(site: &Site, restic: &Restic, snapshots: usize, context: &str) {
    let ran = site.run(&["--json", "check", "--read-data"]);
    assert_eq!(ran.code, Some(0), "{context}: {} {}", ran.stderr, ran.text());
    let listed = site.run(&["--json", "backup", "list"]);
    let listed: Value = serde_json::from_slice(&listed.ok().stdout).unwrap();
    let records = listed["records"].as_array().unwrap();
    assert_eq!(records.len(), snapshots, "{context}");
    for record in records {
        let id = record["id"].as_str().unwrap();
        site.run(&["backup", "verify", id]).ok();
        let to = tempfile::tempdir().unwrap();
        site.run(&["backup", "restore", id, "--to", to.path().to_str().unwrap()]).ok();
        assert_same(site, restic, record["snapshot"].as_str().unwrap(), to.path());
    }
}

/// What mainstay restored is what restic restores, wherever in the tree it begins.
#[track_caller]
fn assert_same(site: &Site, restic: &Restic, snapshot: &str, restored: &Path) {
    let to = tempfile::tempdir().unwrap();
    site.restic(restic, &["restore", snapshot, "--target", to.path().to_str().unwrap()]).ok();
    let files = |root: &Path| {
        let name = |(path, bytes): (String, Vec<u8>)| (path.rsplit('/').next().unwrap().to_owned(), bytes);
        let mut files: Vec<_> = files_below(root).into_iter().map(name).collect();
        files.sort();
        files
    };
    assert!(!files(restored).is_empty());
    assert!(files(restored) == files(to.path()), "{snapshot}");
}

#[test]
fn u7_repositories_of_every_restic_are_read() {
    for restic in restic::installed() {
        for version in ["1", "2"] {
            let site = bare();
            let run = |arguments: &[&str]| site.restic(&restic, arguments).ok();
            run(&["init", "--repository-version", version]);
            let folder = sample(&site);
            let folder = folder.to_str().unwrap();
            let modes: &[&str] = if version == "1" { &["off"] } else { &["auto", "off", "max"] };
            for mode in modes {
                let file = Path::new(folder).join(mode);
                std::fs::write(&file, format!("{mode} ").repeat(50_000)).unwrap();
                run(&["--compression", mode, "backup", folder]);
            }
            let stdin = format!("{} of version {version}", restic.number());
            back_up_stdin(&site, &restic, &stdin);
            let context = format!("restic {} version {version}", restic.number());
            assert_read(&site, &restic, modes.len() + 1, &context);
            // Several keys, an index twice, and after restic's own prune.
            let key = site.path().join("key");
            std::fs::write(&key, "x".repeat(64)).unwrap();
            run(&["key", "add", "--new-password-file", key.to_str().unwrap()]);
            site.program().with("MAINSTAY_PASSWORD", "x".repeat(64)).run(&["backup", "list"]).ok();
            run(&["rebuild-index"]);
            assert_read(&site, &restic, modes.len() + 1, &context);
            run(&["forget", "latest", "--prune"]);
            assert_read(&site, &restic, modes.len(), &context);
        }
    }
}

fn back_up_stdin(site: &Site, restic: &Restic, text: &str) {
    let mut command = restic.on(&site.repository(), PASSWORD).command(&["--no-cache", "backup", "--stdin"]);
    let file = site.path().join("stdin");
    std::fs::write(&file, text).unwrap();
    let output = command.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn u7_a_foreign_index_that_says_things_twice_is_read() {
    let restic = &restic::installed()[0];
    let (site, other) = (bare(), bare());
    site.restic(restic, &["init"]).ok();
    let folder = sample(&site);
    site.restic(restic, &["backup", folder.to_str().unwrap()]).ok();
    // A second writer that did not see the first: the same blobs in two packs and two indexes.
    let before = site.files();
    std::fs::create_dir_all(other.repository()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(site.repository()).arg(other.path()).status();
    assert!(copied.unwrap().success());
    for folder in ["index", "snapshots", "data"] {
        for (name, _) in before.iter().filter(|(name, _)| name.starts_with(folder)) {
            std::fs::remove_file(other.repository().join(name)).unwrap();
        }
    }
    other.restic(restic, &["backup", folder.to_str().unwrap()]).ok();
    let copied = std::process::Command::new("cp").arg("-a").arg(other.repository()).arg(site.path()).status();
    assert!(copied.unwrap().success());
    let indexes = site.files().into_iter().filter(|(name, _)| name.starts_with("index/")).count();
    assert_eq!(indexes, 2);
    assert_read(&site, restic, 2, "duplicates");
}

#[test]
fn restics_forget_and_prune_leave_our_repository_sound() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    for restic in restic::installed() {
        let site = site().with_server(&server);
        let first = site.back_up("app");
        server.psql_in("app", "INSERT INTO filler SELECT n, md5(n::text) FROM generate_series(1, 2000) n");
        let second = site.back_up("app");
        let dump = site.run(&["backup", "export", &second]).ok().stdout;
        let listed = site.run(&["--json", "backup", "get", &first]).ok();
        let record: Value = serde_json::from_slice(&listed.stdout).unwrap();
        site.restic(&restic, &["forget", record["snapshot"].as_str().unwrap(), "--prune"]).ok();
        // Not by mainstay, so it is shown as missing (C12).
        assert_eq!(site.ids(), [second.clone(), first]);
        assert!(site.run(&["backup", "list"]).ok().text().contains("(missing)"));
        assert_eq!(site.run(&["backup", "export", &second]).ok().stdout, dump);
        site.assert_sound();
        site.back_up("app");
        site.assert_sound();
        // Its locks are respected while their holder lives, and its ls and restore see what we wrote.
        assert!(site.restic(&restic, &["ls", "latest"]).ok().text().contains("/database.dump"));
        let to = site.path().join("restored");
        site.restic(&restic, &["restore", "latest", "--target", to.to_str().unwrap()]).ok();
        let newest = site.ids()[0].clone();
        let exported = site.run(&["backup", "export", &newest]).ok().stdout;
        assert_eq!(std::fs::read(to.join("database.dump")).unwrap(), exported);
    }
}

#[test]
fn while_mainstay_writes_restic_prunes_nothing_and_may_look() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let first = site.back_up("app");
    // pg_dump waits for a lock of somebody else's, so that the backup is under way as long as we like.
    let session = server.session("app");
    let mut holder = session.command(&server.client().program("psql"));
    let holder = holder.args(["-X", "-q", "-c", "BEGIN; LOCK TABLE filler; SELECT pg_sleep(300)"]);
    let mut holder = holder.stderr(std::process::Stdio::null()).spawn().unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'filler'::regclass AND granted";
    until(|| server.psql_in("app", held) != "0");
    let child = site.program().start(&["backup", "create", "acme", "--database", "app"]);
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'";
    until(|| server.psql(waits) == "1");
    until(|| site.repository().join("locks").read_dir().is_ok_and(|mut names| names.next().is_some()));
    for restic in restic::installed() {
        let ran = site.restic(&restic, &["prune"]).says("already locked");
        assert_ne!(ran.code, Some(0), "{}: {}", restic.version(), ran.text());
        site.restic(&restic, &["--no-lock", "check"]).ok();
        site.restic(&restic, &["--no-lock", "ls", "latest"]).ok();
    }
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)' AND datname = 'app'");
    holder.wait().unwrap();
    let second = testkit::site::id_of(&Ran::wait(child).ok());
    for restic in restic::installed() {
        site.restic(&restic, &["prune"]).ok();
    }
    assert_eq!(site.ids(), [second, first]);
    site.assert_sound();
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come to pass");
        std::thread::sleep(Duration::from_millis(10));
    }
}
