//! What goes wrong around a backup and a restore of a directory: told by name, and never beyond what it touches.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files_world;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::error::EngineError;
use engine::writing::{FileCounts, Outcome, Writing, save_small_file, save_tree};
use files::exclude::Excludes;
use files_world::{World, relative};
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::entry::EntryKind;
use model::secret::Secret;
use repo::Repository;
use repo::node::Node;
use store::faulty::FaultyStore;
use store::local::LocalStore;
use store::meter::{Meter, MeterStore};
use testkit::site::PASSWORD;
use testkit::tree::{Tree, assert_same_tree, differences};

#[test]
fn files_that_change_while_they_are_read_are_named_and_make_it_incomplete() {
    let mut world = World::new();
    let path = world.data().join("busy");
    fs::write(world.data().join("calm"), "calm").unwrap();
    let file = fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    let stop = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0u64;
            while !stop.load(Ordering::SeqCst) {
                n += 1;
                file.write_all_at(&n.to_le_bytes(), (n % 4096) * 16384).unwrap();
            }
        });
        let report = world.back_up();
        stop.store(true, Ordering::SeqCst);
        report
    });
    assert_eq!((report.problems, report.record.incomplete, report.files.new), (1, true, 2));
    assert_eq!(world.take_told(), [format!("{} changed while it was read", path.display())]);
    let snapshot = world.repository.load_snapshot(&report.record.snapshot.unwrap()).unwrap();
    assert!(snapshot.tags.iter().any(|tag| tag == "incomplete"));
    world.restore(&report.record, &world.path("restored"));
    assert_eq!(fs::read(world.path("restored/calm")).unwrap(), b"calm");
    assert_eq!(fs::metadata(world.path("restored/busy")).unwrap().len(), 64 << 20);
}

#[test]
fn files_that_vanish_are_named_and_the_rest_is_there() {
    let mut world = World::new();
    for number in 0..3000 {
        fs::write(world.data().join(format!("{number:04}")), vec![7; 3000]).unwrap();
    }
    let data = world.data();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..3000).rev().for_each(|number| fs::remove_file(data.join(format!("{number:04}"))).unwrap())
        });
        world.back_up()
    });
    let told = world.take_told();
    assert_eq!(told.len() as u64, report.problems);
    assert!(told.iter().all(|words| words.contains("vanished")), "{told:?}");
    assert_eq!(report.record.incomplete, report.problems > 0);
    assert!(report.files.new + report.problems <= 3000);
    let restored = world.restore(&report.record, &world.path("restored"));
    assert_eq!((restored.created, restored.problems), (report.files.new, 0));
}

#[test]
fn a_cancelled_backup_leaves_no_snapshot_and_no_lock() {
    let mut world = World::new();
    Tree::sample(&world.data(), 3).unwrap();
    let order = world.order();
    order.cancel.cancel();
    let outcome =
        files_world::back_up(&world.repository, &world.data(), Excludes::nothing(), &order, &|_| {});
    assert!(outcome.unwrap_err().is_cancelled());
    assert!(engine::catalog::list(&world.repository).unwrap().is_empty());
    assert!(world.repository.list(repo::repository::FileKind::Lock).unwrap().is_empty());
    assert_eq!(world.back_up().problems, 0);
}

#[test]
fn a_restore_that_is_stopped_waits_for_nobody_who_walks_ahead() {
    let mut world = World::new();
    // More than what goes through the channels between them at one time.
    for number in 0..20_000 {
        let folder = world.data().join(format!("{}", number % 20));
        if number < 20 {
            fs::create_dir(&folder).unwrap();
        }
        fs::write(folder.join(format!("{number}")), "").unwrap();
    }
    let record = world.back_up().record;
    let stopped = world.try_restore(&record, &world.path("restored"), |order| order.cancel.cancel());
    assert!(stopped.unwrap_err().is_cancelled());
    let restored = world.restore(&record, &world.path("whole"));
    assert_eq!((restored.created, restored.problems), (20_000, 0));
    assert_eq!(differences(&world.data(), &world.path("whole")), Vec::<String>::new());
}

#[test]
fn a_damaged_blob_costs_its_files_alone() {
    let mut world = World::new();
    let data = world.data();
    fs::write(data.join("a bad"), vec![1; 5000]).unwrap();
    fs::write(data.join("b bad too"), vec![1; 5000]).unwrap();
    fs::write(data.join("c good"), "good").unwrap();
    let report = world.back_up();
    let index = world.repository.load_index().unwrap();
    let id = repo::blob::id_of(&[1; 5000]);
    let place = index.require(repo::BlobKind::Data, &id).unwrap();
    let pack = repo::repository::FileKind::Pack.object(&index.pack_id(place.pack));
    let file = world.path("repository").join(pack.as_str());
    let mut bytes = fs::read(&file).unwrap();
    bytes[place.offset as usize + 20] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let restored = world.restore(&report.record, &world.path("restored"));
    assert_eq!((restored.damaged, restored.problems, restored.created), (2, 0, 3));
    let told = world.take_told();
    assert!(told[0].starts_with("a bad: ") && told[1].starts_with("b bad too: "), "{told:?}");
    assert_eq!(differences(&data, &world.path("restored")), ["\"a bad\": missing", "\"b bad too\": missing"]);
}

#[test]
fn a_restore_that_was_cut_short_goes_on_where_it_was() {
    let mut world = World::new();
    for number in 0..40 {
        let mut state = number + 1_u32;
        let noise = (0..1 << 20).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        fs::write(world.data().join(format!("{number:02}")), noise.collect::<Vec<_>>()).unwrap();
    }
    let record = world.back_up().record;
    // Counted, and cut short at about half of the ranges of packs.
    let (meter, gets, cut) = (Arc::new(Meter::new()), Arc::new(AtomicUsize::new(0)), CancelToken::new());
    let (seen, wish) = (Arc::clone(&gets), cut.clone());
    let plan = move |_: u64, action: &str, key: &str| {
        if action == "get" && key.starts_with("data/") && seen.fetch_add(1, Ordering::SeqCst) == 10 {
            wish.cancel();
        }
        None
    };
    let inside = FaultyStore::new(LocalStore::new(world.path("repository")), Box::new(plan));
    let store = Arc::new(MeterStore::new(inside, Arc::clone(&meter)));
    world.repository = Arc::new(Repository::open(store, &Secret::new(PASSWORD)).unwrap());
    let read = || meter.traffic().downloaded_bytes;
    let (to, begin) = (world.path("restored"), read());
    let stopped = world.try_restore(&record, &to, |order| order.cancel = cut).unwrap_err();
    assert!(stopped.is_cancelled(), "{stopped}");
    let first = read() - begin;
    let rest = world.try_restore(&record, &to, |order| order.delta = true).unwrap();
    let second = read() - begin - first;
    assert_eq!((rest.damaged, rest.problems), (0, 0));
    assert_same_tree(&world.data(), &to);
    // What is on its way is read again, a few ranges of 4 MiB; what was written is not.
    let all = record.stored_bytes;
    assert!(first > all / 4 && second < all * 3 / 4, "{first} and {second} of {all} bytes");
    assert!(first + second < all + (20 << 20), "{first} and {second} of {all} bytes");
}

#[test]
fn what_is_there_is_never_touched_unless_asked() {
    let mut world = World::new();
    fs::write(world.data().join("file"), "x").unwrap();
    let record = world.back_up().record;
    fs::create_dir(world.path("taken")).unwrap();
    fs::write(world.path("taken/mine"), "mine").unwrap();
    let outcome = world.try_restore(&record, &world.path("taken"), |_| {});
    assert!(matches!(outcome, Err(EngineError::Refused(_))));
    assert_eq!(fs::read_dir(world.path("taken")).unwrap().count(), 1);
}

#[test]
fn delta_writes_what_differs_and_deletes_only_what_it_is_told_to() {
    let mut world = World::new();
    let data = world.data();
    Tree::sample(&data, 9).unwrap();
    let big: Vec<u8> = (0..4_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(data.join("big"), &big).unwrap();
    let record = world.back_up().record;
    let to = world.path("restored");
    world.restore(&record, &to);
    let expected = world.path("expected");
    world.restore(&record, &expected);
    spoil(&to, &world.path("outside"));
    let spoilt = survey(&to);

    let plan = world
        .try_restore(&record, &to, |order| (order.delta, order.delete, order.dry_run) = (true, true, true))
        .unwrap();
    assert_eq!(survey(&to), spoilt, "a dry run changes nothing");
    let told = world.take_told();
    for words in ["deletes extra", "deletes plain/deep/extra", "overwrites big", "overwrites plain/block"] {
        assert!(told.iter().any(|told| told == words), "{words} is not in {told:?}");
    }
    assert_eq!(plan.deleted, 2);

    let done = world.try_restore(&record, &to, |order| order.delta = true).unwrap();
    assert_eq!((done.deleted, done.problems, done.damaged), (0, 0, 0), "{:?}", world.take_told());
    assert!(done.bytes_written < 5_000_000, "{} bytes of 16 MB for one changed piece", done.bytes_written);
    assert_eq!(fs::read(to.join("extra")).unwrap(), b"extra");
    assert_eq!(fs::read_dir(world.path("outside")).unwrap().count(), 1, "a link is replaced, not followed");
    let done = world.try_restore(&record, &to, |order| (order.delta, order.delete) = (true, true)).unwrap();
    assert_eq!((done.deleted, done.overwritten, done.bytes_written), (2, 0, 0), "{:?}", world.take_told());
    assert_same_tree(&expected, &to);
}

/// Other contents, other kinds, other metadata, links that lead out.
fn spoil(to: &std::path::Path, outside: &std::path::Path) {
    fs::create_dir(outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::write(to.join("extra"), "extra").unwrap();
    fs::create_dir(to.join("plain/deep/extra")).unwrap();
    fs::write(to.join("plain/deep/extra/file"), "x").unwrap();
    let large = fs::OpenOptions::new().write(true).open(to.join("big")).unwrap();
    let times = large.metadata().unwrap().modified().unwrap();
    large.write_all_at(b"X", 1_500_000).unwrap();
    large.set_modified(times).unwrap();
    fs::write(to.join("plain/block"), "short").unwrap();
    fs::remove_file(to.join("plain/one")).unwrap();
    fs::create_dir(to.join("plain/one")).unwrap();
    fs::write(to.join("plain/one/x"), "x").unwrap();
    fs::remove_dir_all(to.join("names/b")).unwrap();
    symlink(outside, to.join("names/b")).unwrap();
    fs::remove_file(to.join("plain/odd")).unwrap();
    symlink(outside.join("kept"), to.join("plain/odd")).unwrap();
    fs::remove_file(to.join("plain/middle")).unwrap();
    fs::hard_link(outside.join("kept"), to.join("plain/middle")).unwrap();
    fs::File::options()
        .write(true)
        .open(to.join("sparse/hole only"))
        .unwrap()
        .write_all_at(b"X", 99)
        .unwrap();
}

/// Names, inodes, sizes and times of everything.
fn survey(dir: &std::path::Path) -> Vec<(std::path::PathBuf, u64, u64, i64)> {
    let mut all = vec![];
    let mut left = vec![dir.to_path_buf()];
    while let Some(path) = left.pop() {
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.push((path, about.ino(), about.len(), about.ctime_nsec()));
    }
    all.sort();
    all
}

#[test]
fn an_incomplete_backup_deletes_nothing_and_what_was_left_out_stays() {
    let mut world = World::new();
    fs::write(world.data().join("file"), "x").unwrap();
    let mut record = world.back_up().record;
    record.incomplete = true;
    let delete = |record: &BackupRecord| {
        world.try_restore(record, &world.data(), |order| (order.delta, order.delete) = (true, true))
    };
    assert!(matches!(delete(&record), Err(EngineError::Refused(_))));
    record.incomplete = false;
    fs::write(world.data().join("other"), "x").unwrap();
    assert_eq!(delete(&record).unwrap().deleted, 1);
    assert!(!world.data().join("other").exists() && world.data().join("file").exists());
}

/// A backup whose tree was made by somebody with the key and bad intentions.
fn hostile(
    world: &mut World,
    nodes: impl FnOnce(&Writing, &engine::writing::Order) -> Vec<Node>,
) -> BackupRecord {
    let order = world.order();
    let writing = Writing::begin(&world.repository, &order).unwrap();
    let mut nodes = nodes(&writing, &order);
    let root = save_tree(&writing.saver, &mut nodes).unwrap();
    let outcome = Outcome {
        kind: BackupKind::Directory,
        database: String::new(),
        size_bytes: 0,
        sha256: None,
        relation_count: 0,
        positions: None,
        paths: vec!["/".into()],
        excludes: vec![],
        parent: None,
        tags: vec![],
        incomplete: false,
        files: FileCounts::default(),
    };
    writing.commit(root, &outcome).unwrap()
}

#[test]
fn a_hostile_tree_never_leads_out_of_the_place() {
    let mut world = World::new();
    fs::create_dir(world.path("outside")).unwrap();
    let outside = world.path("outside");
    let target = outside.as_os_str().as_encoded_bytes().to_vec();
    for name in ["..", "a/b", ".", "", "a\0b", "/etc"] {
        let record = hostile(&mut world, |writing, order| {
            let mut node = save_small_file(&writing.saver, "x", b"evil", order).unwrap();
            node.entry.name = name.as_bytes().to_vec();
            vec![node]
        });
        let report = world.restore(&record, &world.path(&format!("to {}", name.len())));
        assert_eq!((report.damaged, report.created), (1, 0), "{name:?}");
    }
    // A link, and a directory of the same name with a file in it.
    let record = hostile(&mut world, |writing, order| {
        let file = save_small_file(&writing.saver, "file", b"evil", order).unwrap();
        let mut link = file.clone();
        (link.entry.name, link.content) = (b"x".to_vec(), vec![]);
        link.entry.kind = EntryKind::Symlink { target: target.clone() };
        let tree = save_tree(&writing.saver, &mut [file]).unwrap();
        let mut dir = link.clone();
        (dir.entry.kind, dir.subtree) = (EntryKind::Directory, Some(tree));
        vec![link, dir]
    });
    assert_eq!(world.restore(&record, &world.path("twice")).damaged, 1);
    // A link first, by one backup, and paths through it by the next one, over it.
    let link = hostile(&mut world, |writing, order| {
        let mut link = save_small_file(&writing.saver, "x", b"", order).unwrap();
        link.entry.kind = EntryKind::Symlink { target: target.clone() };
        vec![link]
    });
    let through = hostile(&mut world, |writing, order| {
        let file = save_small_file(&writing.saver, "file", b"evil", order).unwrap();
        let tree = save_tree(&writing.saver, &mut [file.clone()]).unwrap();
        let mut dir = Node { subtree: Some(tree), content: vec![], ..file };
        (dir.entry.name, dir.entry.kind) = (b"x".to_vec(), EntryKind::Directory);
        vec![dir]
    });
    let to = world.path("to");
    world.restore(&link, &to);
    world.try_restore(&through, &to, |order| order.delta = true).unwrap();
    assert_eq!(fs::read(to.join("x/file")).unwrap(), b"evil");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // The place itself may be a link: that is the user's choice. What is asked for may not lead out of it.
    assert!(files::relative::RelativePath::parse("../x").is_err());
    assert_eq!(relative("x//y").as_bytes(), b"x/y");
}
