//! Prune's two steps beside writers, deletions and undeletions, in a repository in memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod prune_world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use prune_world::{
    Rewound, assert_sound, at, at_once, back_up, commit, files, init, me, noise, objects, open, options,
    restore, restore_tree, run, save_tree, try_prune,
};
use repo::RepoError;
use repo::index::{Index, IndexedPack, encode_file};
use repo::lease::Lease;
use repo::packer::Guard;
use repo::prune::PruneOptions;
use repo::repair::salvage::repair_packs;
use repo::repository::FileKind;
use repo::{Repository, marks};
use store::Store;
use store::faulty::FaultyStore;
use store::memory::MemoryStore;

fn world() -> (Arc<MemoryStore>, Arc<Repository>) {
    let store = Arc::new(MemoryStore::new());
    (Arc::clone(&store), init(store))
}

fn packs(repository: &Repository) -> usize {
    repository.list(FileKind::Pack).unwrap().len()
}

#[test]
fn marked_first_and_deleted_a_cooling_off_time_later() {
    let (_, repository) = world();
    let kept = files(&[("a", 1), ("shared", 2)]);
    let keep = back_up(&repository, &kept, 0);
    let drop = back_up(&repository, &files(&[("b", 3), ("shared", 2)]), 1);
    assert_eq!(packs(&repository), 4);
    repository.delete_snapshot(&drop, at(2), &Guard::default()).unwrap();

    let first = run(&repository, &options(), 3);
    assert_eq!((first.marked, first.waiting, first.removed_packs), (2, 2, 0));
    assert_eq!(first.next_step, "run prune again after 2026-01-04T03:00:00Z");
    let early = run(&repository, &options(), 70);
    assert_eq!((early.marked, early.waiting, early.removed_packs, early.buried), (0, 2, 0, 0));

    let second = run(&repository, &options(), 75);
    assert_eq!((second.marked, second.waiting, second.removed_packs, second.buried), (0, 0, 2, 1));
    assert!(second.freed_bytes > 30_000 && second.freed_bytes == second.removed_bytes);
    assert_eq!(second.next_step, "nothing is left to do");
    assert_eq!(packs(&repository), 2);
    assert!(marks::load(&repository).unwrap().is_empty());
    assert_eq!(assert_sound(&repository, "afterwards"), 0);
    assert_eq!(restore(&repository, &keep), kept);
    assert!(matches!(
        repository.undelete_snapshot(&drop, &Guard::default()),
        Err(RepoError::NotFound { .. })
    ));
    assert!(repository.list_notes("lease").unwrap().is_empty());
    assert!(repository.list(FileKind::Lock).unwrap().is_empty());
}

#[test]
fn undelete_works_after_any_number_of_prunes() {
    let (_, repository) = world();
    back_up(&repository, &files(&[("a", 1)]), 0);
    let old = files(&[("b", 2), ("c", 3)]);
    let deleted = back_up(&repository, &old, 1);
    // Marked long before: the mark is due when the snapshot still cools.
    repository.delete_snapshot(&deleted, at(2), &Guard::default()).unwrap();
    run(&repository, &options(), 3);
    repository.undelete_snapshot(&deleted, &Guard::default()).unwrap();
    repository.delete_snapshot(&deleted, at(60), &Guard::default()).unwrap();
    for hour in [61, 76, 90, 110, 131] {
        let report = run(&repository, &PruneOptions { unused_percent_max: 0, ..options() }, hour);
        assert_eq!((report.removed_packs, report.repacked_packs, report.buried), (0, 0, 0), "hour {hour}");
    }
    repository.undelete_snapshot(&deleted, &Guard::default()).unwrap();
    assert_eq!(restore(&repository, &deleted), old);
    // What it left behind for latecomers goes without a word, and the record of what is seen stays.
    let record = format!("record/{deleted}");
    repository.put_note(&record, &"what is known of it").unwrap();
    let report = run(&repository, &options(), 500);
    assert_eq!((report.waiting, report.removed_packs, report.buried), (0, 0, 0));
    assert!(repository.deleted_ids().unwrap().is_empty());
    repository.load_note::<String>(&record).unwrap();
    assert!(marks::load(&repository).unwrap().is_empty(), "needed packs lose their marks");
    assert_eq!(restore(&repository, &deleted), old);
    assert_eq!(assert_sound(&repository, "undeleted"), 0);
}

#[test]
fn a_lease_of_somebody_else_keeps_step_two_from_running() {
    let (_, repository) = world();
    let drop_me = back_up(&repository, &files(&[("a", 1)]), 0);
    repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
    let lease = Lease::shared(&repository, "a-backup", &me()).unwrap().unwrap();
    let first = run(&repository, &options(), 2);
    assert_eq!((first.marked, first.waiting, first.in_use_by), (2, 2, None), "marking needs nobody away");
    let blocked = run(&repository, &options(), 100);
    assert!(blocked.in_use_by.as_ref().unwrap().contains("u@here"), "{blocked:?}");
    assert!(blocked.next_step.starts_with("run prune again when u@here"), "{blocked:?}");
    assert_eq!((blocked.waiting, blocked.removed_packs, packs(&repository)), (2, 0, 2));
    let at_once = run(&repository, &at_once(), 101);
    assert_eq!((at_once.removed_packs, packs(&repository)), (0, 2));
    drop(lease);
    assert_eq!(run(&repository, &options(), 102).removed_packs, 2);
    assert_eq!(packs(&repository), 0);
}

#[test]
fn a_lease_without_its_lock_counts_too() {
    let (store, repository) = world();
    let drop_me = back_up(&repository, &files(&[("a", 1)]), 0);
    repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
    let lease = Lease::shared(&repository, "a-backup", &me()).unwrap().unwrap();
    // As after `restic unlock --remove-all`.
    for lock in repository.list(FileKind::Lock).unwrap() {
        Store::delete(&*store, &FileKind::Lock.object(&lock.id)).unwrap();
    }
    assert_eq!(run(&repository, &at_once(), 100).in_use_by.as_deref(), Some("a-backup"));
    assert_eq!(packs(&repository), 2);
    drop(lease);
}

#[test]
fn pitfall_18_a_writer_from_before_the_mark_keeps_what_it_relied_on() {
    let (_, repository) = world();
    let content = files(&[("a", 1), ("b", 2)]);
    let old = back_up(&repository, &content, 0);
    let lease = Lease::shared(&repository, "writer", &me()).unwrap().unwrap();
    let index = repository.load_index_for_writing().unwrap();
    repository.delete_snapshot(&old, at(1), &Guard::default()).unwrap();
    assert_eq!(run(&repository, &options(), 2).marked, 2);
    // The writer relies on the marked packs, and even prune at once cannot take them while its lease stands.
    let tree = save_tree(&repository, index, &content);
    run(&repository, &at_once(), 3);
    assert_eq!(packs(&repository), 2);
    let new = commit(&repository, tree, 4);
    drop(lease);
    let report = run(&repository, &options(), 100);
    assert_eq!((report.removed_packs, report.waiting, report.buried), (0, 0, 1));
    assert_eq!(restore(&repository, &new), content);
    assert_eq!(assert_sound(&repository, "afterwards"), 0);
}

#[test]
fn a_writer_from_after_the_mark_stores_anew() {
    let (_, repository) = world();
    let content = files(&[("a", 1)]);
    let old = back_up(&repository, &content, 0);
    repository.delete_snapshot(&old, at(1), &Guard::default()).unwrap();
    run(&repository, &options(), 2);
    let new = back_up(&repository, &content, 3);
    assert_eq!(packs(&repository), 4);
    // Both copies are there; the marked one goes, the other stays.
    let report = run(&repository, &options(), 75);
    assert_eq!((report.removed_packs, report.repacked_packs), (2, 0));
    assert_eq!(restore(&repository, &new), content);
    assert_eq!(assert_sound(&repository, "afterwards"), 0);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_would_happen() {
    let (store, repository) = world();
    back_up(&repository, &files(&[("a", 1)]), 0);
    let drop_me = back_up(&repository, &files(&[("a", 1), ("b", 2)]), 0);
    repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
    let before = objects(&*store);
    let dry = run(&repository, &PruneOptions { dry_run: true, ..options() }, 9);
    assert_eq!((dry.marked, dry.removed_packs), (2, 0));
    let dry = run(&repository, &PruneOptions { dry_run: true, ..at_once() }, 9);
    assert_eq!((dry.marked, dry.removed_packs, dry.buried), (2, 2, 1));
    assert_eq!(objects(&*store), before);
    let done = run(&repository, &at_once(), 9);
    assert_eq!((done.removed_packs, done.freed_bytes), (2, dry.freed_bytes));
}

#[test]
fn partly_used_packs_are_repacked_and_every_file_stays() {
    let (_, repository) = world();
    let whole = files(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    let drop_me = back_up(&repository, &whole, 0);
    let part = files(&[("b", 2)]);
    let keep = back_up(&repository, &part, 1);
    repository.delete_snapshot(&drop_me, at(2), &Guard::default()).unwrap();
    let first = run(&repository, &options(), 3);
    // The data pack is partly needed, the tree of the deleted one not at all.
    assert_eq!((first.marked, first.repacked_packs), (2, 0));
    let second = run(&repository, &options(), 80);
    assert_eq!((second.removed_packs, second.repacked_packs, second.waiting), (1, 1, 0));
    assert!((80_000..100_000).contains(&second.freed_bytes), "{second:?}");
    let stored: u64 = repository.list(FileKind::Pack).unwrap().iter().map(|pack| pack.size).sum();
    assert!(stored.abs_diff(second.kept_bytes) < 500, "{stored} {second:?}");
    assert_eq!(restore(&repository, &keep), part);
    assert_eq!(assert_sound(&repository, "repacked"), 0);
    assert_eq!(run(&repository, &at_once(), 81).freed_bytes, 0, "nothing is left");
}

#[test]
fn a_blob_that_a_cooling_snapshot_shares_stays_when_its_pack_is_repacked() {
    let (_, repository) = world();
    let all = files(&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)]);
    let oldest = back_up(&repository, &all, 0);
    let (live, cooling) = (files(&[("a", 1)]), files(&[("a", 1), ("b", 2)]));
    let live_id = back_up(&repository, &live, 1);
    let cooling_id = back_up(&repository, &cooling, 2);
    repository.delete_snapshot(&oldest, at(3), &Guard::default()).unwrap();
    run(&repository, &options(), 4);
    repository.delete_snapshot(&cooling_id, at(70), &Guard::default()).unwrap();
    let report = run(&repository, &options(), 80);
    assert_eq!((report.repacked_packs, report.buried), (1, 1));
    let deleted = repository.deleted_snapshots().unwrap();
    assert_eq!(restore_tree(&repository, &deleted[0].snapshot.tree), cooling);
    repository.undelete_snapshot(&cooling_id, &Guard::default()).unwrap();
    assert_eq!(restore(&repository, &cooling_id), cooling);
    assert_eq!(restore(&repository, &live_id), live);
    assert_sound(&repository, "afterwards");
}

#[test]
fn a_clock_that_was_set_back_deletes_nothing() {
    let (store, repository) = world();
    let drop_me = back_up(&repository, &files(&[("a", 1)]), 0);
    repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
    run(&repository, &options(), 50);
    let before = objects(&*store);
    for options in [options(), at_once()] {
        let report = run(&repository, &options, 40);
        assert_eq!((report.marked, report.removed_packs, report.buried), (0, 0, 0));
        assert!(report.next_step.starts_with("set the clock"), "{report:?}");
    }
    assert_eq!(objects(&*store), before);
    // Before the deletion itself, without any mark.
    let (_, repository) = world();
    let drop_me = back_up(&repository, &files(&[("a", 1)]), 0);
    repository.delete_snapshot(&drop_me, at(50), &Guard::default()).unwrap();
    assert!(run(&repository, &at_once(), 40).next_step.starts_with("set the clock"));
    assert_eq!(packs(&repository), 2);
}

#[test]
fn a_clock_years_away_from_the_stores_deletes_nothing_threat_5() {
    let (store, repository) = world();
    let drop_me = back_up(&repository, &files(&[("a", 1)]), 0);
    repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
    run(&repository, &options(), 2);
    let before = objects(&*store);
    for years in [-10, 10] {
        let now = at(2 + years * 365 * 24);
        let (progress, cancel) = Default::default();
        let report = repo::prune::prune(&repository, &options(), &me(), now, &progress, &cancel).unwrap();
        assert!(report.next_step.starts_with("set the clock"), "{report:?}");
        assert_eq!(objects(&*store), before);
    }
    // And who deleted something while his clock was years behind can bring it back for the whole time.
    repository.undelete_snapshot(&drop_me, &Guard::default()).unwrap();
    repository.delete_snapshot(&drop_me, at(-10 * 365 * 24), &Guard::default()).unwrap();
    assert_eq!(run(&repository, &options(), 60).buried, 0);
    repository.undelete_snapshot(&drop_me, &Guard::default()).unwrap();
}

#[test]
fn damage_to_a_live_or_cooling_snapshot_makes_the_plan_void() {
    for delete_it in [false, true] {
        let (store, repository) = world();
        let broken = back_up(&repository, &files(&[("a", 1)]), 0);
        let pack = repository.load_index_files().unwrap()[0].1.clone();
        let drop_me = back_up(&repository, &files(&[("b", 2)]), 0);
        repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
        if delete_it {
            repository.delete_snapshot(&broken, at(30), &Guard::default()).unwrap();
        }
        let data = pack.iter().find(|pack| pack.blobs[0].kind == repo::BlobKind::Data).unwrap();
        Store::delete(&*store, &FileKind::Pack.object(&data.id)).unwrap();
        let before = objects(&*store);
        let cooling = PruneOptions { unused_percent_max: 0, ..options() };
        let error = try_prune(&repository, &cooling, 40, &me()).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(&broken.short().to_string()), "{error}");
        assert_eq!(objects(&*store), before);
    }
}

#[test]
fn a_damaged_blob_stops_the_repacking_before_anything_is_deleted() {
    let (store, repository) = world();
    let drop_me = back_up(&repository, &files(&[("a", 1), ("b", 2)]), 0);
    back_up(&repository, &files(&[("b", 2)]), 1);
    repository.delete_snapshot(&drop_me, at(2), &Guard::default()).unwrap();
    let files = repository.load_index_files().unwrap();
    let data = files.iter().flat_map(|(_, packs)| packs);
    let data = data.max_by_key(|pack| pack.blobs_len()).unwrap();
    store.tamper(&FileKind::Pack.object(&data.id), |bytes| bytes[30_000 + 10_000] ^= 1);
    let error = try_prune(&repository, &at_once(), 3, &me()).unwrap_err();
    assert!(error.is_damage(), "{error}");
    for (id, packs) in &files {
        assert!(repository.load_file(FileKind::Index, id).is_ok());
        let listed = repository.list(FileKind::Pack).unwrap();
        assert!(packs.iter().all(|pack| listed.iter().any(|listed| listed.id == pack.id)));
    }
    assert_eq!(repository.deleted_snapshots().unwrap().len(), 1);
}

#[test]
fn packs_of_an_interrupted_backup_go_when_their_mark_is_old() {
    let (store, repository) = world();
    let keep = back_up(&repository, &files(&[("a", 1)]), 0);
    let before = repository.list(FileKind::Index).unwrap();
    save_tree(&repository, Index::default(), &files(&[("b", 2)]));
    for listed in repository.list(FileKind::Index).unwrap() {
        if before.iter().all(|other| other.id != listed.id) {
            Store::delete(&*store, &FileKind::Index.object(&listed.id)).unwrap();
        }
    }
    assert_eq!(assert_sound(&repository, "left over"), 1);
    let lease = Lease::shared(&repository, "a-backup", &me()).unwrap().unwrap();
    assert_eq!(run(&repository, &options(), 1).marked, 0, "they may belong to the backup under way");
    drop(lease);
    assert_eq!(run(&repository, &options(), 2).marked, 2);
    let report = run(&repository, &options(), 80);
    assert_eq!((report.removed_packs, packs(&repository)), (2, 2));
    assert_eq!(assert_sound(&repository, "afterwards"), 0);
    assert_eq!(restore(&repository, &keep).len(), 1);
}

#[test]
fn duplicates_go_and_one_copy_stays() {
    let (_, repository) = world();
    let content = files(&[("a", 1), ("b", 2)]);
    let keep = back_up(&repository, &content, 0);
    // Two writers at one time did not know of each other.
    save_tree(&repository, Index::default(), &content);
    save_tree(&repository, Index::default(), &content);
    assert_eq!(packs(&repository), 6);
    assert_eq!(run(&repository, &options(), 1).marked, 4);
    assert_eq!(run(&repository, &options(), 80).removed_packs, 4);
    assert_eq!(packs(&repository), 2);
    assert_eq!(restore(&repository, &keep), content);
    assert_eq!(assert_sound(&repository, "afterwards"), 0);
}

#[test]
fn the_last_good_copy_never_goes_as_the_double_of_a_damaged_one() {
    let (store, repository) = world();
    let content = files(&[("a", 1), ("b", 2)]);
    let keep = back_up(&repository, &content, 0);
    save_tree(&repository, Index::default(), &content);
    run(&repository, &options(), 1);
    let marks = marks::load(&repository).unwrap();
    let stays = |pack: &&IndexedPack| !marks.contains_key(&pack.id);
    let files = repository.load_index_files().unwrap();
    let packs_of_files = || files.iter().flat_map(|(_, packs)| packs);
    assert_eq!((packs_of_files().count(), packs_of_files().filter(stays).count()), (4, 2));
    for pack in packs_of_files().filter(stays) {
        // Nobody has noticed that one blob of a pack that stays is damaged.
        store.tamper(&FileKind::Pack.object(&pack.id), |bytes| bytes[40] ^= 1);
        let error = try_prune(&repository, &options(), 80, &me()).unwrap_err();
        assert!(error.is_damage(), "{error}");
        // A damaged tree is met when what is needed is looked for; of data only the names are known then.
        let is_data = pack.blobs[0].kind == repo::BlobKind::Data;
        assert!(!is_data || error.to_string().contains(&pack.id.to_hex()), "{error}");
        assert_eq!(packs(&repository), 4, "nothing went");
        store.tamper(&FileKind::Pack.object(&pack.id), |bytes| bytes[40] ^= 1);
    }
    // Mended by what was about to go; then the damaged one goes.
    let data = packs_of_files().filter(stays).max_by_key(|pack| pack.blobs_len()).unwrap();
    store.tamper(&FileKind::Pack.object(&data.id), |bytes| bytes[40] ^= 1);
    let report = repair_packs(&repository, &me(), false, &Progress::new(), &CancelToken::new()).unwrap();
    assert_eq!((report.bad_packs.as_slice(), report.lost_blobs), (&[data.id][..], 0));
    assert_eq!(restore(&repository, &keep), content);
    run(&repository, &options(), 81);
    run(&repository, &options(), 160);
    assert_eq!(packs(&repository), 2);
    assert_eq!(restore(&repository, &keep), content);
    assert_eq!(assert_sound(&repository, "afterwards"), 0);
}

#[test]
fn many_small_packs_become_few_and_the_index_small() {
    let (_, repository) = world();
    let snapshots: Vec<Digest> =
        (0..40).map(|n| back_up(&repository, &files(&[("a", n), ("b", n + 1)]), n as i64)).collect();
    assert_eq!((packs(&repository), repository.list(FileKind::Index).unwrap().len()), (80, 40));
    let report = run(&repository, &options(), 50);
    assert_eq!((report.repacked_packs, report.removed_packs, report.waiting), (80, 0, 0));
    assert_eq!((packs(&repository), repository.list(FileKind::Index).unwrap().len()), (2, 1));
    assert_eq!(assert_sound(&repository, "merged"), 0);
    for (n, snapshot) in (0..).zip(&snapshots) {
        assert_eq!(restore(&repository, snapshot), files(&[("a", n), ("b", n + 1)]));
    }
}

#[test]
fn thousands_of_index_files_become_few_also_where_nothing_else_is_to_do() {
    let (_, repository) = world();
    let content = files(&[("a", 1), ("b", 2)]);
    let keep = back_up(&repository, &content, 0);
    let (_, packs) = repository.load_index_files().unwrap().remove(0);
    let count = || repository.list(FileKind::Index).unwrap().len();
    let again = |times: usize| {
        (0..times).for_each(|_| {
            repository.save_file(FileKind::Index, &encode_file(&packs)).unwrap();
        });
    };
    again(62);
    let few = run(&repository, &options(), 1);
    assert_eq!((few.merged_index_files, count()), (0, 63), "not worth it yet");
    again(1000);
    let dry = run(&repository, &PruneOptions { dry_run: true, ..options() }, 2);
    assert_eq!((dry.merged_index_files, count()), (1063, 1063));
    let lease = Lease::shared(&repository, "a-backup", &me()).unwrap().unwrap();
    assert!(run(&repository, &options(), 3).in_use_by.is_some());
    assert_eq!(count(), 1063, "only alone");
    drop(lease);
    assert_eq!(run(&repository, &options(), 4).merged_index_files, 1063);
    assert_eq!(count(), 1);
    assert_eq!(run(&repository, &options(), 5).merged_index_files, 0);
    assert_eq!(restore(&repository, &keep), content);
    assert_eq!(assert_sound(&repository, "merged"), 0);
}

#[test]
fn notes_of_snapshots_go_with_them() {
    let (_, repository) = world();
    let keep = back_up(&repository, &files(&[("a", 1)]), 0);
    let drop_me = back_up(&repository, &files(&[("b", 2)]), 0);
    for id in [keep, drop_me] {
        repository.put_note(&format!("record/{id}"), &1).unwrap();
        repository.put_note(&format!("verified/{id}/1"), &1).unwrap();
    }
    repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
    run(&repository, &options(), 2);
    assert_eq!(repository.list_notes("record").unwrap().len(), 2);
    run(&repository, &options(), 80);
    for folder in ["record", "verified"] {
        let notes = repository.list_notes(folder).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].0.starts_with(&keep.to_hex()));
    }
}

#[test]
fn pitfall_20_two_prunes_at_one_time_do_no_harm() {
    for round in 0..10 {
        let (_, repository) = world();
        let kept = files(&[("a", 1)]);
        let drop_me = back_up(&repository, &files(&[("a", 1), ("b", 2), ("c", 3)]), 0);
        let keep = back_up(&repository, &kept, 0);
        repository.delete_snapshot(&drop_me, at(1), &Guard::default()).unwrap();
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let work = || try_prune(&repository, &at_once(), 2, &me());
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for outcome in outcomes {
            let stale = |error: &RepoError| matches!(error, RepoError::Store(error) if error.is_not_found());
            assert!(
                outcome.as_ref().is_ok()
                    || outcome
                        .as_ref()
                        .is_err_and(|error| { matches!(error, RepoError::InUse { .. }) || stale(error) }),
                "{outcome:?}"
            );
        }
        assert_sound(&repository, &format!("round {round}"));
        run(&repository, &at_once(), 3);
        assert_eq!(assert_sound(&repository, "at the end"), 0);
        assert_eq!((packs(&repository), restore(&repository, &keep)), (2, kept));
    }
}

/// Somebody brings a backup back, or commits one, between the two looks of one run.
#[test]
fn the_plan_is_made_again_when_prune_is_alone() {
    let site = Rewound::default();
    let objects = site.now();
    let beside = init(Arc::clone(&objects) as Arc<dyn Store>);
    let content = files(&[("a", 1), ("b", 2)]);
    let undeleted = back_up(&beside, &content, 0);
    let part = files(&[("a", 1)]);
    back_up(&beside, &part, 0);
    let extra = back_up(&beside, &files(&[("z", 3)]), 0);
    let extra_tree = beside.load_snapshot(&extra).unwrap().tree;
    for id in [undeleted, extra] {
        beside.delete_snapshot(&id, at(1), &Guard::default()).unwrap();
    }
    let (locks, other) = (AtomicU64::new(0), Arc::clone(&beside));
    let plan = move |_, action: &str, key: &str| {
        // The second lock is the exclusive one; a moment before it the other one was the last to work.
        if action == "put" && key.starts_with("locks/") && locks.fetch_add(1, Ordering::SeqCst) == 1 {
            other.undelete_snapshot(&undeleted, &Guard::default()).unwrap();
            commit(&other, extra_tree, 5);
        }
        None
    };
    let repository = open(Arc::new(FaultyStore::new(site, Box::new(plan))));
    let report = run(&repository, &at_once(), 10);
    // What the deleted one alone needed is needed again; what had been stored once more by then need not stay twice.
    assert_eq!((report.marked, report.removed_packs), (4, 0), "{report:?}");
    assert_sound(&beside, "afterwards");
    assert_eq!(restore(&beside, &undeleted), content);
    assert_eq!(beside.load_snapshots().unwrap().len(), 3);
    run(&repository, &at_once(), 11);
    assert_eq!(assert_sound(&beside, "at the end"), 0);
    assert_eq!(restore(&beside, &undeleted), content);
    assert!(marks::load(&beside).unwrap().is_empty());
}

#[test]
fn an_empty_repository_has_nothing_to_prune() {
    let (_, repository) = world();
    let report = run(&repository, &at_once(), 0);
    assert_eq!((report.kept_bytes, report.next_step.as_str()), (0, "nothing is left to do"));
    assert_eq!(noise(1, 3).len(), 3);
}
