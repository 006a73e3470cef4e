//! Copying between repositories with different keys: whole, once, cut short anywhere, and judged by stock restic.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a judge that is missing must be told")]

mod copy_world;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use copy_world::world::{
    PASSWORD, Rewound, assert_sound, at, at_once, dead, files, init, me, noise, open, restore, run,
};
use copy_world::{back_up, repository};
use engine::copy::{CopyReport, copy};
use engine::{EngineError, catalog, cutter, delete};
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use repo::Repository;
use repo::repository::FileKind;
use store::faulty::{Fault, FaultyStore};
use store::local::LocalStore;

fn copy_some(source: &Arc<Repository>, target: &Arc<Repository>, records: &[BackupRecord]) -> CopyReport {
    copy(source, target, records, &me(), &Progress::new(), &CancelToken::new()).unwrap()
}

fn copy_all(source: &Arc<Repository>, target: &Arc<Repository>) -> CopyReport {
    copy_some(source, target, &catalog::list(source).unwrap())
}

#[test]
fn everything_arrives_once_with_its_tags_times_and_records() {
    let ((_, source), (_, target)) = (repository(), repository());
    let contents = [files(&[("a", 1), ("b", 2)]), files(&[("a", 1), ("c", 3)])];
    let records = [back_up(&source, "web", &contents[0], 1), back_up(&source, "web", &contents[1], 2)];
    catalog::set_hold(&source, &records[0], true).unwrap();
    let report = copy_all(&source, &target);
    assert_eq!((report.copied.len(), report.skipped, report.blobs), (2, 0, 11));
    assert!((90_000..94_000).contains(&report.bytes), "{report:?}");
    assert_sound(&target, "copied");
    let there = catalog::list(&target).unwrap();
    for (record, content) in records.iter().zip(&contents) {
        let found = there.iter().find(|found| found.id == record.id).unwrap();
        assert_eq!((found.created_at, found.size_bytes), (record.created_at, record.size_bytes));
        assert_eq!(found.hold, record.id == records[0].id);
        let (from, to) = (record.snapshot.unwrap(), found.snapshot.unwrap());
        assert!(from != to && report.copied.contains(&(from, to)));
        let (one, other) = (source.load_snapshot(&from).unwrap(), target.load_snapshot(&to).unwrap());
        assert_eq!(other.original, Some(from));
        assert_eq!((one.time, one.tree, &one.tags), (other.time, other.tree, &other.tags));
        assert_eq!(
            (&one.paths, &one.hostname, &one.username),
            (&other.paths, &other.hostname, &other.username)
        );
        assert_eq!(&restore(&target, &to), content);
    }
    let again = copy_all(&source, &target);
    assert_eq!((again.copied.len(), again.skipped, again.bytes), (0, 2, 0));
    for repository in [&source, &target] {
        assert!(repository.list_notes("lease").unwrap().is_empty());
        assert!(repository.list(FileKind::Lock).unwrap().is_empty());
    }
}

#[test]
fn chosen_ones_alone_and_later_ones_cost_only_what_is_new() {
    let ((_, source), (_, target)) = (repository(), repository());
    let first = back_up(&source, "web", &files(&[("a", 1), ("b", 2)]), 1);
    back_up(&source, "db", &files(&[("x", 8)]), 1);
    assert_eq!(copy_some(&source, &target, &[first]).copied.len(), 1);
    assert_eq!(catalog::list(&target).unwrap().len(), 1);
    let later = back_up(&source, "web", &files(&[("a", 1), ("b", 2), ("c", 3)]), 2);
    let report = copy_some(&source, &target, &[later]);
    assert!((30_000..32_000).contains(&report.bytes), "{report:?}");
}

#[test]
fn over_three_repositories_and_back_a_snapshot_stays_the_same_one() {
    let ((_, one), (_, two), (_, three)) = (repository(), repository(), repository());
    back_up(&one, "web", &files(&[("a", 1)]), 1);
    copy_all(&one, &two);
    copy_all(&two, &three);
    for (from, to) in [(&one, &three), (&three, &one), (&two, &one)] {
        assert_eq!(copy_all(from, to).skipped, 1);
    }
}

#[test]
fn later_backups_are_cut_alike_on_both_sides() {
    let ((_, source), (_, target)) = (repository(), repository());
    let bytes = noise(5, 3_000_000);
    let cut = |repository: &Repository| cutter::load(repository, 64 << 10).unwrap().cut(&bytes);
    let before = cut(&source);
    back_up(&source, "web", &files(&[("a", 1)]), 1);
    copy_all(&source, &target);
    assert_eq!(cut(&target), before);
    // A target that cuts already goes on as it does.
    let (_, own) = repository();
    let before = cut(&own);
    copy_all(&source, &own);
    assert_eq!(cut(&own), before);
}

#[test]
fn a_repository_is_not_copied_into_itself_and_damage_is_not_copied_at_all() {
    let (store, source) = repository();
    back_up(&source, "web", &files(&[("a", 1)]), 1);
    let records = catalog::list(&source).unwrap();
    let error = copy(&source, &source, &records, &me(), &Progress::new(), &CancelToken::new()).unwrap_err();
    assert!(matches!(error, EngineError::Refused(_)), "{error}");
    let packs = source.list(FileKind::Pack).unwrap();
    let data = packs.iter().max_by_key(|pack| pack.size).unwrap();
    store.tamper(&FileKind::Pack.object(&data.id), |bytes| bytes[5000] ^= 1);
    let (_, target) = repository();
    let error = copy(&source, &target, &records, &me(), &Progress::new(), &CancelToken::new()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert!(catalog::list(&target).unwrap().is_empty());
}

#[test]
fn cut_short_at_any_call_nothing_half_is_seen_and_the_next_copy_finishes() {
    let (_, source) = repository();
    let contents = [files(&[("a", 1), ("b", 2)]), files(&[("c", 3)])];
    let held = back_up(&source, "web", &contents[0], 1);
    catalog::set_hold(&source, &held, true).unwrap();
    back_up(&source, "web", &contents[1], 2);
    let records = catalog::list(&source).unwrap();
    for fault in [Fault::Before, Fault::After] {
        for nth in 0.. {
            let what = format!("{fault:?} {nth}");
            let (calls, armed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
            let (count, first) = (Arc::clone(&calls), Arc::clone(&armed));
            let plan = move |_, _: &str, _: &str| {
                let (call, first) = (count.fetch_add(1, Ordering::SeqCst), first.load(Ordering::SeqCst));
                (call >= first).then_some(if call == first { fault } else { Fault::Before })
            };
            let target = init(Arc::new(FaultyStore::new(Rewound::default(), Box::new(plan))));
            calls.store(0, Ordering::SeqCst);
            armed.store(nth, Ordering::SeqCst);
            let outcome = copy(&source, &target, &records, &dead(), &Progress::new(), &CancelToken::new());
            let made = calls.load(Ordering::SeqCst);
            armed.store(u64::MAX, Ordering::SeqCst);
            assert_sound(&target, &what);
            copy_all(&source, &target);
            let there = catalog::list(&target).unwrap();
            assert_eq!(there.len(), 2, "{what}");
            assert!(there[1].hold && !there[0].hold, "{what}");
            assert_eq!(restore(&target, &there[1].snapshot.unwrap()), contents[0], "{what}");
            assert_eq!(restore(&target, &there[0].snapshot.unwrap()), contents[1], "{what}");
            if made <= nth {
                assert!(outcome.is_ok() && nth > 12, "{what}");
                break;
            }
        }
    }
}

#[test]
fn an_interrupted_copy_keeps_the_snapshots_that_were_done() {
    let (_, source) = repository();
    let records: Vec<_> =
        (1..=40).map(|hour| back_up(&source, "web", &files(&[("a", hour as u64)]), hour)).collect();
    let broken = Arc::new(AtomicBool::new(true));
    let plan = {
        let (broken, commits) = (Arc::clone(&broken), AtomicU64::new(0));
        move |_: u64, action: &str, key: &str| {
            let is_commit = action == "put" && key.starts_with("snapshots/");
            let done = commits.fetch_add(u64::from(is_commit), Ordering::SeqCst);
            let is_data = action == "put" && key.starts_with("data/");
            (is_data && done > 0 && broken.load(Ordering::SeqCst)).then_some(Fault::Before)
        }
    };
    let target = init(Arc::new(FaultyStore::new(Rewound::default(), Box::new(plan))));
    copy(&source, &target, &records, &dead(), &Progress::new(), &CancelToken::new()).unwrap_err();
    broken.store(false, Ordering::SeqCst);
    assert_sound(&target, "cut short");
    let done = catalog::list(&target).unwrap().len();
    assert!((1..40).contains(&done), "{done} are there");
    let report = copy_all(&source, &target);
    assert_eq!((report.copied.len(), report.skipped), (40 - done, done));
    assert_sound(&target, "finished");
}

fn restics() -> Vec<String> {
    let named = std::env::var("MAINSTAY_TEST_RESTIC").unwrap_or_default();
    let programs = named.split(':').filter(|path| !path.is_empty()).chain(["restic"]).map(str::to_owned);
    let restics: Vec<_> =
        programs.filter(|program| Command::new(program).arg("version").output().is_ok()).collect();
    if restics.is_empty() {
        eprintln!("no restic here: nothing was judged");
    }
    restics
}

#[test]
fn restic_checks_and_restores_the_copy_and_what_it_wrote_is_copied() {
    for restic in restics() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
        let run_restic = |repository: &str, arguments: &[&str]| {
            let mut command = Command::new(&restic);
            command.args(["--no-cache", "-r", &path(repository)]).args(arguments);
            let output = command.env("RESTIC_PASSWORD", PASSWORD).current_dir(place.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        };
        std::fs::create_dir_all(path("tree/inner")).unwrap();
        std::fs::write(path("tree/big"), noise(1, 3_000_000)).unwrap();
        std::fs::write(path("tree/inner/text"), "some words ".repeat(5000)).unwrap();
        run_restic("one", &["init"]);
        run_restic("one", &["backup", "--tag", "x", "tree"]);
        let source = open(Arc::new(LocalStore::new(path("one"))));
        let own = back_up(&source, "web", &files(&[("a", 1)]), 1);
        let target = init(Arc::new(LocalStore::new(path("two"))));
        assert_eq!(copy_all(&source, &target).copied.len(), 2);
        assert_sound(&target, "copied");
        let text = run_restic("two", &["check", "--read-data"]);
        assert!(text.contains("no errors were found") && !text.contains("duplicate"), "{text}");
        run_restic("two", &["restore", "latest", "--tag", "x", "--target", &path("out")]);
        for name in ["tree/big", "tree/inner/text"] {
            let restored = std::fs::read(path(&format!("out/{name}"))).unwrap();
            assert!(restored == std::fs::read(path(name)).unwrap(), "{name}");
        }
        // Deleting one side's copy and pruning it leaves the other copied one whole.
        let there = catalog::find(&target, own.id.as_str()).unwrap();
        delete::delete(&target, &there, &me(), at(3)).unwrap();
        assert!(run(&target, &at_once(), 4).freed_bytes > 30_000);
        assert!(run_restic("two", &["check", "--read-data"]).contains("no errors were found"));
    }
}
