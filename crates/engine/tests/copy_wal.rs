//! WAL on its way into another repository: under its own key, once, to its owner's place, and none lost when one is given up.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod wal_world;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use engine::archive_wal::LocalWal;
use engine::copy::copy;
use engine::copy_wal::{WalPlan, WalReport, WalRoad, Which};
use engine::mirror::{MirrorReport, Road};
use engine::wal_error::WalError;
use engine::wal_owner::{Claim, Owners, owner, take_over};
use engine::{EngineError, catalog, expire_wal, retired};
use model::cancel::CancelToken;
use model::lsn::Timeline;
use model::progress::Progress;
use repo::Repository;
use store::faulty::{Fault, FaultyStore};
use store::memory::MemoryStore;
use store::{Key, Store};
use wal_world::copy_world::repository;
use wal_world::copy_world::world::{assert_sound, at, init, me, open};
use wal_world::{CLUSTER, archived, base_backup, file, name, names, push, push_all, segment};

fn carry(
    from: &Repository,
    to: &Repository,
    which: &Which,
    is_mirror: bool,
) -> Result<WalReport, EngineError> {
    let (progress, cancel) = (Progress::new(), CancelToken::new());
    WalRoad { from, to, is_mirror, progress: &progress, cancel: &cancel }.copy(which)
}

fn lacks(from: &Repository, to: &Repository, which: &Which) -> WalPlan {
    let (progress, cancel) = (Progress::new(), CancelToken::new());
    WalRoad { from, to, is_mirror: false, progress: &progress, cancel: &cancel }.plan(which).unwrap()
}

fn mirror(from: &Arc<Repository>, to: &Arc<Repository>, retires: bool) -> Result<MirrorReport, EngineError> {
    let (progress, cancel, identity) = (Progress::new(), CancelToken::new(), me());
    Road { from, to, identity: &identity, progress: &progress, cancel: &cancel }.mirror(retires, at(0))
}

fn cluster(token: &str) -> Claim {
    Claim { token: token.to_owned(), host: token.to_owned(), directory: "/data".to_owned() }
}

/// Whether a cluster may archive a segment of timeline 1.
fn may_archive(repository: &Repository, claim: &Claim) -> Result<(), EngineError> {
    let wal = LocalWal { path: PathBuf::from("/nowhere/pg_wal/x"), file: file(&name(1, 99)) };
    Owners::default().verify(repository, &wal, claim)
}

/// A repository whose store counts the reads of WAL objects.
fn counted() -> (Arc<AtomicU64>, Arc<Repository>) {
    let reads = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reads);
    let plan = move |_, action: &str, key: &str| {
        count.fetch_add(u64::from(action == "get" && key.starts_with("wal/")), Ordering::SeqCst);
        None
    };
    (reads, init(Arc::new(FaultyStore::new(MemoryStore::new(), Box::new(plan)))))
}

#[test]
fn wal_arrives_under_the_other_key_and_costs_no_second_read() {
    let ((read, source), (read_back, target)) = (counted(), counted());
    push_all(&source, 1..6);
    let history = b"1\t0/500000\tbecause\n";
    push(&source, "00000002.history", history).unwrap();
    push(&source, &name(2, 5), &segment(2, 5, 2)).unwrap();
    let records = [base_backup(&source, 3, 1)];
    let which = || {
        let mut needs = expire_wal::needs_of_records(&source, &records).unwrap();
        assert_eq!(needs.len(), 1);
        needs.retain(|number, _| *number == CLUSTER.0);
        Which::Of(needs)
    };
    // What the oldest base backup does without stays behind.
    let plan = lacks(&source, &target, &which());
    assert_eq!(plan.files, 5);
    copy(&source, &target, &records, &me(), &Progress::new(), &CancelToken::new()).unwrap();
    let report = carry(&source, &target, &which(), false).unwrap();
    assert_eq!((report.copied, report.skipped, report.compared), (5, 0, 0));
    assert_eq!((report.damage.len(), report.refused.len()), (0, 0));
    let expected = [name(1, 3), name(1, 4), name(1, 5), "00000002.history".to_owned(), name(2, 5)];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(names(&target), expected);
    assert!(archived(&target, &name(1, 4)).unwrap() == segment(1, 4, 1));
    assert!(archived(&target, "00000002.history").unwrap() == history);
    assert_eq!(lacks(&source, &target, &which()), WalPlan::default());

    // Again: nothing is read. What comes new is.
    let begin = (read.load(Ordering::SeqCst), read_back.load(Ordering::SeqCst));
    let report = carry(&source, &target, &which(), false).unwrap();
    assert_eq!((report.copied, report.skipped), (0, 5));
    push(&source, &name(2, 6), &segment(2, 6, 2)).unwrap();
    assert_eq!(carry(&source, &target, &which(), false).unwrap().copied, 1);
    assert_eq!((read.load(Ordering::SeqCst), read_back.load(Ordering::SeqCst)), (begin.0 + 1, begin.1));

    // What the newest base backup leads to was never pruned: where it is gone it comes again. A mirror has everything, and
    // compares each once.
    target.store().delete(&file(&name(1, 4)).object()).unwrap();
    let report = carry(&source, &target, &which(), false).unwrap();
    assert_eq!((report.copied, report.gone), (1, 0));
    let report = carry(&source, &target, &Which::All, true).unwrap();
    assert_eq!((report.copied, report.skipped, report.compared), (2, 6, 8), "two before the base backup");
    let read = read_back.load(Ordering::SeqCst);
    let report = carry(&source, &target, &Which::All, true).unwrap();
    assert_eq!((report.copied, report.skipped, report.compared), (0, 8, 0));
    assert_eq!(read_back.load(Ordering::SeqCst), read);
    assert_eq!(names(&target), names(&source));
    assert_sound(&target, "copied");
}

#[test]
fn pitfall_22_the_owner_goes_on_in_the_copy_and_nobody_else_does() {
    let ((_, source), (_, target), (_, other)) = (repository(), repository(), repository());
    let (first, second) = (cluster("first"), cluster("second"));
    may_archive(&source, &first).unwrap();
    push_all(&source, 1..3);
    carry(&source, &target, &Which::All, false).unwrap();
    may_archive(&target, &first).unwrap();
    assert!(matches!(may_archive(&target, &second).unwrap_err(), EngineError::Wal(WalError::Owned { .. })));
    // Somebody took over: the copy hears of it with the next WAL.
    take_over(&source, CLUSTER, Timeline(1), &second).unwrap();
    push_all(&source, 3..4);
    carry(&source, &target, &Which::All, false).unwrap();
    may_archive(&target, &second).unwrap();
    may_archive(&target, &first).unwrap_err();
    // Somebody took over there: the source has nothing to say.
    take_over(&target, CLUSTER, Timeline(1), &first).unwrap();
    push_all(&source, 4..5);
    assert_eq!(carry(&source, &target, &Which::All, false).unwrap().copied, 1);
    may_archive(&target, &first).unwrap();
    let (number, _) = owner(&target, CLUSTER, Timeline(1)).unwrap().unwrap();
    assert_eq!(number, 3);
    // Another cluster's place takes nothing of it, and says so.
    may_archive(&other, &cluster("third")).unwrap();
    let report = carry(&source, &other, &Which::All, true).unwrap();
    assert_eq!((report.copied, report.refused.len()), (0, 1));
    assert!(report.refused[0].contains("third") && report.refused[0].contains("second"), "{report:?}");
    assert!(names(&other).is_empty());
}

#[test]
fn damaged_and_other_bytes_are_named_and_hide_nothing_else() {
    let ((store, source), (_, target)) = (repository(), repository());
    push_all(&source, 1..6);
    let key: Key = file(&name(1, 2)).object();
    store.tamper(&key, |bytes| bytes[100] ^= 1);
    push(&target, &name(1, 4), &segment(1, 4, 9)).unwrap();
    let report = carry(&source, &target, &Which::All, true).unwrap();
    assert_eq!((report.copied, report.damage.len(), report.refused.len()), (3, 1, 1));
    assert!(report.damage[0].contains(&name(1, 2)), "{report:?}");
    assert!(
        report.refused[0].contains(&name(1, 4)) && report.refused[0].contains("other bytes"),
        "{report:?}"
    );
    assert!(archived(&target, &name(1, 4)).unwrap() == segment(1, 4, 9), "nothing is replaced");
    assert_eq!(names(&target), [1, 3, 4, 5].map(|number| name(1, number)));
    // Such a repository is not given up.
    let error = mirror(&source, &target, true).unwrap_err();
    assert!(matches!(&error, EngineError::Refused(words) if words.contains(&name(1, 2))), "{error}");
    assert_eq!(retired::load(&source).unwrap(), None);
    push_all(&source, 6..7);
}

#[test]
fn cut_short_at_any_call_the_next_copy_finishes() {
    let (_, source) = repository();
    push_all(&source, 1..4);
    may_archive(&source, &cluster("first")).unwrap();
    for fault in [Fault::Before, Fault::After] {
        for nth in 0.. {
            let (calls, armed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
            let (count, first) = (Arc::clone(&calls), Arc::clone(&armed));
            let plan = move |_, _: &str, _: &str| {
                let (call, first) = (count.fetch_add(1, Ordering::SeqCst), first.load(Ordering::SeqCst));
                (call >= first).then_some(if call == first { fault } else { Fault::Before })
            };
            let target = init(Arc::new(FaultyStore::new(MemoryStore::new(), Box::new(plan))));
            calls.store(0, Ordering::SeqCst);
            armed.store(nth, Ordering::SeqCst);
            let outcome = carry(&source, &target, &Which::All, true);
            let made = calls.load(Ordering::SeqCst);
            armed.store(u64::MAX, Ordering::SeqCst);
            let report = carry(&source, &target, &Which::All, true).unwrap();
            assert_eq!((report.damage.len(), report.refused.len()), (0, 0), "{fault:?} {nth}");
            assert_eq!(names(&target), names(&source), "{fault:?} {nth}");
            for number in 1..4 {
                assert!(archived(&target, &name(1, number)).unwrap() == segment(1, number, 1));
            }
            may_archive(&target, &cluster("first")).unwrap();
            if made <= nth {
                assert!(outcome.is_ok() && nth > 12, "{fault:?} {nth}: {outcome:?}");
                break;
            }
        }
    }
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// A repository, whose `hook` is called once when its note of being given up is about to be put, and another way into it.
fn with_hook() -> (Arc<Mutex<Option<Hook>>>, Arc<Repository>, Arc<Repository>) {
    let store = Arc::new(MemoryStore::new());
    let hook: Arc<Mutex<Option<Hook>>> = Arc::default();
    let (called, done) = (Arc::clone(&hook), AtomicBool::new(false));
    let plan = move |_, action: &str, key: &str| {
        if action == "put" && key.starts_with("x/retired") && !done.swap(true, Ordering::SeqCst) {
            called.lock().unwrap().as_ref().unwrap()();
        }
        None
    };
    let first = init(Arc::new(FaultyStore::new(Arc::clone(&store), Box::new(plan))));
    (hook, first, open(store))
}

#[test]
fn a_repository_is_given_up_with_all_wal_that_anybody_was_told_is_archived() {
    let (hook, source, beside) = with_hook();
    let (_, target) = repository();
    push_all(&source, 1..4);
    base_backup(&source, 2, 1);
    // In the last moment before the note a push ends well.
    let server = Arc::clone(&beside);
    *hook.lock().unwrap() = Some(Box::new(move || push_all(&server, 4..5)));
    let report = mirror(&source, &target, true).unwrap();
    assert!(report.is_retired);
    assert_eq!((report.copied.copied.len(), report.wal.copied, report.wal.compared), (1, 4, 4));
    assert_eq!(names(&target), names(&source));
    // From then on nobody is told so, not even of what is there.
    for number in [4, 5] {
        let error = push(&beside, &name(1, number), &segment(1, number, 1)).unwrap_err();
        assert!(
            matches!(&error, EngineError::Retired { to, .. } if *to == target.store().location()),
            "{error}"
        );
    }
    let error = take_over(&beside, CLUSTER, Timeline(1), &cluster("any")).unwrap_err();
    assert!(matches!(error, EngineError::Retired { .. }), "{error}");
    push_all(&target, 5..6);
    // Was it a mistake, it is taken into use again, with all that came since.
    mirror(&target, &source, false).unwrap();
    push_all(&source, 5..7);
    assert_eq!(catalog::list(&source).unwrap().len(), 1);
}

#[test]
fn servers_that_archive_all_the_time_lose_nothing_when_their_repository_is_given_up() {
    let store = Arc::new(MemoryStore::new());
    let source = init(Arc::clone(&store) as Arc<dyn Store>);
    let (_, target) = repository();
    // Each archives every other segment, until it is told to go elsewhere.
    let archive = |first: u64| {
        let beside = open(Arc::clone(&store) as Arc<dyn Store>);
        let numbers = (0..3000).map(|step| first + 2 * step);
        let told = |number: &u64| match push(&beside, &name(1, *number), &segment(1, *number, 1)) {
            Ok(_) => true,
            Err(EngineError::Retired { .. }) => false,
            Err(error) => panic!("{error}"),
        };
        numbers.take_while(told).collect::<Vec<_>>()
    };
    let acknowledged = std::thread::scope(|scope| {
        let servers = [1, 2].map(|first| {
            scope.spawn({
                let archive = &archive;
                move || archive(first)
            })
        });
        while source.list_wal(CLUSTER, None).unwrap().len() < 8 {
            std::thread::yield_now();
        }
        let report = mirror(&source, &target, true);
        let acknowledged = servers.map(|server| server.join().unwrap());
        assert!(report.unwrap().is_retired);
        acknowledged.concat()
    });
    let there = names(&target);
    let lost: Vec<_> = acknowledged.iter().filter(|number| !there.contains(&name(1, **number))).collect();
    assert!(lost.is_empty() && acknowledged.len() >= 8, "{lost:?} of {}", acknowledged.len());
}

#[test]
fn where_the_last_wal_cannot_be_copied_nothing_is_given_up() {
    let (hook, source, beside) = with_hook();
    let (_, target) = repository();
    push_all(&source, 1..3);
    push(&target, &name(1, 3), &segment(1, 3, 9)).unwrap();
    let server = Arc::clone(&beside);
    *hook.lock().unwrap() = Some(Box::new(move || push_all(&server, 3..4)));
    let error = mirror(&source, &target, true).unwrap_err();
    assert!(matches!(&error, EngineError::Refused(words) if words.contains(&name(1, 3))), "{error}");
    assert_eq!(retired::load(&source).unwrap(), None);
    push_all(&source, 4..5);
}

/// Two places that get each base backup of a cluster; its server archives into the first.
#[test]
fn what_a_place_has_pruned_does_not_come_back_and_what_it_has_is_not_read() {
    let ((first_read, first), (second_read, second)) = (counted(), counted());
    // Base backups from that hour on come in this run.
    let bring_behind = |hour, from: &Arc<Repository>, to: &Arc<Repository>| {
        let (progress, cancel) = (Progress::new(), CancelToken::new());
        let road = WalRoad { from, to, is_mirror: false, progress: &progress, cancel: &cancel };
        let of = |place, comes: bool| {
            let mut records = catalog::list(place).unwrap();
            records.retain(|record| (record.created_at >= at(hour)) == comes);
            records
        };
        road.bring(&of(to, false), &of(from, true)).unwrap()
    };
    let bring = |from, to| bring_behind(8, from, to);
    for hour in [1, 4, 8] {
        for place in [&first, &second] {
            base_backup(place, hour as u64, hour);
        }
    }
    push_all(&first, 1..10);
    // The other one is new: all that follows its oldest base backup, once.
    assert_eq!(bring_behind(0, &first, &second).copied, 9);
    let reads = first_read.load(Ordering::SeqCst);
    assert_eq!(bring(&first, &second), WalReport { skipped: 9, ..WalReport::default() });
    // A window let the first one prune between base backups; the other one keeps that for longer.
    for number in [2, 3] {
        first.store().delete(&file(&name(1, number)).object()).unwrap();
    }
    let back = bring(&second, &first);
    assert_eq!((back.copied, back.compared, names(&first).len()), (0, 0, 7), "{back:?}");
    assert_eq!((first_read.load(Ordering::SeqCst), second_read.load(Ordering::SeqCst)), (reads, 0));
    // What it lost since its last base backup but one comes.
    first.store().delete(&file(&name(1, 9)).object()).unwrap();
    assert_eq!(bring(&second, &first).copied, 1);
    let back = bring(&second, &first);
    assert_eq!(
        (back.copied, names(&first).len()),
        (0, 7),
        "that it got one that way makes it no copy: {back:?}"
    );
    // And what is new goes on its way.
    push_all(&first, [10]);
    assert_eq!(bring(&first, &second).copied, 1);
}
