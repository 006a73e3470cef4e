//! Reading real files: holes, replaced files, files that do not hold still.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::sync::Arc;

use files::error::Error;
use files::exclude::Excludes;
use files::owner::Owners;
use files::read::{Extent, FileReader, Steadiness};
use files::relative::RelativePath;
use files::root::Root;
use files::walk::{Event, Walk};
use model::entry::Entry;

fn walked(dir: &Path, name: &str) -> (Arc<Root>, RelativePath, Entry) {
    let mut walk = Walk::open(dir, Excludes::nothing(), Arc::default()).expect("root opens");
    let root = walk.root();
    let found = walk.find_map(|event| match event {
        Event::Entry { path, entry } if path.as_bytes() == name.as_bytes() => Some((path, entry)),
        _ => None,
    });
    let (path, entry) = found.expect("is walked");
    (root, path, entry)
}

fn open(dir: &Path, name: &str) -> FileReader {
    let (root, path, entry) = walked(dir, name);
    FileReader::open(&root, &path, &entry, &Owners::default()).expect("opens")
}

#[test]
fn extents_cover_the_file_and_holes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    testkit::tree::Tree::sample(dir.path(), 3).unwrap();
    for (name, holes) in [
        ("plain/large", 0),
        ("plain/empty", 0),
        ("sparse/hole only", 1),
        ("sparse/hole first", 2),
        ("sparse/hole last", 1),
        ("sparse/hole in the middle", 2),
        ("sparse/holes everywhere", 4),
    ] {
        let expected = fs::read(dir.path().join(name)).unwrap();
        let mut reader = open(dir.path(), name);
        let (mut contents, mut met) = (Vec::new(), 0);
        while let Some(extent) = reader.next_extent().unwrap() {
            match extent {
                Extent::Data { offset, len } => {
                    assert_eq!(offset, contents.len() as u64);
                    let mut buffer = vec![0; usize::try_from(len).unwrap()];
                    assert_eq!(reader.read_at(offset, &mut buffer).unwrap() as u64, len);
                    contents.extend(buffer);
                }
                Extent::Hole { offset, len } => {
                    assert_eq!(offset, contents.len() as u64);
                    contents.resize(contents.len() + usize::try_from(len).unwrap(), 0);
                    met += 1;
                }
            }
        }
        assert!(contents == expected, "{name}");
        assert_eq!(met, holes, "{name}");
        assert_eq!(reader.finish().unwrap(), Steadiness::Unchanged);
    }
}

#[test]
fn a_file_that_does_not_hold_still_is_told() {
    type Change = fn(&fs::File);
    let changes: [(Change, Steadiness); 4] = [
        (|_| {}, Steadiness::Unchanged),
        (|file| file.set_len(3).unwrap(), Steadiness::Shrank { size: 3 }),
        (|file| file.write_all_at(b"more", 10).unwrap(), Steadiness::Grew { size: 14 }),
        (|file| file.write_all_at(b"other", 0).unwrap(), Steadiness::Changed),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (change, expected) in changes {
        fs::write(dir.path().join("file"), "0123456789").unwrap();
        let mut reader = open(dir.path(), "file");
        assert_eq!(reader.next_extent().unwrap(), Some(Extent::Data { offset: 0, len: 10 }));
        std::thread::sleep(std::time::Duration::from_millis(20)); // coarser than the clock of the file system
        change(&fs::OpenOptions::new().write(true).open(dir.path().join("file")).unwrap());
        assert_eq!(reader.next_extent().unwrap(), None);
        assert_eq!(reader.finish().unwrap(), expected);
    }
}

/// As programs replace a file that others read: whoever has the old one open reads the old one, whole.
#[test]
fn a_file_that_is_removed_or_replaced_while_it_is_open_is_one_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let steadiness = |change: &dyn Fn()| {
        fs::write(&path, "0123456789").unwrap();
        let reader = open(dir.path(), "file");
        std::thread::sleep(std::time::Duration::from_millis(20)); // coarser than the clock of the file system
        change();
        let mut buffer = [0; 10];
        assert_eq!((reader.read_at(0, &mut buffer).unwrap(), &buffer), (10, b"0123456789"));
        reader.finish().unwrap()
    };
    let replace = || {
        fs::write(dir.path().join("new"), "ABCDEFGHIJ").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
    };
    assert_eq!(steadiness(&|| fs::remove_file(&path).unwrap()), Steadiness::Unchanged);
    assert_eq!(steadiness(&replace), Steadiness::Unchanged);
    let write_and_remove = || {
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"0123456789", 0).unwrap();
        fs::remove_file(&path).unwrap();
    };
    assert_eq!(steadiness(&write_and_remove), Steadiness::Changed);
}

#[test]
fn a_file_that_shrinks_reads_short() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "0123456789").unwrap();
    let reader = open(dir.path(), "file");
    fs::OpenOptions::new().write(true).open(dir.path().join("file")).unwrap().set_len(4).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(reader.read_at(0, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer[..4], b"0123");
}

#[test]
fn a_file_written_between_walk_and_opening_is_described_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "short").unwrap();
    let (root, path, entry) = walked(dir.path(), "file");
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::OpenOptions::new().append(true).open(dir.path().join("file")).unwrap().write_all(b" longer").unwrap();
    let reader = FileReader::open(&root, &path, &entry, &Owners::default()).unwrap();
    assert!(reader.changed_since_walk());
    assert_eq!((reader.size(), entry.metadata.size), (12, 5));
    assert_ne!(reader.entry().metadata.mtime, entry.metadata.mtime);
    assert_eq!(reader.finish().unwrap(), Steadiness::Unchanged);
}

#[test]
fn what_took_the_name_is_never_read_instead() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "secret").unwrap();
    let replace: [fn(&Path, &Path); 5] = [
        |file, _| {
            fs::write(file.with_extension("new"), "other").unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        },
        |file, outside| {
            fs::remove_file(file).unwrap();
            symlink(outside.join("file"), file).unwrap();
        },
        |file, outside| {
            fs::remove_dir_all(file.parent().unwrap()).unwrap();
            symlink(outside, file.parent().unwrap()).unwrap();
        },
        |file, _| {
            fs::remove_file(file).unwrap();
            let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
            rustix::fs::mknodat(rustix::fs::CWD, file, fifo, mode, 0).unwrap();
        },
        |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
    ];
    for replace in replace {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/file"), "mine").unwrap();
        let (root, path, entry) = walked(dir.path(), "d/file");
        replace(&dir.path().join("d/file"), outside.path());
        let error = FileReader::open(&root, &path, &entry, &Owners::default()).unwrap_err();
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
    }
}

#[test]
fn a_file_that_vanished_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let (root, path, entry) = walked(dir.path(), "file");
    fs::remove_file(dir.path().join("file")).unwrap();
    let error = FileReader::open(&root, &path, &entry, &Owners::default()).unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error}");
}
