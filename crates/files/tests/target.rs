//! Restoring into real directories: everything comes back, and nothing leaves the target.

mod nobody;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use files::compare::Comparison;
use files::error::Error;
use files::exclude::Excludes;
use files::losses::Lost;
use files::owner::Owners;
use files::read::{Extent, FileReader};
use files::relative::RelativePath;
use files::target::Target;
use files::walk::{Event, Walk};
use files::write::{Existing, Space};
use model::entry::{Entry, EntryKind, Metadata};
use testkit::tree::{Tree, assert_same_tree, differences};

fn path(text: &str) -> RelativePath {
    RelativePath::parse(text).expect("clean")
}

fn metadata(mode: u32) -> Metadata {
    let time = jiff::Timestamp::new(1, 2).expect("in range");
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (user, group) = (String::new(), String::new());
    let (inode, device_id, links, size) = (1, 1, 1, 0);
    let (mtime, atime, ctime, xattrs) = (time, time, time, Vec::new());
    Metadata { mode, uid, gid, user, group, mtime, atime, ctime, inode, device_id, links, size, xattrs }
}

fn entry(kind: EntryKind, mode: u32) -> Entry {
    Entry { name: b"e".to_vec(), kind, metadata: metadata(mode) }
}

/// A whole restore: the order that the target's documentation asks for.
fn copy(from: &Path, target: &Target, existing: Existing) {
    let mut walk = Walk::open(from, Excludes::nothing(), Arc::default()).expect("opens");
    let (root, owners) = (walk.root(), Owners::default());
    let mut first_names: HashMap<u64, RelativePath> = HashMap::new();
    let mut links = Vec::new();
    let mut directories = Vec::new();
    for event in walk.by_ref() {
        match event {
            Event::Enter { path, entry } => {
                target.create_dir(&path).expect("made");
                directories.push((path, entry));
            }
            Event::Leave { .. } => {}
            Event::Problem { path, error } => panic!("{path}: {error}"),
            Event::Entry { path, entry } => {
                if entry.metadata.links > 1 {
                    if let Some(first) = first_names.get(&entry.metadata.inode) {
                        links.push((first.clone(), path));
                        continue;
                    }
                    first_names.insert(entry.metadata.inode, path.clone());
                }
                if !entry.is_file() {
                    target.create_special(&path, &entry).expect("made");
                    continue;
                }
                let mut reader = FileReader::open(&root, &path, &entry, &owners).expect("opens");
                let writer = target.create_file(&path, reader.size(), Space::Sparse, existing).expect("made");
                while let Some(extent) = reader.next_extent().expect("extents") {
                    let Extent::Data { offset, len } = extent else { continue };
                    let mut buffer = vec![0; usize::try_from(len).expect("fits")];
                    reader.read_at(offset, &mut buffer).expect("read");
                    let half = buffer.len() / 2;
                    writer.write_at(offset + half as u64, &buffer[half..]).expect("written");
                    writer.write_at(offset, &buffer[..half]).expect("written");
                }
                writer.finish(&entry.metadata).expect("finished");
            }
        }
    }
    for (first, path) in links {
        target.create_hard_link(&first, &path).expect("linked");
    }
    for (path, entry) in directories.iter().rev() {
        target.set_metadata(path, entry).expect("set");
    }
}

#[test]
fn everything_comes_back() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = Tree::sample(from.path(), 11).unwrap();
    assert!(
        tree.privileged && tree.xattrs && tree.acls && tree.capabilities,
        "this machine hides things: {tree:?}"
    );
    let target = Target::create(&to.path().join("new/place")).unwrap();
    copy(from.path(), &target, Existing::Refuse);
    target.sync().unwrap();
    assert_eq!(target.take_losses().len(), 0);
    assert_same_tree(from.path(), &to.path().join("new/place"));
}

#[test]
fn each_restored_entry_compares_as_the_same_and_nothing_is_extraneous() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Tree::sample(from.path(), 12).unwrap();
    let target = Target::open(to.path()).unwrap();
    copy(from.path(), &target, Existing::Refuse);
    let mut kept: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
    for event in Walk::open(from.path(), Excludes::nothing(), Arc::default()).unwrap() {
        if let Event::Enter { path, entry } | Event::Entry { path, entry } = event {
            assert_eq!(target.compare(&path, &entry).unwrap(), Comparison::Same, "{path}");
            if let Some((parent, name)) = path.split() {
                kept.entry(parent.as_bytes().to_vec()).or_default().push(name.to_vec());
            }
        }
    }
    fs::write(to.path().join("plain/extra"), "").unwrap();
    for _ in 0..2 {
        let found =
            target.extraneous(&path("plain"), |name| kept[&b"plain"[..]].iter().any(|n| n == name)).unwrap();
        assert_eq!(found, [path("plain/extra")]);
    }
    target.remove_tree(&path("plain/extra")).unwrap();
    target.remove_tree(&path("plain/extra")).unwrap();
    assert!(!to.path().join("plain/extra").exists());
    assert_eq!(target.compare(&path("none"), &entry(EntryKind::Fifo, 0)).unwrap(), Comparison::Missing);
    assert_eq!(
        target.compare(&path("plain/one/below"), &entry(EntryKind::Fifo, 0)).unwrap(),
        Comparison::Missing
    );
}

#[test]
fn nothing_is_written_through_a_link() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("passwd"), "untouched").unwrap();
    fs::create_dir(outside.path().join("dir")).unwrap();
    let before = fs::symlink_metadata(outside.path().join("passwd")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("a")).unwrap();
    symlink(outside.path().join("passwd"), dir.path().join("file")).unwrap();
    symlink(outside.path().join("new"), dir.path().join("dangling")).unwrap();
    let target = Target::open(dir.path()).unwrap();
    let all = metadata(0o777);
    for (name, existing) in
        [("a/passwd", Existing::Replace), ("a/new", Existing::Refuse), ("a/dir/new", Existing::Replace)]
    {
        let name = path(name);
        let error = target.create_file(&name, 1, Space::Sparse, existing).unwrap_err();
        assert!(matches!(error, Error::InTheWay { .. }), "{error}");
        assert!(target.open_file(&name, 0).is_err());
        assert!(target.create_dir(&name).is_err());
        assert!(target.remove_tree(&name).is_err());
        assert!(target.create_special(&name, &entry(EntryKind::Fifo, 0o777)).is_err());
        assert!(target.set_metadata(&name, &entry(EntryKind::File, 0o777)).is_err());
        assert!(target.create_hard_link(&name, &path("linked")).is_err());
        assert!(target.directory(&name).is_err());
        assert!(target.extraneous(&name, |_| false).is_err());
    }
    let root = target.directory(&RelativePath::root()).unwrap();
    for name in ["file", "dangling"] {
        let name = path(name);
        assert!(matches!(
            target.create_file(&name, 1, Space::Sparse, Existing::Refuse).unwrap_err(),
            Error::Exists { .. }
        ));
        assert!(matches!(target.open_file(&name, 0).unwrap_err(), Error::OtherKind { .. }));
        assert!(target.set_metadata(&name, &entry(EntryKind::File, 0o777)).is_err());
        assert!(target.create_dir(&name).is_err());
        target.write_whole_file(&root, name.as_bytes(), b"mine", &all, Existing::Replace).unwrap();
        assert_eq!(fs::read(dir.path().join(name.as_path())).unwrap(), b"mine");
    }
    for name in [&b".."[..], b".", b"", b"a/b", b"/etc/x"] {
        assert!(target.write_whole_file(&root, name, b"", &all, Existing::Replace).is_err());
    }
    target.remove_tree(&path("a")).unwrap();
    let after = fs::symlink_metadata(outside.path().join("passwd")).unwrap();
    assert_eq!(fs::read(outside.path().join("passwd")).unwrap(), b"untouched");
    assert_eq!((after.mode(), after.ctime_nsec()), (before.mode(), before.ctime_nsec()));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(outside.path().join("dir")).unwrap().count(), 0);
}

#[test]
fn a_directory_swapped_for_a_link_during_the_restore_leads_nowhere() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = Target::open(dir.path()).unwrap();
    target.create_dir(&path("d")).unwrap();
    let handle = target.directory(&path("d")).unwrap();
    let writer = target.create_file(&path("d/first"), 4, Space::Sparse, Existing::Refuse).unwrap();
    fs::rename(dir.path().join("d"), dir.path().join("moved")).unwrap();
    symlink(outside.path(), dir.path().join("d")).unwrap();
    writer.write_at(0, b"1234").unwrap();
    writer.finish(&metadata(0o600)).unwrap();
    target.write_whole_file(&handle, b"second", b"2", &metadata(0o600), Existing::Refuse).unwrap();
    assert!(Target::open(dir.path()).unwrap().directory(&path("d")).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(fs::read(dir.path().join("moved/first")).unwrap(), b"1234");
}

#[test]
fn swapping_all_the_time_never_lets_a_file_out() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("d")).unwrap();
    symlink(outside.path(), dir.path().join("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (d, link) = (dir.path().join("d"), dir.path().join("link"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &d, rustix::fs::CWD, &link, exchange).unwrap();
            }
        });
        let (mut written, mut refused) = (0, 0);
        for number in 0..500_000 {
            if number >= 3000 && written > 0 && refused > 0 {
                break; // on a busy machine the other thread may have slept until here
            }
            let target = Target::open(dir.path()).unwrap();
            match target.create_file(&path(&format!("d/{number}")), 1, Space::Sparse, Existing::Refuse) {
                Ok(_) => written += 1,
                Err(_) => refused += 1,
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(written > 0 && refused > 0, "no race: {written} {refused}");
    });
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_file_is_private_until_it_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    fs::write(dir.path().join("old"), "old").unwrap();
    fs::set_permissions(dir.path().join("old"), fs::Permissions::from_mode(0o666)).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777;
    let new = target.create_file(&path("new"), 3, Space::Reserved, Existing::Refuse).unwrap();
    let old = target.open_file(&path("old"), 3).unwrap();
    target.create_dir(&path("d")).unwrap();
    assert_eq!((mode("new"), mode("old"), mode("d")), (0o600, 0o600, 0o700));
    new.finish(&metadata(0o644)).unwrap();
    assert_eq!(mode("new"), 0o644);
    drop(old);
    assert_eq!(mode("old"), 0o600, "not finished, so still private");
}

#[test]
fn replacing_happens_at_the_end_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    fs::write(dir.path().join("file"), "old").unwrap();
    fs::create_dir(dir.path().join("dir")).unwrap();
    let begin = || target.create_file(&path("file"), 3, Space::Sparse, Existing::Replace).unwrap();
    let writer = begin();
    writer.write_at(0, b"new").unwrap();
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"old");
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside");
    let writer = begin();
    writer.write_at(0, b"new").unwrap();
    writer.finish(&metadata(0o640)).unwrap();
    assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let error = target.create_file(&path("dir"), 3, Space::Sparse, Existing::Replace).unwrap_err();
    assert!(matches!(error, Error::OtherKind { .. }), "{error}");
}

#[test]
fn a_file_with_other_names_is_not_written_into() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("shadow"), "secret").unwrap();
    fs::hard_link(outside.path().join("shadow"), dir.path().join("file")).unwrap();
    let target = Target::open(dir.path()).unwrap();
    assert!(matches!(target.open_file(&path("file"), 0).unwrap_err(), Error::Linked { .. }));
    let before = fs::metadata(outside.path().join("shadow")).unwrap();
    let error = target.set_metadata(&path("file"), &entry(EntryKind::File, 0o777)).unwrap_err();
    assert!(matches!(error, Error::Linked { .. }), "{error}");
    assert_eq!(fs::metadata(outside.path().join("shadow")).unwrap().mode(), before.mode());
    let root = target.directory(&RelativePath::root()).unwrap();
    target.write_whole_file(&root, b"file", b"mine", &metadata(0o600), Existing::Replace).unwrap();
    assert_eq!(fs::read(outside.path().join("shadow")).unwrap(), b"secret");
}

#[test]
fn only_what_differs_is_written_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    fs::write(dir.path().join("file"), [vec![1; 300_000], vec![2; 300_000]].concat()).unwrap();
    let inode = fs::metadata(dir.path().join("file")).unwrap().ino();
    let writer = target.open_file(&path("file"), 500_000).unwrap();
    let mut head = vec![0; 600_000];
    assert_eq!(writer.read_at(0, &mut head).unwrap(), 500_000, "cut to its new size");
    assert!(head[..300_000].iter().all(|&byte| byte == 1));
    writer.write_at(400_000, &[3; 1000]).unwrap();
    writer.write_hole(0, 262_144).unwrap();
    assert!(matches!(writer.write_at(499_999, b"ab").unwrap_err(), Error::PastEnd { .. }));
    assert!(writer.write_at(u64::MAX, b"a").is_err());
    writer.finish(&metadata(0o644)).unwrap();
    let expected =
        [vec![0; 262_144], vec![1; 37_856], vec![2; 100_000], vec![3; 1000], vec![2; 99_000]].concat();
    assert!(fs::read(dir.path().join("file")).unwrap() == expected);
    let stat = fs::metadata(dir.path().join("file")).unwrap();
    assert_eq!((stat.ino(), stat.mtime(), stat.mtime_nsec()), (inode, 1, 2));
}

#[test]
fn many_writers_in_many_threads_with_few_descriptors() {
    const FILES: usize = 1500;
    const PIECES: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    let mut writers = Vec::new();
    for number in 0..FILES {
        let parent = path(&format!("d{}", number % 400));
        target.create_dir(&parent).unwrap();
        let name = parent.join(format!("f{number}").as_bytes()).unwrap();
        writers
            .push(target.create_file(&name, (PIECES * 16) as u64, Space::Sparse, Existing::Refuse).unwrap());
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writers = &writers;
            scope.spawn(move || {
                for piece in (thread..PIECES).step_by(4).rev() {
                    for (number, writer) in writers.iter().enumerate() {
                        let text = format!("{number:08}{piece:08}");
                        writer.write_at((piece * 16) as u64, text.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() < 600);
    for writer in writers {
        writer.finish(&metadata(0o600)).unwrap();
    }
    for number in 0..FILES {
        let expected: String = (0..PIECES).map(|piece| format!("{number:08}{piece:08}")).collect();
        assert_eq!(
            fs::read_to_string(dir.path().join(format!("d{}/f{number}", number % 400))).unwrap(),
            expected
        );
    }
}

#[test]
fn a_file_swapped_while_it_was_closed_is_not_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    let first = target.create_file(&path("first"), 1, Space::Sparse, Existing::Refuse).unwrap();
    let others: Vec<_> = (0..300)
        .map(|n| target.create_file(&path(&format!("{n}")), 1, Space::Sparse, Existing::Refuse).unwrap())
        .collect();
    fs::write(dir.path().join("other"), "x").unwrap();
    fs::rename(dir.path().join("other"), dir.path().join("first")).unwrap();
    assert!(matches!(first.write_at(0, b"y").unwrap_err(), Error::Replaced { .. }));
    assert_eq!(others.len(), 300);
}

#[test]
fn a_default_acl_of_the_directory_does_not_reach_what_is_restored() {
    let (from, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Tree::sample(from.path(), 1).unwrap();
    let mut acl = [0; 1024];
    let name = "system.posix_acl_default";
    let len = rustix::fs::getxattr(from.path().join("attributes/directory"), name, &mut acl[..]).unwrap();
    rustix::fs::setxattr(dir.path(), name, &acl[..len], rustix::fs::XattrFlags::empty()).unwrap();
    let target = Target::open(dir.path()).unwrap();
    let root = target.directory(&RelativePath::root()).unwrap();
    target.write_whole_file(&root, b"file", b"", &metadata(0o640), Existing::Refuse).unwrap();
    target.create_dir(&path("sub")).unwrap();
    target.set_metadata(&path("sub"), &entry(EntryKind::Directory, 0o750)).unwrap();
    for (name, mode) in [("file", 0o640), ("sub", 0o750)] {
        let mut list = [0; 1024];
        assert_eq!(rustix::fs::listxattr(dir.path().join(name), &mut list[..]).unwrap(), 0, "{name}");
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777, mode);
    }
}

#[test]
fn a_tree_is_removed_but_not_what_its_links_point_to() {
    let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("kept"), "").unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    Tree::sample(&dir.path().join("t"), 1).unwrap();
    symlink(outside.path(), dir.path().join("t/out")).unwrap();
    let target = Target::open(dir.path()).unwrap();
    target.directory(&path("t/plain")).unwrap();
    target.remove_tree(&path("t")).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(outside.path().join("kept").exists());
    assert!(target.directory(&path("t/plain")).is_err(), "the open directory is forgotten");
}

#[test]
fn a_socket_is_refused_with_its_own_error() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    let error = target.create_special(&path("s"), &entry(EntryKind::Socket, 0)).unwrap_err();
    assert!(matches!(error, Error::SocketNotRestored { .. }));
}

/// As nobody: over a read-only tree, with owners that cannot be set, and a device that cannot be made.
#[test]
fn without_rights_owners_are_lost_once_and_read_only_directories_are_no_hindrance() {
    const PLACE: &str = "RESTORE_AS_NOBODY";
    const NAME: &str = "without_rights_owners_are_lost_once_and_read_only_directories_are_no_hindrance";
    let Some(place) = std::env::var_os(PLACE) else {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        return nobody::again_as_nobody(NAME, PLACE, dir.path());
    };
    let place = Path::new(&place).join("target");
    for (dir, mode) in [("closed", 0o000), ("read only/in", 0o555), ("read only", 0o555)] {
        fs::create_dir_all(place.join(dir)).unwrap();
        fs::set_permissions(place.join(dir), fs::Permissions::from_mode(mode)).unwrap();
    }
    let target = Target::open(&place).unwrap();
    let mut foreign = metadata(0o4755);
    (foreign.uid, foreign.gid) = (12, 13);
    foreign.xattrs = vec![
        model::entry::Xattr { name: "trusted.x".into(), value: b"1".to_vec() },
        model::entry::Xattr { name: "user.x".into(), value: b"1".to_vec() },
    ];
    for dir in ["closed", "read only/in", "read only"] {
        let handle = target.directory(&path(dir)).unwrap();
        target.write_whole_file(&handle, b"file", b"contents", &foreign, Existing::Refuse).unwrap();
        let stat = fs::metadata(place.join(dir).join("file")).unwrap();
        assert_eq!(stat.mode() & 0o7777, 0o755, "suid is not given to another owner");
    }
    let mut plain = metadata(0o444);
    plain.xattrs = vec![model::entry::Xattr { name: "user.x".into(), value: b"1".to_vec() }];
    let root = target.directory(&RelativePath::root()).unwrap();
    target.write_whole_file(&root, b"read only file", b"", &plain, Existing::Refuse).unwrap();
    let losses = target.take_losses();
    let told: Vec<_> = losses.iter().map(|loss| (loss.what.clone(), loss.count)).collect();
    assert_eq!(told, [(Lost::Owner, 3), (Lost::Attributes("trusted".into()), 3)]);
    assert!(losses[0].to_string().starts_with("owner not restored (3 times, first of /"), "{}", losses[0]);
    assert_eq!(target.take_losses().len(), 0);
    let device = entry(EntryKind::CharDevice { device: 1 }, 0o600);
    let error = target.create_special(&path("device"), &device).unwrap_err();
    assert!(matches!(error, Error::DeviceNotPermitted { .. }), "{error}");
    target.open_file(&path("read only file"), 3).unwrap().finish(&plain).unwrap();
    target.set_metadata(&path("read only"), &entry(EntryKind::Directory, 0o555)).unwrap();
    assert_eq!(fs::metadata(place.join("read only")).unwrap().mode() & 0o7777, 0o555);
    target.remove_tree(&path("read only")).unwrap();
    target.remove_tree(&path("closed")).unwrap();
}

#[test]
fn the_judge_would_have_seen_a_missing_hole() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::File::create(from.path().join("f")).unwrap().set_len(1 << 20).unwrap();
    let target = Target::open(to.path()).unwrap();
    let entry = target.look_at(&RelativePath::root(), &Owners::default()).unwrap().unwrap();
    let writer = target.create_file(&path("f"), 1 << 20, Space::Reserved, Existing::Refuse).unwrap();
    writer.finish(&entry.metadata).unwrap();
    assert!(differences(from.path(), to.path()).iter().any(|line| line.contains("holes should be")));
}
