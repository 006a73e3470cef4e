//! What is known to be damaged is not relied on: the next backup stores it again, and the ones before are whole with it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files_world;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use engine::verify::verify;
use engine::{EngineError, catalog};
use files::exclude::Excludes;
use files_world::World;
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use repo::BlobKind;
use repo::broken;
use repo::check::{CheckOptions, CheckReport, check, remember};
use repo::lease::Identity;
use repo::prune::{PruneOptions, prune};
use repo::repair::salvage::repair_packs;
use repo::repository::FileKind;

fn backed_up() -> (World, BackupRecord) {
    let mut world = World::new();
    fs::create_dir(world.data().join("below")).unwrap();
    fs::write(world.data().join("below/one"), b"one and only").unwrap();
    fs::write(world.data().join("two"), (0..200_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
    let record = world.back_up().record;
    (world, record)
}

/// The only pack that holds anything of that kind.
fn pack_of(world: &World, kind: BlobKind) -> PathBuf {
    let files = world.repository.load_index_files().unwrap();
    let mut packs = files.iter().flat_map(|(_, packs)| packs);
    let pack = packs.find(|pack| pack.blobs.iter().any(|blob| blob.kind == kind)).unwrap();
    world.path("repository").join(FileKind::Pack.object(&pack.id).as_str())
}

/// Spoil every blob of a pack, so that whatever is read of it is damaged.
fn spoil(file: &PathBuf) {
    let mut bytes = fs::read(file).unwrap();
    bytes.iter_mut().step_by(16).for_each(|byte| *byte ^= 1);
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

fn verified(world: &World, record: &BackupRecord) -> Result<(), EngineError> {
    let index = Arc::new(world.repository.load_index().unwrap());
    verify(&world.repository, &index, record, &Progress::new(), &CancelToken::new())
}

fn check_all(world: &World) -> CheckReport {
    let everything = CheckOptions { read_percent: 100 };
    check(&world.repository, everything, &Progress::new(), &CancelToken::new()).unwrap()
}

fn prune_at_once(world: &World) {
    let me = Identity { hostname: "h".into(), username: "u".into(), uid: 0, gid: 0, pid: std::process::id() };
    let options =
        PruneOptions { cooling_off: SignedDuration::ZERO, unused_percent_max: 0, ..PruneOptions::default() };
    prune(&world.repository, &options, &me, Timestamp::now(), &Progress::new(), &CancelToken::new()).unwrap();
}

#[test]
fn after_a_failed_verification_the_next_backup_stores_again_and_heals_the_one_before() {
    let (mut world, first) = backed_up();
    spoil(&pack_of(&world, BlobKind::Data));
    assert!(verified(&world, &first).unwrap_err().is_damage());
    assert_eq!(broken::list(&world.repository).unwrap().len(), 1);

    let second = world.back_up();
    assert_eq!(second.files.unmodified, 0, "what cannot be relied on is read again");
    for record in [&first, &second.record] {
        verified(&world, record).unwrap();
        let to = world.path(record.id.as_str());
        assert_eq!(world.restore(record, &to).damaged, 0);
        assert_eq!(fs::read(to.join("below/one")).unwrap(), b"one and only");
        assert_eq!(fs::read(to.join("two")).unwrap(), fs::read(world.data().join("two")).unwrap());
    }

    // The broken pack goes as soon as nothing needs it, and with it the note of it.
    assert_eq!(check_all(&world).broken_packs.len(), 1);
    prune_at_once(&world);
    let report = check_all(&world);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(broken::list(&world.repository).unwrap().is_empty());
    verified(&world, &first).unwrap();
}

#[test]
fn a_backup_that_cannot_read_the_trees_before_stores_them_again() {
    let (mut world, _) = backed_up();
    spoil(&pack_of(&world, BlobKind::Tree));
    let second = world.back_up().record;
    verified(&world, &second).unwrap();
    assert_eq!(broken::list(&world.repository).unwrap().len(), 1, "others are told");
}

#[test]
fn prune_leaves_alone_what_a_broken_pack_still_has() {
    let (mut world, first) = backed_up();
    spoil(&pack_of(&world, BlobKind::Data));
    assert!(verified(&world, &first).is_err());
    // The next backup needs a part of it only.
    fs::remove_file(world.data().join("two")).unwrap();
    world.back_up();
    let pack = pack_of(&world, BlobKind::Data);
    prune_at_once(&world);
    assert!(pack.exists() && broken::list(&world.repository).unwrap().len() == 1);
}

/// What a check of the structure alone makes known.
fn remember_structure(world: &World) -> usize {
    let structure = CheckOptions { read_percent: 0 };
    let report = check(&world.repository, structure, &Progress::new(), &CancelToken::new()).unwrap();
    remember(&world.repository, &report).unwrap()
}

#[test]
fn check_notes_what_is_missing_and_forgets_what_is_there_again() {
    let (mut world, first) = backed_up();
    let pack = pack_of(&world, BlobKind::Data);
    let hidden = world.path("hidden");
    let noted = || broken::list(&world.repository).unwrap().len();
    fs::rename(&pack, &hidden).unwrap();
    assert_eq!(remember_structure(&world), 1);
    assert_eq!(remember_structure(&world), 0, "it is known by now");
    assert!(verified(&world, &first).unwrap_err().is_damage());
    fs::copy(&hidden, &pack).unwrap();
    assert_eq!((remember_structure(&world), noted()), (0, 0), "a listing shows that it is back");

    // Who reads alone meets it missing, and says no more than that.
    fs::remove_file(&pack).unwrap();
    assert!(verified(&world, &first).unwrap_err().is_damage());
    assert_eq!(noted(), 1);
    fs::copy(&hidden, &pack).unwrap();
    assert_eq!((remember_structure(&world), noted()), (0, 0));

    assert_eq!(remember(&world.repository, &check_all(&world)).unwrap(), 0);
    assert_eq!(world.back_up().files.unmodified, 2);
    verified(&world, &first).unwrap();
}

#[test]
fn what_was_damaged_is_trusted_again_when_all_of_it_was_read() {
    let (world, first) = backed_up();
    let pack = pack_of(&world, BlobKind::Data);
    let whole = world.path("whole");
    let noted = || broken::list(&world.repository).unwrap().len();
    fs::rename(&pack, &whole).unwrap();
    assert_eq!(remember_structure(&world), 1);
    // Back, and not what it was: that it was missing is not all any more.
    fs::copy(&whole, &pack).unwrap();
    spoil(&pack);
    assert!(verified(&world, &first).unwrap_err().is_damage());
    assert_eq!((remember_structure(&world), noted()), (0, 1), "a listing says nothing of that");

    let put_back = || {
        fs::remove_file(&pack).unwrap();
        fs::copy(&whole, &pack).unwrap();
    };
    put_back();
    assert_eq!((remember(&world.repository, &check_all(&world)).unwrap(), noted()), (0, 0));
    spoil(&pack);
    assert!(verified(&world, &first).unwrap_err().is_damage());
    put_back();
    let me = Identity { hostname: "h".into(), username: "u".into(), uid: 0, gid: 0, pid: std::process::id() };
    for (dry_run, left) in [(true, 1), (false, 0)] {
        repair_packs(&world.repository, &me, dry_run, &Progress::new(), &CancelToken::new()).unwrap();
        assert_eq!(noted(), left);
    }
}

#[test]
fn a_verification_that_reads_another_copy_says_so_and_notes_the_broken_one() {
    let (mut world, first) = backed_up();
    let pack = pack_of(&world, BlobKind::Data);
    let whole = world.path("whole");
    fs::copy(&pack, &whole).unwrap();
    spoil(&pack);
    assert!(verified(&world, &first).unwrap_err().is_damage());
    world.back_up();
    fs::remove_file(&pack).unwrap();
    fs::copy(&whole, &pack).unwrap();
    assert_eq!(remember(&world.repository, &check_all(&world)).unwrap(), 0);
    assert!(broken::list(&world.repository).unwrap().is_empty(), "two copies, both whole");

    // Of one of them, which is read first; who begins anew lists the index once more.
    let index = Arc::new(world.repository.load_index().unwrap());
    let files = world.repository.load_index_files().unwrap();
    let mut blobs = files.iter().flat_map(|(_, packs)| packs).flat_map(|pack| &pack.blobs);
    let blob = blobs.find(|blob| blob.kind == BlobKind::Data).unwrap();
    let read_first = index.pack_id(index.require(blob.kind, &blob.id).unwrap().pack);
    spoil(&world.path("repository").join(FileKind::Pack.object(&read_first).as_str()));
    let progress = Progress::new();
    verify(&world.repository, &index, &first, &progress, &CancelToken::new()).unwrap();
    let warnings = progress.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(&read_first.to_hex()), "{warnings:?}");
    assert_eq!(broken::list(&world.repository).unwrap(), HashSet::from([read_first]));
    // The next backup relies on the other one.
    assert_eq!(world.back_up().files.unmodified, 2);
}

#[test]
fn a_damaged_snapshot_is_told_and_keeps_no_backup_from_being_made() {
    let (mut world, first) = backed_up();
    let snapshot = FileKind::Snapshot.object(&first.snapshot.unwrap());
    spoil(&world.path("repository").join(snapshot.as_str()));
    let order = world.order();
    let report =
        files_world::back_up(&world.repository, &world.data(), Excludes::nothing(), &order, &|_| {}).unwrap();
    let warnings = order.progress.take_warnings();
    assert!(warnings.iter().any(|words| words.contains(&first.snapshot.unwrap().short())), "{warnings:?}");
    assert!(catalog::load_snapshot(&world.repository, &report.record).is_ok());
}
