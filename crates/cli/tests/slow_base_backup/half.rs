//! Restores that do not come to their end: nothing starts on what is there, and what was there is as it was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::disk::SmallDisk;
use testkit::postgres::{Postgres, installed};
use testkit::site::files_below;
use testkit::strace::{self, Fault};

use crate::load;
use crate::room::Room;

const CONTROL: &str = "global/pg_control";

fn backed_up() -> (Room, Postgres, String) {
    let room = Room::new();
    let server = load::server(&installed()[0]);
    load::fill(&server);
    let id = load::back_up(&room.site, &server, &[]);
    (room, server, id)
}

#[track_caller]
fn assert_starts_nowhere(room: &Room, server: &Postgres, data: &Path) {
    assert!(!data.join(CONTROL).exists());
    // Whatever else is missing, it is not why.
    for (name, text) in
        [("postgresql.conf", String::new()), ("PG_VERSION", format!("{}\n", load::major(server)))]
    {
        if !data.join(name).exists() {
            fs::write(data.join(name), text).unwrap();
        }
    }
    let words = room.try_revive(data, server).err().unwrap();
    assert!(words.contains("global/pg_control"), "{words}");
}

#[test]
fn pitfall_11_a_killed_restore_leaves_a_directory_that_does_not_start() {
    let (room, server, id) = backed_up();
    let data = room.path("restored");
    let program = load::program(&room.site, &server);
    let arguments = ["--limit-download", "2M", "backup", "restore", &id, "--to", data.to_str().unwrap()];
    let mut running = program.start(&arguments);
    let begin = Instant::now();
    while fs::read_dir(data.join("base/1")).map_or(0, Iterator::count) < 20 {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never begins");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(files_below(&data).len() > 1, "something was restored");
    assert_starts_nowhere(&room, &server, &data);
    // What is there is gone on with.
    let yes = format!("--yes={}", data.display());
    let whole =
        ["backup", "restore", &id, "--to", data.to_str().unwrap(), "--target", "immediate", "--delta", &yes];
    room.restore(&server, &whole).ok();
    load::judge(&server, "pg_verifybackup", &[data.to_str().unwrap()]);
}

/// A relation that is mostly holes needs no more room than its pages.
#[test]
fn a_sparse_cluster_fits_onto_a_small_disk() {
    const LEN: u64 = 256 << 20;
    let room = Room::new();
    let Some(disk) = SmallDisk::mount(&room.path("disk"), "160m") else { return };
    let server = load::server(&installed()[0]);
    server.psql("CREATE TABLE sparse AS SELECT 1 AS n; CHECKPOINT");
    let file = server.psql("SELECT pg_relation_filepath('sparse')");
    let relation = fs::File::options().write(true).open(server.cluster().data_dir().join(&file)).unwrap();
    relation.set_len(LEN).unwrap();
    let id = load::back_up(&room.site, &server, &[]);
    let data = disk.path().join("restored");
    let restore = ["--json", "backup", "restore", &id, "--to", data.to_str().unwrap()];
    let ran = room.restore(&server, &[&restore[..], &["--dry-run"]].concat()).ok();
    let plan: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    assert!(number(&plan["holeBytes"]) >= LEN - (1 << 20), "{plan}");
    assert_eq!(
        number(&plan["places"][0]["sizeBytes"]),
        number(&plan["sizeBytes"]) - number(&plan["holeBytes"])
    );
    room.restore(&server, &restore).ok();
    let restored = fs::metadata(data.join(&file)).unwrap();
    assert_eq!(restored.len(), LEN);
    assert!(restored.blocks() * 512 < 1 << 20, "{} blocks", restored.blocks());
    load::judge(&server, "pg_verifybackup", &[data.to_str().unwrap()]);
}

#[test]
fn pitfall_11_without_its_label_a_restored_directory_does_not_start() {
    let (room, server, id) = backed_up();
    let data = room.path("restored");
    let whole = ["backup", "restore", &id, "--to", data.to_str().unwrap()];
    room.restore(&server, &whole).ok();
    load::judge(&server, "pg_verifybackup", &[data.to_str().unwrap()]);
    let (label, away) = (data.join("backup_label"), room.path("label"));
    fs::rename(&label, &away).unwrap();
    // Also for whoever thinks that it is a cluster that crashed.
    for signal in [true, false] {
        if !signal {
            fs::remove_file(data.join("recovery.signal")).unwrap();
        }
        let words = room.try_revive(&data, &server).err().unwrap();
        assert!(words.contains("could not locate a valid checkpoint record"), "{words}");
    }
    fs::rename(&away, &label).unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    load::assert_sound(&revived);
}

#[test]
fn a_missing_or_damaged_pack_is_named_and_no_pg_control_is_made() {
    let (room, server, id) = backed_up();
    let packs = room.path("repository/data");
    let largest = files_below(&packs).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let pack = packs.join(&largest.0);
    let good = room.path("good");
    room.restore(&server, &["backup", "restore", &id, "--to", good.to_str().unwrap()]).ok();
    // What is different there would be mended.
    fs::write(good.join("PG_VERSION"), "another").unwrap();
    let mut bent = largest.1.clone();
    bent[largest.1.len() / 2] ^= 1;
    fs::write(&pack, bent).unwrap();
    let data = room.path("restored");
    let restore = ["backup", "restore", &id, "--to", data.to_str().unwrap()];
    let ran = room.restore(&server, &restore).exits(4).says("integrity check failed");
    assert!(ran.stderr.contains("which no server starts on"), "{}", ran.stderr);
    assert_starts_nowhere(&room, &server, &data);
    fs::remove_dir_all(&data).unwrap();

    // What is gone is noticed before anything is made, and before anything is overwritten.
    fs::remove_file(&pack).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    let missing = |arguments: &[&str]| {
        room.restore(&server, arguments).exits(4).says("integrity check failed").says(name)
    };
    missing(&restore);
    assert!(!data.exists());
    let before = files_below(&good);
    let yes = format!("--yes={}", good.display());
    missing(&["backup", "restore", &id, "--to", good.to_str().unwrap(), "--delta", &yes]);
    assert!(files_below(&good) == before, "what was there is as it was");
    missing(&[&restore[..], &["--dry-run"]].concat());
}

/// The order that makes a half-written cluster one that does not start: all of it on disk, then `pg_control`, then that.
#[test]
fn pitfall_11_what_is_not_on_disk_gets_no_pg_control_and_is_no_success() {
    if !strace::is_permitted() {
        return;
    }
    let room = Room::new();
    let server = load::server(&installed()[0]);
    let id = load::back_up(&room.site, &server, &[]);
    for (nth, is_there) in [(1, false), (2, true)] {
        let data = room.path(&format!("restored-{nth}"));
        let restore = ["backup", "restore", &id, "--to", data.to_str().unwrap(), "--target", "immediate"];
        let failing = Fault::error("syncfs", "EIO").nth(nth);
        let faulted = failing.run(&load::program(&room.site, &server), &restore);
        assert!(faulted.happened, "a restore brings it to disk twice");
        let ran = faulted.ran.exits(1).says("which no server starts on");
        assert!(!ran.stderr.contains("restore ok"), "{}", ran.stderr);
        assert_eq!(data.join(CONTROL).exists(), is_there, "{}", ran.stderr);
        assert!(data.join("backup_label").exists());
    }
}

#[test]
fn what_would_overwrite_or_not_fit_is_refused_and_nothing_is_touched() {
    let (room, server, id) = backed_up();
    let data = room.path("taken");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("precious"), "mine").unwrap();
    let ran = room.restore(&server, &["backup", "restore", &id, "--to", data.to_str().unwrap()]).exits(6);
    assert!(
        ran.stderr.contains("is not empty") && ran.stderr.contains("restore acme-cluster"),
        "the plan comes first: {}",
        ran.stderr
    );
    let there = files_below(&data);
    assert_eq!(there, [("precious".to_owned(), b"mine".to_vec())]);

    let living = server.cluster().data_dir();
    let yes = format!("--yes={}", living.display());
    let over = ["backup", "restore", &id, "--to", living.to_str().unwrap(), "--delta", &yes];
    let ran = room.restore(&server, &over).exits(6);
    assert!(ran.stderr.contains("a server runs on"), "{}", ran.stderr);
    assert_eq!(server.psql("SELECT count(*) FROM words"), "20000");

    let Some(disk) = SmallDisk::mount(&room.path("small"), "8m") else { return };
    let data = disk.path().join("data");
    let ran = room.restore(&server, &["backup", "restore", &id, "--to", data.to_str().unwrap()]).exits(6);
    assert!(ran.stderr.contains("has room for"), "{}", ran.stderr);
    assert!(!data.exists());
}

#[test]
fn pitfall_23_a_cluster_comes_back_with_repository_and_password_alone() {
    let (room, server, id) = backed_up();
    let like = load::program(&room.site, &server);
    drop(server);
    let data = room.path("restored");
    let restore = ["backup", "restore", &id, "--to", data.to_str().unwrap(), "--target", "immediate"];
    like.clone().with("MAINSTAY_PASSWORD", "another").run(&restore).exits(2);
    like.clone().without("MAINSTAY_PASSWORD").run(&restore).exits(2);
    assert!(!data.exists(), "nothing is made without the key");
    // No server lives, and nothing of this machine is known.
    let bare = like.without("HOME").without("PGPASSWORD").without("PGHOST").without("PGPORT");
    bare.run(&restore).ok();
    assert!(data.join(CONTROL).exists());
}
