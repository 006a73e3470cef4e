//! What every origin promises, tried out on a directory that the suite fills: whoever implements
//! [`Origin`](crate::origin::Origin) runs it.
//!
//! Panics are its verdicts. What a protocol cannot tell is said by [`Habits`], and nothing else is let pass.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use model::entry::{Entry, EntryKind};

use crate::exclude::Excludes;
use crate::origin::Opened;
use crate::read::{Extent, Steadiness};
use crate::relative::RelativePath;
use crate::walk::Event;

/// What the way to the directory cannot tell.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Links are told from what they point to.
    pub tells_links: bool,
    /// Permission bits are told.
    pub tells_modes: bool,
    /// Names need not be text.
    pub takes_any_bytes: bool,
    /// What was written while a file was read, over bytes that were there, is noticed.
    pub tells_changes: bool,
    /// Times are told in steps of so many seconds.
    pub step_seconds: i64,
}

impl Habits {
    /// Everything is told, as by a file system.
    pub const ALL: Self = Self {
        tells_links: true,
        tells_modes: true,
        takes_any_bytes: true,
        tells_changes: true,
        step_seconds: 1,
    };
}

/// Two years ago, so that even listings by the day tell it apart from now; no whole minute.
const AGE: Duration = Duration::from_secs(2 * 365 * 86_400 + 17);
/// More than any connection holds back.
const LARGE: usize = 8 << 20;
/// Opens the directory anew.
type Open<'a> = &'a dyn Fn(Excludes) -> Opened;

/// Run all of it in the empty directory `place`, which `open` opens.
///
/// # Panics
/// Where something does not hold.
pub fn run(place: &Path, open: Open<'_>, habits: Habits) {
    walks_in_the_order_of_bytes(place, open, habits);
    leaves_out_what_it_is_told_to(place, open);
    reads_every_byte(place, open);
    links_are_links(place, open, habits);
    odd_names(place, open, habits);
    tells_what_does_not_hold_still(place, open, habits);
}

fn clear(place: &Path) {
    for entry in fs::read_dir(place).expect("a directory").flatten() {
        let is_dir = entry.file_type().expect("a kind").is_dir();
        let path = entry.path();
        if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("removed");
    }
}

fn plant(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a place")).expect("directories");
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("a mode");
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - AGE).expect("a time");
}

/// One line per event: `+` enter, `-` leave, `!` problem.
fn story(opened: Opened) -> Vec<String> {
    opened.walk.map(|event| line(&event)).collect()
}

fn line(event: &Event) -> String {
    match event {
        Event::Enter { path, .. } => format!("+{path}"),
        Event::Entry { path, .. } => path.to_string(),
        Event::Leave { path } => format!("-{path}"),
        Event::Problem { path, error } => format!("!{path}: {error}"),
    }
}

fn entries(opened: &mut Opened) -> BTreeMap<RelativePath, Entry> {
    let entry = |event| match event {
        Event::Enter { path, entry } | Event::Entry { path, entry } => Some((path, entry)),
        Event::Leave { .. } => None,
        Event::Problem { path, error } => panic!("{path}: {error}"),
    };
    opened.walk.by_ref().filter_map(entry).collect()
}

fn walks_in_the_order_of_bytes(place: &Path, open: Open<'_>, habits: Habits) {
    clear(place);
    for (path, content) in [("b/inside", "one"), ("b/z/deep", ""), ("B", "22"), ("b-", ""), ("b0", "")] {
        plant(&place.join(path), content.as_bytes());
    }
    for hidden in ["c", ".hidden", "c/.e"] {
        fs::create_dir_all(place.join(hidden)).expect("a directory");
    }
    let expected = [
        "+.", "+.hidden", "-.hidden", "B", "+b", "b/inside", "+b/z", "b/z/deep", "-b/z", "-b", "b-", "b0",
        "+c", "+c/.e", "-c/.e", "-c", "-.",
    ];
    assert_eq!(story(open(Excludes::nothing())), expected);
    for (path, entry) in entries(&mut open(Excludes::nothing())) {
        let stat = fs::symlink_metadata(place.join(path.as_path())).expect("it is there");
        assert_eq!(entry.is_dir(), stat.is_dir(), "{path}");
        if !entry.is_file() {
            continue;
        }
        assert_eq!(path.split().map(|(_, name)| name.to_vec()), Some(entry.name.clone()));
        assert_eq!(entry.metadata.size, stat.len(), "{path}");
        if habits.tells_modes {
            assert_eq!(entry.metadata.mode, stat.permissions().mode() & 0o7777, "{path}");
        }
        let modified = stat.modified().expect("a time").duration_since(SystemTime::UNIX_EPOCH).expect("late");
        let told = entry.metadata.mtime.as_second();
        let apart = i64::try_from(modified.as_secs()).expect("a time") - told;
        assert!((0..habits.step_seconds).contains(&apart), "{path}: {apart} s");
    }
}

fn leaves_out_what_it_is_told_to(place: &Path, open: Open<'_>) {
    clear(place);
    for path in ["keep/a.txt", "keep/b.tmp", "cache/x", "cache/deep/y"] {
        plant(&place.join(path), b"x");
    }
    let mut opened = open(Excludes::new(["*.tmp", "/cache/"]).expect("patterns"));
    let told: Vec<_> = opened.walk.by_ref().map(|event| line(&event)).collect();
    assert_eq!(told, ["+.", "+keep", "keep/a.txt", "-keep", "-."]);
    assert_eq!(opened.walk.excluded(), 2);
}

fn reads_every_byte(place: &Path, open: Open<'_>) {
    clear(place);
    let noise =
        |len: u32| (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>();
    for len in [0, 1, 4096, 3 << 20] {
        plant(&place.join(format!("file-{len}")), &noise(len));
    }
    let mut opened = open(Excludes::nothing());
    let files: Vec<_> = entries(&mut opened).into_iter().filter(|(_, entry)| entry.is_file()).collect();
    assert_eq!(files.len(), 4);
    std::thread::scope(|scope| {
        for (path, entry) in &files {
            let opened = &opened.origin;
            scope.spawn(move || {
                let mut file = opened.open(path, entry).expect("opens");
                let mut found = vec![];
                while let Some(extent) = file.next_extent().expect("an extent") {
                    let Extent::Data { offset, len } = extent else { panic!("{path} has no holes") };
                    assert_eq!(offset, found.len() as u64, "{path}");
                    let end = offset + len;
                    while (found.len() as u64) < end {
                        let mut buffer = vec![0; 100_000.min((end - found.len() as u64) as usize)];
                        let count = file.read_at(found.len() as u64, &mut buffer).expect("read");
                        assert_eq!(count, buffer.len(), "{path}");
                        found.extend_from_slice(&buffer);
                    }
                }
                assert!(found == fs::read(place.join(path.as_path())).expect("read"), "{path}");
                assert_eq!(file.entry().metadata.size, found.len() as u64);
                assert_eq!(file.finish().expect("finished"), Steadiness::Unchanged, "{path}");
            });
        }
    });
}

fn links_are_links(place: &Path, open: Open<'_>, habits: Habits) {
    if !habits.tells_links {
        return;
    }
    clear(place);
    plant(&place.join("there/file"), b"x");
    let links =
        [("dangling", "no/where"), ("loop", "."), ("to-dir", "there"), ("to-file", "there/file -> x")];
    for (name, target) in links {
        symlink(target, place.join(name)).expect("a link");
    }
    let mut opened = open(Excludes::nothing());
    let found = entries(&mut opened);
    for (name, target) in links {
        let entry = &found[&RelativePath::parse(name).expect("a path")];
        assert_eq!(entry.kind, EntryKind::Symlink { target: target.into() }, "{name}");
        assert_eq!(entry.metadata.size, 0, "{name}");
    }
    assert_eq!(found.len(), links.len() + 3, "what they point to is not walked again");
}

fn odd_names(place: &Path, open: Open<'_>, habits: Habits) {
    clear(place);
    let mut names: Vec<&[u8]> = vec![
        b" leading",
        b"trailing ",
        b"-l",
        b"*",
        b"[a-z]",
        b"a -> b",
        b"two  spaces",
        b"\"quoted\"",
        b"back\\slash",
        b"...",
        b"#x;y=z",
        "\u{e9}".as_bytes(),
    ];
    if habits.takes_any_bytes {
        names.extend([&b"\xff\xfe"[..], b"caf\xe9"]);
    }
    for name in &names {
        plant(&place.join(OsStr::from_bytes(name)), name);
    }
    fs::create_dir(place.join("d [x]*")).expect("a directory");
    plant(&place.join("d [x]*/inside"), b"inside");
    let mut opened = open(Excludes::nothing());
    let found = entries(&mut opened);
    for name in names {
        let path = RelativePath::root().join(name).expect("a plain name");
        let mut file = opened.origin.open(&path, &found[&path]).expect("opens");
        let mut content = vec![0; name.len()];
        assert_eq!(file.read_at(0, &mut content).expect("read"), name.len(), "{path}");
        assert_eq!(content, name);
        assert_eq!(file.finish().expect("finished"), Steadiness::Unchanged, "{path}");
    }
    assert!(found.contains_key(&RelativePath::parse("d [x]*/inside").expect("a path")));
}

fn tells_what_does_not_hold_still(place: &Path, open: Open<'_>, habits: Habits) {
    clear(place);
    for name in ["before", "gone", "swapped"] {
        plant(&place.join(name), b"as it was");
    }
    plant(&place.join("during"), &[7; LARGE]);
    let mut opened = open(Excludes::nothing());
    let found = entries(&mut opened);
    fs::write(place.join("before"), b"longer than it was").expect("written");
    fs::remove_file(place.join("gone")).expect("removed");
    fs::remove_file(place.join("swapped")).expect("removed");
    fs::create_dir(place.join("swapped")).expect("made");
    let at = |name: &str| {
        let path = RelativePath::parse(name).expect("a path");
        opened.origin.open(&path, &found[&path])
    };
    let read = |file: &mut dyn crate::origin::Contents| {
        let mut content = vec![0; 100];
        let count = file.read_at(0, &mut content).expect("read");
        content.truncate(count);
        content
    };
    let mut before = at("before").expect("opens");
    assert_eq!((read(&mut *before), before.entry().metadata.size), (b"longer than it was".to_vec(), 18));
    assert_eq!(before.finish().expect("finished"), Steadiness::Unchanged, "it changed before it was opened");
    let mut during = at("during").expect("opens");
    assert_eq!(read(&mut *during), [7; 100]);
    let file = fs::File::options().write(true).open(place.join("during")).expect("opened");
    file.write_all_at(b"8", LARGE as u64 - 1).expect("written");
    let mut rest = vec![0; LARGE - 100];
    assert_eq!(during.read_at(100, &mut rest).expect("read"), rest.len());
    let steadiness = during.finish().expect("finished");
    assert!(!habits.tells_changes || steadiness != Steadiness::Unchanged);
    for name in ["gone", "swapped"] {
        let error = at(name).and_then(|mut file| file.read_at(0, &mut [0; 9])).expect_err(name);
        assert!(!error.is_lost(), "{error}");
    }
    // The others are not disturbed.
    let mut before = at("before").expect("opens");
    assert_eq!(read(&mut *before), b"longer than it was");
}
