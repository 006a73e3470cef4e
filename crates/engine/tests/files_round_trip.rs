//! A nasty tree into the repository and back, by us and by stock restic, once and again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files_world;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use files::exclude::Excludes;
use files_world::{World, relative};
use repo::snapshot_file::SnapshotFile;
use testkit::program::Program;
use testkit::site::PASSWORD;
use testkit::tree::{Tree, assert_same_tree, differences};

fn sample() -> World {
    let world = World::new();
    Tree::sample(&world.data(), 7).unwrap();
    world
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// Nothing is stored but, at most, the directories above: others make files in `/tmp` meanwhile, which changes its time.
#[track_caller]
fn assert_costs_nothing(world: &World, snapshot: &SnapshotFile) {
    let summary = snapshot.summary.as_ref().unwrap();
    let above = world.data().ancestors().count() as i64 - 1;
    assert!(summary.data_blobs == 0 && summary.tree_blobs <= above, "{summary:?}");
}

#[test]
fn a_nasty_tree_comes_back_as_it_was() {
    let mut world = sample();
    let report = world.back_up();
    assert_eq!((report.problems, report.record.incomplete), (0, false), "{:?}", world.take_told());
    let restored = world.restore(&report.record, &world.path("restored"));
    assert_eq!((restored.damaged, restored.problems), (0, 0), "{:?}", world.take_told());
    assert_eq!(restored.bytes, report.record.size_bytes);
    // A socket is recorded, and has no meaning without its process.
    remove_sockets(&world.data());
    assert_same_tree(&world.data(), &world.path("restored"));
}

#[test]
fn stock_restic_finds_it_sound_and_restores_the_same() {
    let mut world = sample();
    world.back_up();
    remove_sockets(&world.data());
    for restic in testkit::restic::installed() {
        let repository = world.path("repository");
        restic.run(&repository, PASSWORD, &["check", "--read-data"]).ok();
        let to = world.path(&format!("restic-{}", restic.number()));
        restic.run(&repository, PASSWORD, &["restore", "latest", "--target", to.to_str().unwrap()]).ok();
        let nested = to.join(world.data().strip_prefix("/").unwrap());
        assert_same_but_for_restic(&world.data(), &nested);
        let shown = fs::metadata(nested.parent().unwrap()).unwrap();
        let real = fs::metadata(world.dir.path()).unwrap();
        assert_eq!((shown.mode(), shown.uid()), (real.mode(), real.uid()), "directories on the way are real");
    }
}

#[test]
fn what_restic_wrote_is_restored_and_is_a_parent() {
    let mut world = sample();
    remove_sockets(&world.data());
    let restic = testkit::restic::installed().remove(0);
    let host = ["backup", "--host", "h", world.data().to_str().unwrap()].map(str::to_owned);
    restic.run(&world.path("repository"), PASSWORD, &host.each_ref().map(String::as_str)).ok();
    let record = engine::catalog::list(&world.repository).unwrap().remove(0);
    let restored = world.restore(&record, &world.path("restored"));
    assert_eq!((restored.damaged, restored.problems), (0, 0), "{:?}", world.take_told());
    assert_same_but_for_restic(&world.data(), &world.path("restored"));

    // The files are as old as restic's snapshot, so they are read again; what is stored then is ours.
    let second = world.back_up();
    assert_eq!(second.files.new, 0, "its parent is restic's snapshot");
    let third = world.back_up();
    assert_eq!(third.files.changed, 0);
    let snapshot = world.repository.load_snapshot(&third.record.snapshot.unwrap()).unwrap();
    assert_costs_nothing(&world, &snapshot);
}

#[test]
fn an_unchanged_directory_is_not_read_again_and_costs_nothing() {
    let mut world = sample();
    let first = world.back_up();
    let second = world.back_up();
    assert_eq!((second.files.new, second.files.changed), (0, 0));
    assert_eq!(second.files.unmodified, first.files.new);
    let snapshot = world.repository.load_snapshot(&second.record.snapshot.unwrap()).unwrap();
    assert_costs_nothing(&world, &snapshot);
    assert_eq!(snapshot.parent, first.record.snapshot);
    assert_eq!(second.record.size_bytes, first.record.size_bytes);
    assert_eq!(world.restore(&second.record, &world.path("restored")).problems, 0);
    remove_sockets(&world.data());
    assert_same_tree(&world.data(), &world.path("restored"));
}

#[test]
fn a_file_that_changed_as_the_parent_began_is_read_again() {
    let mut world = World::new();
    fs::write(world.data().join("old"), "old").unwrap();
    fs::write(world.data().join("racy"), "one").unwrap();
    let about = fs::metadata(world.data().join("racy")).unwrap();
    let changed_at = jiff::Timestamp::new(about.ctime(), about.ctime_nsec() as i32).unwrap();
    // The parent begins in the second of the change.
    world.now = changed_at - jiff::SignedDuration::from_secs(60);
    world.back_up();
    let again = world.back_up();
    assert_eq!((again.files.changed, again.files.unmodified), (2, 0));
    assert_eq!(world.back_up().files.unmodified, 2, "the last parent began long after the change");
}

#[test]
fn changed_new_and_removed_files_are_told_apart() {
    let mut world = World::new();
    let data = world.data();
    for name in ["a", "b", "c"] {
        fs::create_dir(data.join(name)).unwrap();
        fs::write(data.join(name).join("file"), noise(name.as_bytes()[0].into(), 700_000)).unwrap();
    }
    let first = world.back_up();
    assert_eq!(first.files.new, 3);
    let mut changed = noise(b'b'.into(), 700_000);
    changed.extend_from_slice(b"more");
    fs::write(data.join("b/file"), changed).unwrap();
    fs::remove_dir_all(data.join("a")).unwrap();
    fs::write(data.join("bb"), "new").unwrap();
    let second = world.back_up();
    assert_eq!((second.files.new, second.files.changed, second.files.unmodified), (1, 1, 1));
    assert!(second.record.stored_bytes < 800_000, "{} bytes for a longer file", second.record.stored_bytes);
    world.restore(&second.record, &world.path("restored"));
    assert_same_tree(&data, &world.path("restored"));
    world.restore(&first.record, &world.path("restored first"));
    assert_eq!(fs::read(world.path("restored first/a/file")).unwrap(), noise(b'a'.into(), 700_000));
}

#[test]
fn a_file_whose_pieces_are_gone_is_read_again() {
    let mut world = World::new();
    fs::write(world.data().join("file"), noise(1, 100_000)).unwrap();
    world.back_up();
    for pack in walk_files(&world.path("repository/index")) {
        fs::remove_file(pack).unwrap();
    }
    let again = world.back_up();
    assert_eq!((again.files.changed + again.files.new, again.files.unmodified), (1, 0));
    world.restore(&again.record, &world.path("restored"));
    assert_same_tree(&world.data(), &world.path("restored"));
}

#[test]
fn excludes_and_caches_are_left_out_and_counted() {
    let mut world = World::new();
    let data = world.data();
    for name in ["a.tmp", "kept", "sub/b.tmp", "sub/kept", "cache/CACHEDIR.TAG", "cache/x"] {
        fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
        fs::write(data.join(name), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    }
    let excludes = Excludes::new(["*.tmp"]).unwrap().without_caches();
    let report = world.try_back_up(excludes).unwrap();
    assert_eq!((report.files.new, report.excluded, report.problems), (3, 3, 0));
    world.restore(&report.record, &world.path("restored"));
    for gone in ["a.tmp", "sub/b.tmp", "cache/x"] {
        fs::remove_file(data.join(gone)).unwrap();
    }
    let mtimes = |path: &str| filetime(&data.join(path), &world.path("restored").join(path));
    ["", "sub", "cache"].into_iter().for_each(mtimes);
    assert_same_tree(&data, &world.path("restored"));
}

#[test]
fn one_file_is_a_source_too() {
    let mut world = World::new();
    fs::write(world.path("single"), noise(3, 2_000_000)).unwrap();
    let order = world.order();
    let single = world.path("single");
    let report =
        files_world::back_up(&world.repository, &single, Excludes::nothing(), &order, &|_| {}).unwrap();
    world.restore(&report.record, &world.path("restored"));
    assert_eq!(fs::read(world.path("restored/single")).unwrap(), noise(3, 2_000_000));
    let order = world.order();
    let again = files_world::back_up(&world.repository, &single, Excludes::nothing(), &order, &|_| {});
    assert_eq!(again.unwrap().files.unmodified, 1);
}

#[test]
fn names_that_are_no_text_lead_to_the_directory_too() {
    let mut world = World::new();
    let odd = world.dir.path().join(OsStr::from_bytes(b"\xff odd"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("file"), "x").unwrap();
    let order = world.order();
    let report = files_world::back_up(&world.repository, &odd, Excludes::nothing(), &order, &|_| {}).unwrap();
    world.restore(&report.record, &world.path("restored"));
    assert_same_tree(&odd, &world.path("restored"));
}

#[test]
fn single_paths_are_restored_with_the_directories_that_lead_there() {
    let mut world = sample();
    let report = world.back_up();
    let only = |paths: &[&str], to: &str| {
        let paths = paths.iter().map(|path| relative(path)).collect();
        world.try_restore(&report.record, &world.path(to), |order| order.only = paths)
    };
    only(&["plain/deep", "links/to file"], "some").unwrap();
    assert_same_tree(&world.data().join("plain/deep"), &world.path("some/plain/deep"));
    assert!(fs::symlink_metadata(world.path("some/links/to file")).unwrap().is_symlink());
    assert_eq!(fs::read_dir(world.path("some")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(world.path("some/links")).unwrap().count(), 1);
    let error = only(&["plain/nowhere"], "none").unwrap_err();
    assert!(error.to_string().starts_with("plain/nowhere is not in"), "{error}");
    assert!(!world.path("none").exists(), "nothing is made for what is not there");
}

#[test]
fn a_file_of_a_backup_is_read_at_any_offset_by_many_at_once() {
    let mut world = World::new();
    let contents = noise(11, 9_000_001);
    fs::create_dir(world.data().join("deep")).unwrap();
    fs::write(world.data().join("deep/file"), &contents).unwrap();
    std::os::unix::fs::symlink("file", world.data().join("deep/link")).unwrap();
    let record = world.back_up().record;
    let index = std::sync::Arc::new(world.repository.load_index().unwrap());
    let cache = repo::plain_cache::PlainCache::new(4 << 20);
    let open = |path: &str| {
        engine::open_file::open_file(&world.repository, &index, &record, &relative(path), &cache)
    };
    let file = open("deep/file").unwrap();
    assert_eq!(file.len(), contents.len() as u64);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (file, contents) = (&file, &contents);
            scope.spawn(move || {
                for step in 0..300_usize {
                    let offset = (step * 7_919_003 + thread * 104_729) % (contents.len() + 1_000);
                    let mut bytes = vec![0; 1 + step * 97];
                    let count = file.read_at(offset as u64, &mut bytes).unwrap();
                    let end = contents.len().min(offset + bytes.len());
                    assert_eq!(&bytes[..count], contents.get(offset..end).unwrap_or_default());
                }
            });
        }
    });
    for (path, words) in [
        ("deep/none", "deep/none is not in"),
        ("deep/link", "deep/link is no file"),
        ("deep", "deep is no file"),
        ("deep/file/more", "deep/file/more is not in"),
    ] {
        let error = open(path).err().unwrap().to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn fifty_sparse_gigabytes_are_quick_and_small() {
    let mut world = World::new();
    let file = fs::File::create(world.data().join("sparse")).unwrap();
    file.set_len(50_000_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"in the middle", 25_000_000_123).unwrap();
    file.sync_all().unwrap();
    let start = std::time::Instant::now();
    let report = world.back_up();
    assert_eq!(report.record.size_bytes, 50_000_000_000);
    assert!(report.record.stored_bytes < 8 << 20, "{}", report.record.stored_bytes);
    world.restore(&report.record, &world.path("restored"));
    assert!(start.elapsed().as_secs() < 30, "took {:?}", start.elapsed());
    let restored = fs::File::open(world.path("restored/sparse")).unwrap();
    let about = restored.metadata().unwrap();
    assert!(about.len() == 50_000_000_000 && about.blocks() < 1000, "{} blocks", about.blocks());
    let mut bytes = [0; 15];
    std::os::unix::fs::FileExt::read_exact_at(&restored, &mut bytes, 25_000_000_122).unwrap();
    assert_eq!(&bytes, b"\0in the middle\0");
}

/// What restic 0.14 itself loses: holes (a flag that it does not have), attributes of links, targets that are no text.
fn assert_same_but_for_restic(expected: &Path, actual: &Path) {
    let is_lost = |line: &String| {
        line.contains(": holes should be")
            || line.starts_with("\"links/") && (line.contains(": attributes") || line.contains(": target"))
    };
    let others: Vec<_> = differences(expected, actual).into_iter().filter(|line| !is_lost(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

fn remove_sockets(dir: &Path) {
    for path in walk_files(dir) {
        if std::os::unix::fs::FileTypeExt::is_socket(&fs::symlink_metadata(&path).unwrap().file_type()) {
            let parent = path.parent().unwrap().to_path_buf();
            let times = fs::metadata(&parent).unwrap().modified().unwrap();
            fs::remove_file(&path).unwrap();
            fs::File::open(&parent).unwrap().set_modified(times).unwrap();
        }
    }
}

/// Everything below `dir` that is no directory.
fn walk_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let text = Program::new("find").run(&[
        dir.as_os_str(),
        "!".as_ref(),
        "-type".as_ref(),
        "d".as_ref(),
        "-print0".as_ref(),
    ]);
    let paths = text.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    paths.map(|path| Path::new(OsStr::from_bytes(path)).to_path_buf()).collect()
}

/// Give `to` the times of `from`.
fn filetime(to: &Path, from: &Path) {
    let modified = fs::metadata(from).unwrap().modified().unwrap();
    fs::File::open(to).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_parent_in_marked_packs_is_still_a_parent_and_is_stored_anew() {
    let mut world = sample();
    let first = world.back_up();
    let index = world.repository.load_index_files().unwrap();
    let holds_trees = |pack: &&repo::index::IndexedPack| pack.blobs[0].kind == repo::BlobKind::Tree;
    let packs = index.iter().flat_map(|(_, packs)| packs).filter(holds_trees);
    let marks = packs.map(|pack| (pack.id, jiff::Timestamp::now())).collect();
    repo::marks::save(&world.repository, &marks).unwrap();
    let second = world.back_up();
    assert_eq!((second.files.new, second.files.changed), (0, 0), "nothing is read again");
    let summary = world.repository.load_snapshot(&second.record.snapshot.unwrap()).unwrap().summary.unwrap();
    assert!(
        summary.data_blobs == 0 && summary.tree_blobs > 3,
        "what is marked is not relied on: {summary:?}"
    );
    assert!(first.files.new > 0);
}
