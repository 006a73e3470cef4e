//! Stock restic judges: what our prune leaves it checks and restores, and what its prune leaves we do.
//!
//! The judges are those of the other tests ([`testkit::restic`]); without any, nothing is judged, and that is a failure.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod prune_world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use jiff::Timestamp;
use prune_world::{
    PASSWORD, assert_sound, at, at_once, back_up, files, init, me, noise, open, options, restore, run,
};
use repo::packer::Guard;
use repo::prune::{PruneReport, prune};
use repo::{BlobKind, Repository};
use store::local::LocalStore;
use testkit::restic::{self, Restic};

struct Judge {
    program: PathBuf,
    place: tempfile::TempDir,
}

fn judges() -> Vec<Judge> {
    let judge =
        |restic: &Restic| Judge { program: restic.path().to_owned(), place: tempfile::tempdir().unwrap() };
    restic::installed().iter().map(judge).collect()
}

impl Judge {
    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn store(&self) -> Arc<LocalStore> {
        Arc::new(LocalStore::new(self.path("repository")))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::new(&self.program)
            .args(["--no-cache", "-r"])
            .arg(self.path("repository"))
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .current_dir(self.place.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}{}",
            self.program.display(),
            text(&output.stdout),
            text(&output.stderr)
        );
        output
    }

    /// `restic check --read-data`, and no hint of anything odd.
    fn check(&self) {
        let output = self.run(&["check", "--read-data"]);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("no errors were found"), "{text}");
        for odd in ["not referenced", "unused", "duplicate", "mixed", "warning"] {
            assert!(!text.contains(odd), "{odd}: {text}");
        }
    }

    fn restore(&self, snapshot: &str, into: &str) -> PathBuf {
        let target = self.path(into);
        self.run(&["restore", snapshot, "--target", target.to_str().unwrap()]);
        target
    }
}

fn assert_files(restored: &Path, expected: &prune_world::Files) {
    for (name, bytes) in expected {
        assert_eq!(&std::fs::read(restored.join(name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(std::fs::read_dir(restored).unwrap().count(), expected.len());
}

fn prune_now(repository: &Arc<Repository>) -> PruneReport {
    let (progress, cancel) = Default::default();
    repository.clock().set(Timestamp::now());
    prune(repository, &at_once(), &me(), Timestamp::now(), &progress, &cancel).unwrap()
}

#[test]
fn restic_checks_and_restores_what_our_prune_leaves() {
    for judge in judges() {
        let repository = init(judge.store());
        let all = files(&[("a", 1), ("b", 2), ("c", 3)]);
        let part = files(&[("b", 2), ("n", 4)]);
        let drop_me = back_up(&repository, &all, 0);
        let keep = back_up(&repository, &part, 1);
        let cooling = back_up(&repository, &files(&[("c", 3), ("k", 5)]), 2);
        repository.delete_snapshot(&drop_me, at(3), &Guard::default()).unwrap();
        run(&repository, &options(), 4);
        judge.run(&["check", "--read-data"]);
        repository.delete_snapshot(&cooling, at(70), &Guard::default()).unwrap();
        let report = run(&repository, &options(), 80);
        assert!(report.removed_packs + report.repacked_packs > 0 && report.buried == 1, "{report:?}");
        judge.run(&["check", "--read-data"]);
        repository.undelete_snapshot(&cooling, &Guard::default()).unwrap();
        judge.run(&["check", "--read-data"]);
        assert_files(&judge.restore(&keep.to_hex(), "keep"), &part);
        assert_files(&judge.restore(&cooling.to_hex(), "cooling"), &files(&[("c", 3), ("k", 5)]));
        let dumped = judge.run(&["dump", &keep.to_hex(), "/n"]).stdout;
        assert_eq!(dumped, part["n"]);
        repository.delete_snapshot(&cooling, at(81), &Guard::default()).unwrap();
        run(&repository, &at_once(), 82);
        judge.check();
    }
}

#[test]
fn restic_likes_merged_packs_and_a_rewritten_index() {
    for judge in judges() {
        let repository = init(judge.store());
        let snapshots: Vec<_> =
            (0..33).map(|n| back_up(&repository, &files(&[("a", n)]), n as i64)).collect();
        assert_eq!(run(&repository, &options(), 40).repacked_packs, 66);
        judge.check();
        assert_files(&judge.restore(&snapshots[7].to_hex(), "seven"), &files(&[("a", 7)]));
    }
}

#[test]
fn our_check_is_clean_after_restics_forget_and_prune() {
    for judge in judges() {
        let repository = init(judge.store());
        let part = files(&[("b", 2)]);
        let drop_me = back_up(&repository, &files(&[("a", 1), ("b", 2), ("c", 3)]), 0);
        let keep = back_up(&repository, &part, 1);
        judge.run(&["forget", &drop_me.to_hex()]);
        judge.run(&["prune", "--max-unused", "0"]);
        assert_eq!(assert_sound(&repository, "after restic's prune"), 0);
        assert_eq!(restore(&repository, &keep), part);
        assert_eq!(run(&repository, &at_once(), 9).freed_bytes, 0, "restic left no waste");
        judge.check();
    }
}

#[test]
fn our_prune_over_a_repository_that_restic_wrote() {
    for judge in judges() {
        let source = judge.path("source");
        std::fs::create_dir_all(source.join("inner")).unwrap();
        judge.run(&["init"]);
        for n in 0..4 {
            std::fs::write(source.join("big"), noise(n, 3_000_000)).unwrap();
            std::fs::write(source.join("inner").join(format!("{n}")), noise(100 + n, 700_000)).unwrap();
            judge.run(&["backup", "source"]);
        }
        judge.run(&["forget", "--keep-last", "1"]);
        let repository = open(judge.store());
        let report = prune_now(&repository);
        assert!(report.removed_packs > 0 && report.freed_bytes > 8_000_000, "{report:?}");
        assert_eq!(assert_sound(&repository, "ours"), 0);
        judge.check();
        let restored = judge.restore("latest", "restored").join("source");
        assert_eq!(std::fs::read(restored.join("big")).unwrap(), noise(3, 3_000_000));
        for n in 0..4 {
            let bytes = std::fs::read(restored.join("inner").join(format!("{n}"))).unwrap();
            assert_eq!(bytes, noise(100 + n, 700_000));
        }
        // And restic goes on writing where we pruned.
        judge.run(&["backup", "source"]);
        judge.check();
        let index = repository.load_index().unwrap();
        for (_, snapshot) in repository.load_snapshots().unwrap() {
            repository.read_blob(&index, BlobKind::Tree, &snapshot.tree).unwrap();
        }
    }
}

#[test]
fn a_lock_of_restic_keeps_step_two_from_running() {
    for judge in judges() {
        let repository = init(judge.store());
        let drop_me = back_up(&repository, &files(&[("a", 1)]), 0);
        repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
        // restic holds its lock as long as its input lasts.
        let mut writer = Command::new(&judge.program)
            .args(["--no-cache", "-r", judge.path("repository").to_str().unwrap(), "backup", "--stdin"])
            .env("RESTIC_PASSWORD", PASSWORD)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let locks = || repository.list(repo::repository::FileKind::Lock).unwrap().len();
        while locks() == 0 {
            assert!(writer.try_wait().unwrap().is_none());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // restic looks a second time after 200 ms, and of two that begin at one time both step back.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let report = run(&repository, &at_once(), 2);
        assert!(report.in_use_by.is_some() && report.removed_packs == 0, "{report:?}");
        writer.stdin.take().unwrap().write_all(b"some bytes").unwrap();
        let ended = writer.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(run(&repository, &at_once(), 3).removed_packs, 2);
        judge.check();
    }
}
