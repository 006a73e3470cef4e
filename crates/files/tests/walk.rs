//! Walking real directories: order, completeness, oddities, and what is left out.

mod nobody;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use files::error::Error;
use files::exclude::Excludes;
use files::owner::Owners;
use files::walk::{Event, Walk};
use model::entry::{Entry, EntryKind};
use testkit::tree::Tree;

fn walk(root: &Path, excludes: Excludes) -> Walk {
    Walk::open(root, excludes, Arc::new(Owners::parse(b"root:x:0:", b"root:x:0:"))).expect("root opens")
}

/// One line per event: `+` enter, `-` leave, `!` problem.
fn story(walk: &mut Walk) -> Vec<String> {
    walk.map(|event| match event {
        Event::Enter { path, .. } => format!("+{path}"),
        Event::Entry { path, .. } => path.to_string(),
        Event::Leave { path } => format!("-{path}"),
        Event::Problem { path, error } => format!("!{path}: {error}"),
    })
    .collect()
}

fn entries(walk: Walk) -> Vec<(Vec<u8>, Entry)> {
    walk.filter_map(|event| match event {
        Event::Enter { path, entry } | Event::Entry { path, entry } => {
            Some((path.as_bytes().to_vec(), entry))
        }
        Event::Leave { .. } => None,
        Event::Problem { path, error } => panic!("{path}: {error}"),
    })
    .collect()
}

#[test]
fn depth_first_and_names_in_the_order_of_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["b/inside", "b/z/deep", "c/", "B"] {
        let path = dir.path().join(path);
        if path.to_string_lossy().ends_with('/') {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    fs::write(dir.path().join("b-"), "").unwrap();
    fs::write(dir.path().join("b0"), "").unwrap();
    let expected =
        ["+.", "B", "+b", "b/inside", "+b/z", "b/z/deep", "-b/z", "-b", "b-", "b0", "+c", "-c", "-."];
    assert_eq!(story(&mut walk(dir.path(), Excludes::nothing())), expected);
}

#[test]
fn every_entry_of_the_sample_is_met_once_and_as_lstat_sees_it() {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::sample(dir.path(), 1).unwrap();
    let met = entries(walk(dir.path(), Excludes::nothing()));
    let mut kinds = std::collections::BTreeMap::new();
    for (path, entry) in &met {
        let full = dir.path().join(OsStr::from_bytes(path));
        let stat = fs::symlink_metadata(&full).unwrap();
        let m = &entry.metadata;
        assert_eq!((m.mode, m.uid, m.gid), (stat.mode() & 0o7777, stat.uid(), stat.gid()), "{full:?}");
        assert_eq!((m.inode, m.device_id, m.links), (stat.ino(), stat.dev(), stat.nlink()), "{full:?}");
        let nanoseconds = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
        assert_eq!(m.mtime.as_nanosecond(), nanoseconds, "{full:?}");
        assert_eq!(m.size, if stat.is_file() { stat.len() } else { 0 }, "{full:?}");
        assert_eq!(m.user, if m.uid == 0 { "root" } else { "" });
        if !path.is_empty() {
            assert_eq!(entry.name, full.file_name().unwrap().as_bytes());
        }
        let kind = match &entry.kind {
            EntryKind::Symlink { target } => {
                assert_eq!(target, fs::read_link(&full).unwrap().as_os_str().as_bytes());
                "link"
            }
            EntryKind::CharDevice { device } | EntryKind::BlockDevice { device } => {
                assert_eq!(*device, stat.rdev());
                "device"
            }
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Fifo => "fifo",
            EntryKind::Socket => "socket",
        };
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert!(met.iter().any(|(path, _)| path.ends_with(b"\xff\xfe not utf-8")));
    let of = |name: &str| &met.iter().find(|(path, _)| path == name.as_bytes()).unwrap().1.metadata;
    assert_eq!(of("plain/one").mtime.as_nanosecond(), -1);
    if tree.xattrs {
        let names: Vec<_> = of("attributes/file").xattrs.iter().map(|x| x.name.as_str()).collect();
        let user: Vec<_> = names.iter().filter(|name| name.starts_with("user.")).copied().collect();
        assert_eq!(user, ["user.bytes", "user.comment", "user.empty"]);
        assert_eq!(names.contains(&"security.capability"), tree.capabilities);
        assert_eq!(of("attributes/directory").xattrs.len(), 1 + usize::from(tree.acls));
    }
    if tree.acls {
        assert_eq!(of("attributes/with acl").xattrs[0].name, "system.posix_acl_access");
    }
    if tree.privileged {
        assert_eq!(kinds["device"], 3);
    }
    assert!(kinds["fifo"] == 1 && kinds["link"] == 8, "{kinds:?}");
    let listed = std::process::Command::new("find").arg(dir.path()).arg("-printf").arg("x").output().unwrap();
    assert_eq!(met.len(), listed.stdout.len());
}

#[test]
fn a_socket_is_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    assert_eq!(entries(walk(dir.path(), Excludes::nothing()))[1].1.kind, EntryKind::Socket);
}

#[test]
fn a_single_file_is_its_own_path() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("alone"), "x").unwrap();
    let mut one = walk(&dir.path().join("alone"), Excludes::nothing());
    assert_eq!(one.root().path(), dir.path());
    assert_eq!(story(&mut one), ["alone"]);
}

#[test]
fn a_link_as_root_is_refused_unless_a_slash_asks_to_follow_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/file"), "").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let error = Walk::open(&dir.path().join("link"), Excludes::nothing(), Arc::default()).err().unwrap();
    assert!(error.to_string().ends_with("/link is a symbolic link to real"), "{error}");
    assert_eq!(story(&mut walk(&dir.path().join("link/"), Excludes::nothing())), ["+.", "file", "-."]);
    let error = Walk::open(&dir.path().join("none"), Excludes::nothing(), Arc::default()).err().unwrap();
    assert_eq!(error.kind(), Some(std::io::ErrorKind::NotFound));
}

#[test]
fn patterns_leave_out_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a.tmp", "keep/a.tmp", "keep/b", "target/x/y", "keep/target"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let mut walk = walk(dir.path(), Excludes::new(["*.tmp", "target/"]).unwrap());
    assert_eq!(story(&mut walk), ["+.", "+keep", "keep/b", "keep/target", "-keep", "-."]);
    assert_eq!(walk.excluded(), 3);
}

#[test]
fn of_a_marked_cache_only_the_directory_and_the_mark_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for (cache, mark) in
        [("real", "Signature: 8a477f597d28d172789f06886806bc55\n# more"), ("fake", "Signature: no")]
    {
        fs::create_dir_all(dir.path().join(cache).join("sub")).unwrap();
        fs::write(dir.path().join(cache).join("CACHEDIR.TAG"), mark).unwrap();
    }
    assert_eq!(walk(dir.path(), Excludes::nothing()).filter(|e| matches!(e, Event::Enter { .. })).count(), 5);
    let mut walk = walk(dir.path(), Excludes::nothing().without_caches());
    let fake = ["+fake", "fake/CACHEDIR.TAG", "+fake/sub", "-fake/sub", "-fake"];
    let expected = [&["+."][..], &fake, &["+real", "real/CACHEDIR.TAG", "-real", "-."]].concat();
    assert_eq!(story(&mut walk), expected);
    assert_eq!(walk.excluded(), 1);
}

#[test]
fn one_file_system_keeps_the_mount_point_and_nothing_in_it() {
    let excludes = Excludes::new(["*", "!pts"]).unwrap();
    let is_mount = fs::metadata("/dev/pts").unwrap().dev() != fs::metadata("/dev").unwrap().dev();
    assert!(is_mount, "this test needs a mounted /dev/pts");
    let across = story(&mut walk(Path::new("/dev"), excludes.clone()));
    assert_eq!(across, ["+.", "+pts", "-pts", "-."], "the patterns hold below as well");
    let here = story(&mut walk(Path::new("/dev"), Excludes::new(["*", "!pts", "!pts/*"]).unwrap()));
    assert!(here.len() > 4, "{here:?}");
    let excludes = Excludes::new(["*", "!pts", "!pts/*"]).unwrap().on_one_file_system();
    assert_eq!(story(&mut walk(Path::new("/dev"), excludes)), ["+.", "+pts", "-pts", "-."]);
    let pts = story(&mut walk(Path::new("/dev/pts"), Excludes::nothing().on_one_file_system()));
    assert!(pts.contains(&"ptmx".to_owned()), "the root itself is not foreign: {pts:?}");
}

#[test]
fn what_vanishes_after_the_listing_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "gone", "z"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    fs::create_dir(dir.path().join("gone dir")).unwrap();
    let mut walk = walk(dir.path(), Excludes::nothing());
    assert!(matches!(walk.next(), Some(Event::Enter { .. })));
    fs::remove_file(dir.path().join("gone")).unwrap();
    fs::remove_dir(dir.path().join("gone dir")).unwrap();
    let problems: Vec<_> = walk
        .by_ref()
        .filter_map(|event| match event {
            Event::Problem { path, error: Error::Vanished { .. } } => Some(path.to_string()),
            Event::Problem { error, .. } => panic!("{error}"),
            _ => None,
        })
        .collect();
    assert_eq!(problems, ["gone", "gone dir"]);
}

#[test]
fn a_directory_swapped_for_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    let mut walk = walk(dir.path(), Excludes::nothing());
    walk.next();
    fs::remove_dir(dir.path().join("d")).unwrap();
    symlink("/etc", dir.path().join("d")).unwrap();
    match walk.next() {
        Some(Event::Entry { entry, .. }) => {
            assert_eq!(entry.kind, EntryKind::Symlink { target: b"/etc".to_vec() })
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn very_deep_trees_do_not_exhaust_descriptors() {
    const DEPTH: usize = 1500;
    let dir = tempfile::tempdir().unwrap();
    let mut here = fs::File::open(dir.path()).unwrap();
    for _ in 0..DEPTH {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkdirat(&here, "deeper", mode).unwrap();
        rustix::fs::symlinkat("x", &here, "zz after").unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        here = rustix::fs::openat(&here, "deeper", flags, rustix::fs::Mode::empty()).unwrap().into();
    }
    let mut open_max = 0;
    let (mut entered, mut after) = (0, 0);
    for (number, event) in walk(dir.path(), Excludes::nothing()).enumerate() {
        match event {
            Event::Enter { .. } => entered += 1,
            Event::Entry { .. } => after += 1,
            Event::Leave { .. } => {}
            Event::Problem { path, error } => panic!("{path}: {error:?}"),
        }
        if number % 100 == 0 {
            open_max = open_max.max(fs::read_dir("/proc/self/fd").unwrap().count());
        }
    }
    assert_eq!((entered, after), (DEPTH + 1, DEPTH));
    assert!(open_max < 250, "{open_max} descriptors");
}

/// Ourselves again as nobody: root may read everything.
#[test]
fn an_unreadable_directory_is_a_problem_and_the_walk_goes_on() {
    const ROOT: &str = "WALK_AS_NOBODY";
    if let Some(root) = std::env::var_os(ROOT) {
        let told = story(&mut walk(Path::new(&root), Excludes::nothing()));
        assert_eq!(told[0..2], ["+.", "+closed"]);
        assert!(told[2].starts_with("!closed: cannot open /"), "{told:?}");
        assert_eq!(told[3..], ["-closed", "open", "-."]);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(dir.path().join("closed")).unwrap();
    fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(dir.path().join("open"), "").unwrap();
    nobody::again_as_nobody("an_unreadable_directory_is_a_problem_and_the_walk_goes_on", ROOT, dir.path());
}
