//! Prune cut short at every single call to the store, before and after the call took effect.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod prune_world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::digest::Digest;
use prune_world::{
    Files, Rewound, assert_sound, at, at_once, back_up, dead, files, me, open, restore, restore_tree, run,
    try_prune,
};
use repo::Repository;
use repo::packer::Guard;
use repo::prune::PruneOptions;
use store::faulty::{Fault, FaultyStore};
use store::memory::MemoryStore;
use store::{Range, Store};

/// Never reached.
const NO_CALL: u64 = u64::MAX;

struct Site {
    store: Arc<MemoryStore>,
    live: Vec<(Digest, Files)>,
    cooling: (Digest, Files),
}

/// A repository in which prune has everything to do: unneeded packs, partly needed ones, duplicates, left-over
/// packs, many small ones, snapshots that are over and one that cools.
fn site() -> Site {
    let store = Arc::new(MemoryStore::new());
    let repository = prune_world::init(Arc::clone(&store) as Arc<dyn Store>);
    let contents = [files(&[("a", 1)]), files(&[("b", 2), ("f", 6)]), files(&[("c", 3)])];
    let old = back_up(&repository, &files(&[("a", 1), ("x", 9), ("y", 10), ("z", 11)]), 0);
    let unneeded = back_up(&repository, &files(&[("q", 20)]), 0);
    let live: Vec<_> = contents.iter().map(|files| (back_up(&repository, files, 1), files.clone())).collect();
    let cooling = files(&[("b", 2), ("k", 30)]);
    let cooling_id = back_up(&repository, &cooling, 2);
    prune_world::save_tree(&repository, repo::index::Index::default(), &contents[2]);
    for id in [old, unneeded] {
        repository.delete_snapshot(&id, at(3), &Guard::default()).unwrap();
    }
    run(&repository, &options(), 4);
    repository.delete_snapshot(&cooling_id, at(60), &Guard::default()).unwrap();
    Site { store, live, cooling: (cooling_id, cooling) }
}

fn options() -> PruneOptions {
    PruneOptions { unused_percent_max: 0, ..PruneOptions::default() }
}

fn copy(store: &MemoryStore) -> MemoryStore {
    let new = MemoryStore::new();
    let mut bytes = vec![];
    let folders = ["data", "index", "snapshots", "keys", "x"];
    let listed = folders.iter().flat_map(|folder| store.list(folder).unwrap());
    let config = "config".parse().unwrap();
    for key in listed.map(|object| object.key).chain([config]) {
        store.get(&key, Range::All, &mut bytes).unwrap();
        new.put_new(&key, &bytes).unwrap();
    }
    new
}

/// A repository over a copy of the site, whose calls to the store from `first` to `last` fail once it is armed.
struct Broken {
    repository: Arc<Repository>,
    store: Arc<FaultyStore<Rewound>>,
    calls: Arc<AtomicU64>,
    first: Arc<AtomicU64>,
    last: Arc<AtomicU64>,
}

impl Broken {
    fn over(site: &Site, fault: Fault) -> Self {
        let [calls, first, last] = [0, NO_CALL, NO_CALL].map(|n| Arc::new(AtomicU64::new(n)));
        let (count, from, to) = (Arc::clone(&calls), Arc::clone(&first), Arc::clone(&last));
        let plan = move |_, _: &str, _: &str| {
            let call = count.fetch_add(1, Ordering::SeqCst);
            let range = from.load(Ordering::SeqCst)..=to.load(Ordering::SeqCst);
            range.contains(&call).then_some(if call == *range.start() { fault } else { Fault::Before })
        };
        let store = Arc::new(FaultyStore::new(Rewound::default(), Box::new(plan)));
        store.inside().set(copy(&site.store));
        let repository = open(Arc::clone(&store) as Arc<dyn Store>);
        Self { repository, store, calls, first, last }
    }

    fn rewind(&self, site: &Site) {
        self.store.inside().set(copy(&site.store));
    }

    /// Let calls fail from the `nth` from now on; `once` or for ever.
    fn arm(&self, nth: u64, once: bool) {
        self.first.store(nth, Ordering::SeqCst);
        self.last.store(if once { nth } else { NO_CALL - 1 }, Ordering::SeqCst);
        self.calls.store(0, Ordering::SeqCst);
    }

    fn disarm(&self) -> u64 {
        self.first.store(NO_CALL, Ordering::SeqCst);
        self.calls.load(Ordering::SeqCst)
    }
}

fn assert_whole(repository: &Arc<Repository>, site: &Site, what: &str) {
    assert_sound(repository, what);
    for (id, files) in &site.live {
        assert_eq!(&restore(repository, id), files, "{what}");
    }
    let (id, files) = &site.cooling;
    let deleted = repository.deleted_snapshots().unwrap();
    let cooling = deleted.iter().find(|deleted| deleted.id == *id).unwrap();
    assert_eq!(&restore_tree(repository, &cooling.snapshot.tree), files, "{what}");
    for other in deleted {
        // Whatever can still be undeleted must be there in full.
        restore_tree(repository, &other.snapshot.tree);
    }
}

fn fail_everywhere(fault: Fault, once: bool) {
    let site = site();
    let broken = Broken::over(&site, fault);
    let mut nth = 0;
    let mut failed = 0;
    loop {
        let what = format!("call {nth}, {fault:?}, once: {once}");
        broken.rewind(&site);
        broken.arm(nth, once);
        let outcome = try_prune(&broken.repository, &options(), 100, &dead());
        let calls = broken.disarm();
        failed += u64::from(outcome.is_err());
        assert_whole(&broken.repository, &site, &what);
        let later = try_prune(&broken.repository, &options(), 100, &me());
        let later = later.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(later.in_use_by, None, "{what}");
        assert_whole(&broken.repository, &site, &what);
        assert_eq!(broken.repository.deleted_snapshots().unwrap().len(), 1, "{what}");
        // Copies that a crash left behind wait for their marks; then nothing is left.
        run(&broken.repository, &options(), 131);
        let last = run(
            &broken.repository,
            &PruneOptions { cooling_off: jiff::SignedDuration::from_hours(31), ..options() },
            132,
        );
        assert_whole_without_cooling(&broken.repository, &site, &what);
        assert_eq!(last.waiting, 0, "{what}: {last:?}");
        if nth >= calls {
            assert!(outcome.is_ok(), "{what}: {outcome:?}");
            break;
        }
        nth += 1;
    }
    assert!(nth > 40 && failed > nth / 2, "{failed} of {nth} calls failed");
}

fn assert_whole_without_cooling(repository: &Arc<Repository>, site: &Site, what: &str) {
    assert_eq!(assert_sound(repository, what), 0, "{what}");
    for (id, files) in &site.live {
        assert_eq!(&restore(repository, id), files, "{what}");
    }
}

#[test]
fn the_base_has_everything_to_do() {
    let site = site();
    let report = run(&open(Arc::clone(&site.store) as Arc<dyn Store>), &options(), 100);
    assert!(report.removed_packs > 2 && report.repacked_packs > 0 && report.buried == 2, "{report:?}");
    let again = run(&open(Arc::clone(&site.store) as Arc<dyn Store>), &at_once(), 101);
    assert!(again.buried == 1, "{again:?}");
}

#[test]
fn power_lost_before_a_call() {
    fail_everywhere(Fault::Before, false);
}

#[test]
fn power_lost_after_a_call() {
    fail_everywhere(Fault::After, false);
}

#[test]
fn one_call_refused() {
    fail_everywhere(Fault::Before, true);
}

#[test]
fn one_answer_lost() {
    fail_everywhere(Fault::After, true);
}
