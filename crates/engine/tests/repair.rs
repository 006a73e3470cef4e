//! A damaged repository gives what it still has, and a repair that is cut short loses nothing more.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files_world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::catalog;
use engine::repair_snapshots::{RepairOptions, RepairedBackup, repair_snapshots};
use files_world::World;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use model::secret::Secret;
use repo::check::{CheckOptions, CheckReport, check};
use repo::lease::Identity;
use repo::parity;
use repo::parity::protect::{ParityOptions, ParityReport};
use repo::prune::{PruneOptions, prune};
use repo::repair::reindex::{ReindexReport, repair_index};
use repo::repair::salvage::{SalvageReport, repair_packs};
use repo::repository::FileKind;
use repo::{BlobKind, RepoError, Repository};
use store::faulty::{Fault, FaultyStore};
use store::local::LocalStore;
use testkit::site::PASSWORD;

/// Several chunks.
const BIG_LEN: usize = 3 << 20;

fn me() -> Identity {
    Identity { hostname: "h".into(), username: "u".into(), uid: 0, gid: 0, pid: std::process::id() }
}

fn reindex(repository: &Arc<Repository>, dry_run: bool) -> ReindexReport {
    repair_index(repository, &me(), dry_run, &Progress::new(), &CancelToken::new()).unwrap()
}

fn salvage(repository: &Arc<Repository>, dry_run: bool) -> SalvageReport {
    repair_packs(repository, &me(), dry_run, &Progress::new(), &CancelToken::new()).unwrap()
}

fn mend(repository: &Arc<Repository>, options: RepairOptions) -> Vec<RepairedBackup> {
    let now = jiff::Timestamp::now();
    repair_snapshots(repository, options, &me(), now, &Progress::new(), &CancelToken::new()).unwrap()
}

fn read_all(repository: &Repository) -> CheckReport {
    check(repository, CheckOptions { read_percent: 100 }, &Progress::new(), &CancelToken::new()).unwrap()
}

/// Bytes that do not compress, different for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// `big` lies in many chunks, `small` in one, both in packs of data.
fn backed_up() -> (World, BackupRecord) {
    let mut world = World::new();
    fs::create_dir(world.data().join("below")).unwrap();
    fs::write(world.data().join("below/big"), noise(1, BIG_LEN)).unwrap();
    fs::write(world.data().join("small"), noise(2, 3000)).unwrap();
    let record = world.back_up().record;
    (world, record)
}

fn pack_of(world: &World, kind: BlobKind, id: &Digest) -> PathBuf {
    let index = world.repository.load_index().unwrap();
    let place = index.require(kind, id).unwrap();
    world.path("repository").join(FileKind::Pack.object(&index.pack_id(place.pack)).as_str())
}

/// The ids of the chunks of `below/big`.
fn big_chunks(world: &World, record: &BackupRecord) -> Vec<Digest> {
    let index = world.repository.load_index().unwrap();
    let snapshot = catalog::load_snapshot(&world.repository, record).unwrap();
    let mut trees = vec![snapshot.tree];
    while let Some(tree) = trees.pop() {
        let json = world.repository.read_blob(&index, BlobKind::Tree, &tree).unwrap();
        for node in repo::tree::decode(&json, &"tree").unwrap() {
            trees.extend(node.subtree);
            if node.entry.name == b"big" {
                return node.content;
            }
        }
    }
    panic!("big is nowhere")
}

fn flip(pack: &Path, offset: usize) {
    let mut bytes = fs::read(pack).unwrap();
    bytes[offset] ^= 1;
    fs::remove_file(pack).unwrap();
    fs::write(pack, bytes).unwrap();
}

/// Flip one byte in one chunk of `big`; its position among the chunks.
fn damage_one_chunk(world: &World, record: &BackupRecord) -> usize {
    let chunks = big_chunks(world, record);
    let at = chunks.len() / 2;
    let index = world.repository.load_index().unwrap();
    let place = index.require(BlobKind::Data, &chunks[at]).unwrap();
    flip(&pack_of(world, BlobKind::Data, &chunks[at]), place.offset as usize + 40);
    at
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![directory.to_path_buf()];
    while let Some(path) = queue.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => queue.push(entry.path()),
                false => _ = found.insert(entry.path(), fs::read(entry.path()).unwrap()),
            }
        }
    }
    found
}

/// `found` is `whole` with some stretches of zeros in it.
fn assert_zeroed_in_part(found: &[u8], whole: &[u8]) {
    assert_eq!(found.len(), whole.len());
    let lost = found.iter().zip(whole).filter(|(found, whole)| found != whole).count();
    assert!(lost > 0 && lost < whole.len() / 2, "{lost} bytes differ");
    assert!(found.iter().zip(whole).all(|(found, whole)| found == whole || *found == 0));
}

#[test]
fn check_names_every_file_of_every_snapshot_that_a_bad_pack_touches() {
    let (mut world, first) = backed_up();
    fs::write(world.data().join("new"), "new").unwrap();
    let second = world.back_up().record;
    damage_one_chunk(&world, &first);
    let report = read_all(&world.repository);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.touched_files, 2);
    let mut found: Vec<_> = report.touched.iter().map(|touched| touched.snapshot).collect();
    found.sort_unstable();
    let mut expected = vec![first.snapshot.unwrap(), second.snapshot.unwrap()];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert!(report.touched.iter().all(|touched| touched.path.ends_with("/below/big")));
    assert!(report.touched[0].reason.starts_with("1 of its "), "{}", report.touched[0].reason);
}

#[test]
fn a_damaged_pack_gives_what_is_sound_and_the_file_keeps_its_offsets() {
    let (world, record) = backed_up();
    damage_one_chunk(&world, &record);
    let before = contents(&world.path("repository"));
    let planned = salvage(&world.repository, true);
    assert_eq!(contents(&world.path("repository")), before, "a dry run changes nothing");
    let done = salvage(&world.repository, false);
    assert_eq!(done, planned);
    assert_eq!((done.bad_packs.len(), done.lost_blobs), (1, 1));
    assert!(done.saved_blobs > 1);
    for (path, bytes) in before.iter().filter(|(path, _)| path.to_string_lossy().contains("/data/")) {
        assert_eq!(&fs::read(path).unwrap(), bytes, "no pack is removed");
    }
    let mended = mend(&world.repository, RepairOptions::default());
    assert_eq!(mended.len(), 1);
    assert_eq!((&mended[0].broken, mended[0].files, mended[0].is_hopeless), (&record.id, 1, false));
    assert!(mended[0].paths[0].ends_with("/below/big"));

    let repaired = catalog::find(&world.repository, mended[0].repaired.as_ref().unwrap().as_str()).unwrap();
    assert!(repaired.incomplete && !repaired.hold && repaired.last_verification.is_none());
    let restored = world.restore(&repaired, &world.path("restored"));
    assert_eq!((restored.damaged, restored.problems), (0, 0));
    assert_eq!(fs::read(world.path("restored/small")).unwrap(), noise(2, 3000));
    assert_zeroed_in_part(&fs::read(world.path("restored/below/big")).unwrap(), &noise(1, BIG_LEN));
    // The broken one is still there, and the list found again from the snapshots alone tells the same.
    assert_eq!(catalog::list(&world.repository).unwrap().len(), 2);
    fs::remove_dir_all(world.path("repository/x/record")).unwrap();
    let again = catalog::find(&world.repository, repaired.id.as_str()).unwrap();
    assert!(again.incomplete && again.snapshot == repaired.snapshot);
    for restic in testkit::restic::installed() {
        let (repository, target) = (world.path("repository"), world.path(&format!("by {}", restic.number())));
        let snapshot = repaired.snapshot.unwrap().to_hex();
        let to = target.to_str().unwrap();
        let ran = restic.run(&repository, PASSWORD, &["restore", &snapshot, "--target", to]);
        ran.ok();
        let bytes = contents(&target).into_iter().find(|(path, _)| path.ends_with("below/big")).unwrap().1;
        assert_zeroed_in_part(&bytes, &noise(1, BIG_LEN));
    }
}

#[test]
fn the_next_backup_stores_again_what_was_lost_and_heals_older_ones() {
    let (mut world, record) = backed_up();
    let chunks = big_chunks(&world, &record);
    fs::remove_file(pack_of(&world, BlobKind::Data, &chunks[0])).unwrap();
    assert!(!read_all(&world.repository).problems.is_empty());
    let report = reindex(&world.repository, false);
    assert_eq!((report.lost_packs.len(), report.added_packs.len()), (1, 0));
    assert!(read_all(&world.repository).touched_files > 0);
    world.back_up();
    let report = read_all(&world.repository);
    assert!(report.problems.is_empty() && report.touched.is_empty(), "{report:?}");
    let restored = world.restore(&record, &world.path("restored"));
    assert_eq!((restored.damaged, restored.problems), (0, 0));
    assert_eq!(fs::read(world.path("restored/below/big")).unwrap(), noise(1, BIG_LEN));
    assert!(mend(&world.repository, RepairOptions::default()).is_empty(), "nothing is left to mend");
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let (mut world, _) = backed_up();
    fs::write(world.data().join("new"), noise(3, 70_000)).unwrap();
    let record = world.back_up().record;
    let files: Vec<_> =
        fs::read_dir(world.path("repository/index")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 2);
    fs::remove_file(&files[0]).unwrap();
    flip(&files[1], 20);
    assert!(world.repository.load_index().is_err());
    let planned = reindex(&world.repository, true);
    let done = reindex(&world.repository, false);
    assert_eq!(done, planned);
    assert_eq!((done.unreadable_files.len(), done.lost_packs.len()), (1, 0));
    assert!(done.added_packs.len() >= 2);
    let report = read_all(&world.repository);
    assert!(
        report.problems.is_empty() && report.touched.is_empty() && report.remarks.is_empty(),
        "{report:?}"
    );
    let restored = world.restore(&record, &world.path("restored"));
    assert_eq!((restored.damaged, restored.problems), (0, 0));
    assert!(!reindex(&world.repository, false).has_work(), "a second repair has nothing to do");
    for restic in testkit::restic::installed() {
        restic.run(&world.path("repository"), PASSWORD, &["check", "--read-data"]).ok();
    }
}

#[test]
fn a_lost_directory_becomes_an_empty_one_and_a_lost_root_is_said_to_be_hopeless() {
    let (world, record) = backed_up();
    let root = catalog::load_snapshot(&world.repository, &record).unwrap().tree;
    fs::remove_file(pack_of(&world, BlobKind::Tree, &root)).unwrap();
    reindex(&world.repository, false);
    let mended = mend(&world.repository, RepairOptions { replace: true, ..RepairOptions::default() });
    assert!(mended[0].is_hopeless && mended[0].repaired.is_none());
    assert_eq!(catalog::list(&world.repository).unwrap().len(), 1, "what is hopeless is not deleted");
}

#[test]
fn replaced_backups_trouble_check_no_more_and_can_come_back_and_held_ones_stay() {
    let (world, record) = backed_up();
    damage_one_chunk(&world, &record);
    salvage(&world.repository, false);
    let replace = RepairOptions { replace: true, ..RepairOptions::default() };
    let planned = mend(&world.repository, RepairOptions { dry_run: true, ..replace });
    assert_eq!((planned.len(), &planned[0].repaired), (1, &None));
    mend(&world.repository, replace);
    let there = catalog::list(&world.repository).unwrap();
    assert!(there.len() == 1 && there[0].incomplete);
    // What was replaced is known to be damaged, and no problem any more; what comes back is one.
    let report = read_all(&world.repository);
    assert!(report.problems.is_empty() && report.touched.is_empty(), "{report:?}");
    assert!(report.remarks.iter().any(|remark| remark.contains("was replaced by a repair")), "{report:?}");
    // Nor does it keep prune from its work, which leaves it what it has.
    let options = PruneOptions { unused_percent_max: 0, ..PruneOptions::default() };
    let now = jiff::Timestamp::now();
    prune(&world.repository, &options, &me(), now, &Progress::new(), &CancelToken::new()).unwrap();
    let back = engine::delete::undelete(&world.repository, record.id.as_str(), &me()).unwrap();
    assert_eq!(read_all(&world.repository).touched.len(), planned[0].files);
    catalog::set_hold(&world.repository, &back, true).unwrap();
    mend(&world.repository, replace);
    let there = catalog::list(&world.repository).unwrap();
    assert!(there.iter().any(|found| found.id == record.id && found.hold), "{there:?}");
}

fn protect(world: &World) -> ParityReport {
    let options = ParityOptions { packs: 3, shards: 2, dry_run: false };
    parity::protect::protect(&world.repository, options, &me(), &Progress::new(), &CancelToken::new())
        .unwrap()
}

fn packs(world: &World) -> Vec<PathBuf> {
    contents(&world.path("repository/data")).into_keys().collect()
}

#[test]
fn parity_brings_back_lost_and_damaged_packs_byte_for_byte() {
    let (mut world, record) = backed_up();
    for seed in 10..15 {
        fs::write(world.data().join(format!("more {seed}")), noise(seed, 50_000 * seed as usize)).unwrap();
        world.back_up();
    }
    let made = protect(&world);
    assert_eq!(made.added_packs, packs(&world).len());
    assert!(made.added_sets >= 4 && made.added_bytes > 0);
    let again = protect(&world);
    assert_eq!((again.added_sets, again.removed_sets, again.protected_packs), (0, 0, made.added_packs));
    let before = contents(&world.path("repository/data"));
    // Two packs of any set may be lost, here by turns: gone, or damaged.
    let all = packs(&world);
    for (nth, pair) in all.windows(2).enumerate() {
        fs::remove_file(&pair[0]).unwrap();
        match nth % 2 {
            0 => fs::remove_file(&pair[1]).unwrap(),
            _ => flip(&pair[1], 33),
        }
        assert!(!read_all(&world.repository).problems.is_empty());
        reindex(&world.repository, true);
        let index = reindex(&world.repository, false);
        let packs = salvage(&world.repository, false);
        assert_eq!(index.healed_packs.len() + packs.healed_packs.len(), 2, "{index:?} {packs:?}");
        assert_eq!((index.lost_packs.len(), packs.bad_packs.len()), (0, 0));
        assert_eq!(contents(&world.path("repository/data")), before);
    }
    let report = read_all(&world.repository);
    assert!(report.problems.is_empty() && report.touched.is_empty(), "{report:?}");
    assert_eq!(world.restore(&record, &world.path("restored")).damaged, 0);
    for restic in testkit::restic::installed() {
        restic.run(&world.path("repository"), PASSWORD, &["check", "--read-data"]).ok();
    }
}

#[test]
fn too_much_lost_is_no_worse_with_parity_and_damaged_parity_heals_nothing_wrong() {
    let (mut world, _) = backed_up();
    fs::write(world.data().join("more"), noise(7, 400_000)).unwrap();
    world.back_up();
    protect(&world);
    let shards: Vec<_> = contents(&world.path("repository/x/parity")).into_keys().collect();
    for shard in &shards {
        let len = fs::metadata(shard).unwrap().len() as usize;
        flip(shard, len - 100);
    }
    let lost = packs(&world).remove(0);
    let bytes = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    let report = reindex(&world.repository, false);
    assert_eq!((report.healed_packs.len(), report.lost_packs.len()), (0, 1));
    assert!(!lost.exists());
    // The pack turns up again, and a new protection replaces the old one.
    fs::write(&lost, bytes).unwrap();
    assert_eq!(reindex(&world.repository, false).added_packs.len(), 1);
    shards.iter().for_each(|shard| fs::remove_file(shard).unwrap());
    assert_eq!(protect(&world).protected_packs, 0);
    fs::remove_file(&lost).unwrap();
    assert_eq!(reindex(&world.repository, false).healed_packs.len(), 1);
    let report = read_all(&world.repository);
    assert!(report.problems.is_empty() && report.touched.is_empty(), "{report:?}");
}

#[test]
fn packs_that_prune_removed_leave_their_sets_and_the_others_are_protected_anew() {
    let (mut world, _) = backed_up();
    fs::write(world.data().join("more"), noise(7, 400_000)).unwrap();
    world.back_up();
    protect(&world);
    fs::remove_file(pack_of(&world, BlobKind::Data, &repo::blob::id_of(&noise(2, 3000)))).unwrap();
    let damaged = parity::protect::protect(
        &world.repository,
        ParityOptions { dry_run: true, ..ParityOptions::default() },
        &me(),
        &Progress::new(),
        &CancelToken::new(),
    );
    assert!(damaged.unwrap().removed_sets > 0);
    let report = protect(&world);
    assert!(report.removed_sets > 0, "{report:?}");
    let report = protect(&world);
    assert_eq!(
        (report.protected_packs, report.added_packs, report.removed_sets),
        (packs(&world).len(), 0, 0)
    );
}

#[test]
fn nobody_else_may_be_at_work() {
    let (world, _) = backed_up();
    let _backup = repo::lease::Lease::beside(&world.repository, "backup", &me()).unwrap();
    let outcome = repair_index(&world.repository, &me(), false, &Progress::new(), &CancelToken::new());
    assert!(matches!(outcome, Err(RepoError::InUse { .. })));
    reindex(&world.repository, true);
}

#[test]
fn cut_short_at_any_change_a_repair_loses_nothing_and_the_next_one_finishes() {
    let (world, record) = backed_up();
    damage_one_chunk(&world, &record);
    let index = fs::read_dir(world.path("repository/index")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(index).unwrap();
    for nth in 0.. {
        // Half of the changes take effect although they are said to have failed.
        let fault = if nth % 2 == 0 { Fault::Before } else { Fault::After };
        let what = format!("{fault:?} {nth}");
        let place = world.path(&format!("copy {what}"));
        for (path, bytes) in contents(&world.path("repository")) {
            let to = place.join(path.strip_prefix(world.path("repository")).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        let changes = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&changes);
        let plan = move |_, action: &str, _: &str| {
            let is_change = action == "put" || action == "delete";
            let call =
                if is_change { count.fetch_add(1, Ordering::SeqCst) } else { count.load(Ordering::SeqCst) };
            // After the first fault nothing works any more: the process is gone.
            (call > nth || is_change && call == nth).then_some(if call == nth {
                fault
            } else {
                Fault::Before
            })
        };
        let broken = FaultyStore::new(LocalStore::new(&place), Box::new(plan));
        let broken = Arc::new(Repository::open(Arc::new(broken), &Secret::new(PASSWORD)).unwrap());
        let (progress, cancel) = (Progress::new(), CancelToken::new());
        let outcome = repair_index(&broken, &me(), false, &progress, &cancel)
            .map_err(engine::EngineError::from)
            .and_then(|_| Ok(repair_packs(&broken, &me(), false, &progress, &cancel)?))
            .and_then(|_| {
                let now = jiff::Timestamp::now();
                repair_snapshots(&broken, RepairOptions::default(), &me(), now, &progress, &cancel)
            });
        let made = changes.load(Ordering::SeqCst);
        drop(broken);

        let sound = LocalStore::new(&place);
        let repository = Arc::new(Repository::open(Arc::new(sound), &Secret::new(PASSWORD)).unwrap());
        // What the cut-off process held is this process's, which is alive: its leases are taken away by hand.
        fs::remove_dir_all(place.join("x/lease")).ok();
        fs::remove_dir_all(place.join("locks")).ok();
        reindex(&repository, false);
        salvage(&repository, false);
        mend(&repository, RepairOptions::default());
        let there = catalog::list(&repository).unwrap();
        let repaired: Vec<_> = there.iter().filter(|found| found.incomplete).collect();
        assert!(!repaired.is_empty() && there.iter().any(|found| found.id == record.id), "{what}: {there:?}");
        let index = repository.load_index().unwrap();
        let snapshot = catalog::load_snapshot(&repository, repaired[0]).unwrap();
        let unsound = |_, _: &Digest| false;
        let roots = [(repaired[0].snapshot.unwrap(), snapshot.tree)];
        let (lost, _) = repo::touched::touched(&repository, &index, &roots, &unsound, &cancel).unwrap();
        assert!(lost.is_empty(), "{what}: {lost:?}");
        let report = read_all(&repository);
        assert!(report.problems.is_empty() && report.touched_files == 1, "{what}: {report:?}");
        fs::remove_dir_all(&place).unwrap();
        if made <= nth {
            assert!(outcome.is_ok() && nth > 10, "{what}: {outcome:?}");
            break;
        }
    }
}
