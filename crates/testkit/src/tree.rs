//! A small nasty directory tree, and a judge that tells whether two trees are the same.
//!
//! The judge looks with its own eyes (`std` and `rustix`), never through the code under test. What it compares: names,
//! kinds, bytes, modes, owners, modification times to the nanosecond, extended attributes, link targets, groups of hard
//! links, devices, and roughly where files have holes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};

/// Holes smaller than this may be filled by a restore without anybody minding.
const HOLE_SLACK_BYTES: u64 = 64 * 1024;
/// Differences shown before the rest is only counted.
const SHOWN_MAX: usize = 20;

/// What [`Tree::sample`] could build here; the rest was not permitted or not supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Owners other than our own, and device nodes: needs root.
    pub privileged: bool,
    /// `user.*` attributes.
    pub xattrs: bool,
    /// POSIX ACLs.
    pub acls: bool,
    /// File capabilities.
    pub capabilities: bool,
}

impl Tree {
    /// Fill the existing directory `dir`; the same seed gives the same contents.
    pub fn sample(dir: &Path, seed: u64) -> io::Result<Tree> {
        let mut tree = Tree { privileged: rustix::process::geteuid().is_root(), ..Tree::default() };
        let mut random = Random(seed | 1);
        plain_files(dir, &mut random)?;
        odd_names(dir)?;
        sparse_files(dir, &mut random)?;
        links(dir)?;
        special_files(dir, &mut tree)?;
        odd_modes(dir)?;
        attributes(dir, &mut tree)?;
        if tree.privileged {
            owners(dir)?;
        }
        odd_times(dir)?;
        Ok(tree)
    }
}

/// Small and good enough for bytes (xorshift64*).
struct Random(u64);

impl Random {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            bytes.extend_from_slice(&self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

fn plain_files(dir: &Path, random: &mut Random) -> io::Result<()> {
    fs::create_dir_all(dir.join("plain/deep/er/and/deeper"))?;
    fs::create_dir_all(dir.join("plain/empty directory"))?;
    for (name, len) in
        [("empty", 0), ("one", 1), ("block", 4096), ("odd", 4097), ("middle", 100_000), ("large", 3_000_001)]
    {
        fs::write(dir.join("plain").join(name), random.bytes(len))?;
    }
    fs::write(dir.join("plain/deep/er/and/deeper/zeros"), vec![0; 20_000])?;
    for number in 0..50 {
        fs::write(dir.join("plain/deep/er").join(format!("small {number}")), random.bytes(number * 37))?;
    }
    Ok(())
}

fn odd_names(dir: &Path) -> io::Result<()> {
    let names = dir.join("names");
    fs::create_dir(&names)?;
    let long = [b'x'; 255];
    for name in [
        &b"with space"[..],
        b"new\nline",
        b"tab\t",
        b"-rf",
        b"*",
        b"quote'\"",
        b"back\\slash",
        b"...",
        b" ",
        b"\x01",
        b"\xff\xfe not utf-8",
        "gr\u{fc}n \u{1f40e}".as_bytes(),
        b"#hash",
        b"!bang",
        b"A",
        b"a",
        b"a.",
        b"a!",
        &long[..],
    ] {
        fs::write(names.join(OsStr::from_bytes(name)), name)?;
    }
    // Sorted by bytes these three interleave with what lies in the middle one.
    fs::create_dir(names.join("b"))?;
    fs::write(names.join("b/inside"), "inside")?;
    fs::write(names.join("b-"), "b-")?;
    fs::write(names.join("b0"), "b0")?;
    fs::create_dir(names.join(OsStr::from_bytes(b"\xc3(dir")))?;
    fs::write(names.join(OsStr::from_bytes(b"\xc3(dir")).join("inside"), "")
}

fn sparse_files(dir: &Path, random: &mut Random) -> io::Result<()> {
    const STEP: u64 = 1 << 20;
    fs::create_dir(dir.join("sparse"))?;
    for (name, size, data_at) in [
        ("hole only", 5 * STEP, &[][..]),
        ("hole first", 4 * STEP, &[3 * STEP]),
        ("hole last", 4 * STEP, &[0]),
        ("hole in the middle", 5 * STEP, &[0, 4 * STEP]),
        ("holes everywhere", 9 * STEP + 17, &[STEP, 4 * STEP, 8 * STEP]),
    ] {
        let file = fs::File::create(dir.join("sparse").join(name))?;
        file.set_len(size)?;
        for offset in data_at {
            file.write_all_at(&random.bytes(10_000), *offset)?;
        }
        file.sync_all()?; // so that allocated blocks are counted
    }
    Ok(())
}

fn links(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir.join("links"))?;
    for (name, target) in [
        ("to file", &b"../plain/one"[..]),
        ("to directory", b"../plain"),
        ("dangling", b"nowhere/at all"),
        ("absolute", b"/etc/passwd"),
        ("itself", b"itself"),
        ("upward", b"../../../../.."),
        ("bytes", b"\xff\xfe"),
    ] {
        symlink(OsStr::from_bytes(target), dir.join("links").join(name))?;
    }
    symlink("l".repeat(2000), dir.join("links/long"))?;
    fs::write(dir.join("links/first name"), "many names, one file")?;
    fs::hard_link(dir.join("links/first name"), dir.join("links/second name"))?;
    fs::hard_link(dir.join("links/first name"), dir.join("names/third name"))?;
    fs::hard_link(dir.join("plain/large"), dir.join("links/also large"))
}

fn special_files(dir: &Path, tree: &mut Tree) -> io::Result<()> {
    let special = dir.join("special");
    fs::create_dir(&special)?;
    mknodat(CWD, special.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    if tree.privileged {
        for (name, kind, device) in [
            ("null", FileType::CharacterDevice, makedev(1, 3)),
            ("big numbers", FileType::CharacterDevice, makedev(4000, 70_000)),
            ("block", FileType::BlockDevice, makedev(7, 200)),
        ] {
            let made = mknodat(CWD, special.join(name), kind, Mode::from_raw_mode(0o600), device);
            tree.privileged &= made.is_ok(); // containers forbid it even to root
        }
    }
    Ok(())
}

fn odd_modes(dir: &Path) -> io::Result<()> {
    let modes = dir.join("modes");
    fs::create_dir(&modes)?;
    for mode in [0o000, 0o400, 0o200, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o600] {
        let path = modes.join(format!("{mode:04o}"));
        fs::write(&path, format!("{mode:o}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for mode in [0o555, 0o1777, 0o2775, 0o700] {
        let path = modes.join(format!("dir {mode:04o}"));
        fs::create_dir(&path)?;
        fs::write(path.join("inside"), "inside")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn attributes(dir: &Path, tree: &mut Tree) -> io::Result<()> {
    let place = dir.join("attributes");
    fs::create_dir_all(place.join("directory"))?;
    fs::write(place.join("file"), "with attributes")?;
    fs::write(place.join("with acl"), "with acl")?;
    fs::write(place.join("read only"), "read only")?;
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::setxattr(place.join(name), key, value, XattrFlags::empty()).is_ok()
    };
    tree.xattrs = set("file", "user.comment", b"hello")
        && set("file", "user.bytes", &[0, 255, 10, 0])
        && set("file", "user.empty", b"")
        && set("directory", "user.of directory", &[7; 1000])
        && set("read only", "user.kept", b"though read only");
    tree.acls = set("with acl", "system.posix_acl_access", &acl(0o6))
        && set("directory", "system.posix_acl_default", &acl(0o7));
    // VFS_CAP_REVISION_2, effective; CAP_NET_RAW.
    let capability = [[1, 0, 0, 2], [0, 32, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    tree.capabilities = set("file", "security.capability", &capability);
    fs::set_permissions(place.join("read only"), fs::Permissions::from_mode(0o444))
}

/// As the kernel stores it: owner rw, one named user, group r, mask, others nothing.
fn acl(named_user: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in [
        (0x01u16, 6u16, NOBODY),
        (0x02, named_user, 12_345),
        (0x04, 4, NOBODY),
        (0x10, 7, NOBODY),
        (0x20, 0, NOBODY),
    ] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&rights.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

fn owners(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{chown, lchown};
    chown(dir.join("plain/middle"), Some(12_345), Some(54_321))?;
    chown(dir.join("plain/deep"), Some(1), Some(2))?;
    lchown(dir.join("links/dangling"), Some(77), Some(78))?;
    // With the suid bit, which chown takes away.
    chown(dir.join("modes/4755"), Some(12_345), Some(12_345))?;
    fs::set_permissions(dir.join("modes/4755"), fs::Permissions::from_mode(0o4755))
}

/// Last of all, children before their directories.
fn odd_times(dir: &Path) -> io::Result<()> {
    for (path, seconds, nanoseconds) in [
        ("plain/one", -1, 999_999_999),
        ("plain/odd", -86_400 * 365, 1),
        ("plain/block", 4_000_000_000, 123_456_789),
        ("plain/middle", 0, 0),
        ("links/dangling", 1_000_000_000, 5),
        ("special/fifo", 1_234_567_890, 42),
        ("plain/deep/er/and/deeper", 3, 4),
        ("plain/deep/er", 1, 2),
        ("plain/deep", -5, 6),
        ("modes/dir 0555", 7, 8),
    ] {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, dir.join(path), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Panics with a readable list of what differs.
///
/// # Panics
/// If anything differs, or cannot be read.
#[track_caller]
pub fn assert_same_tree(expected: &Path, actual: &Path) {
    let differences = differences(expected, actual);
    if differences.is_empty() {
        return;
    }
    let mut message = format!("{} and {} differ:\n", expected.display(), actual.display());
    for line in differences.iter().take(SHOWN_MAX) {
        writeln!(message, "  {line}").ok();
    }
    if differences.len() > SHOWN_MAX {
        writeln!(message, "  and {} more", differences.len() - SHOWN_MAX).ok();
    }
    panic!("{message}");
}

/// What differs between two trees, one line each; empty if nothing does.
pub fn differences(expected: &Path, actual: &Path) -> Vec<String> {
    let (wanted, found) = match (survey(expected), survey(actual)) {
        (Ok(wanted), Ok(found)) => (wanted, found),
        (Err(error), _) | (_, Err(error)) => return vec![format!("cannot be read: {error}")],
    };
    let mut lines = Vec::new();
    for (path, looks) in &wanted {
        match found.get(path) {
            None => lines.push(format!("{path:?}: missing")),
            Some(other) => looks.differences(other, path, &mut lines),
        }
    }
    lines.extend(
        found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| format!("{path:?}: extra")),
    );
    lines
}

/// Everything about one path that is compared.
struct Looks {
    facts: Vec<(&'static str, String)>,
    /// Where the contents are, and how many of their bytes are not allocated.
    contents: Option<(PathBuf, u64)>,
}

impl Looks {
    fn differences(&self, other: &Looks, path: &Path, lines: &mut Vec<String>) {
        for ((what, wanted), (_, found)) in self.facts.iter().zip(&other.facts) {
            if wanted != found {
                lines.push(format!("{path:?}: {what} should be {wanted}, is {found}"));
            }
        }
        let (Some((wanted, wanted_hole)), Some((found, found_hole))) = (&self.contents, &other.contents)
        else {
            return;
        };
        if wanted_hole.abs_diff(*found_hole) > HOLE_SLACK_BYTES {
            lines.push(format!("{path:?}: holes should be {wanted_hole} bytes, are {found_hole}"));
        }
        match (fs::read(wanted), fs::read(found)) {
            (Ok(wanted), Ok(found)) => {
                if let Some(at) = wanted.iter().zip(&found).position(|(a, b)| a != b) {
                    lines.push(format!("{path:?}: contents differ from byte {at} on"));
                }
            }
            (Err(error), _) | (_, Err(error)) => lines.push(format!("{path:?}: cannot be read: {error}")),
        }
    }
}

fn survey(root: &Path) -> io::Result<BTreeMap<PathBuf, Looks>> {
    let mut survey = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = if path.as_os_str().is_empty() { root.to_path_buf() } else { root.join(&path) };
        if fs::symlink_metadata(&full)?.is_dir() {
            let mut children = Vec::new();
            for entry in fs::read_dir(&full)? {
                children.push(path.join(entry?.file_name()));
            }
            children.sort_by(|a, b| b.cmp(a));
            left.extend(children);
        }
        let looks = look(&full, &path, &mut first_names)?;
        survey.insert(path, looks);
    }
    Ok(survey)
}

/// `first_names` knows under which path each inode with several names was met first.
fn look(full: &Path, path: &Path, first_names: &mut BTreeMap<(u64, u64), PathBuf>) -> io::Result<Looks> {
    let stat = fs::symlink_metadata(full)?;
    let kind = stat.file_type();
    let mut facts = vec![
        ("kind", format!("{kind:?}")),
        ("mode", format!("{:o}", stat.mode() & 0o7777)),
        ("owner", format!("{}:{}", stat.uid(), stat.gid())),
        ("mtime", format!("{}.{:09}", stat.mtime(), stat.mtime_nsec())),
        ("attributes", attributes_of(full)?),
    ];
    if kind.is_symlink() {
        facts.push(("target", format!("{:?}", fs::read_link(full)?)));
    }
    if kind.is_char_device() || kind.is_block_device() {
        facts.push(("device", format!("{:#x}", stat.rdev())));
    }
    if !kind.is_dir() && stat.nlink() > 1 {
        let first = first_names.entry((stat.dev(), stat.ino())).or_insert_with(|| path.to_path_buf());
        facts.push(("first name", format!("{first:?} of {}", stat.nlink())));
    } else {
        facts.push(("first name", "itself".to_owned()));
    }
    if !kind.is_file() {
        return Ok(Looks { facts, contents: None });
    }
    facts.push(("size", stat.len().to_string()));
    let holes = stat.len().saturating_sub(stat.blocks() * 512);
    Ok(Looks { facts, contents: Some((full.to_path_buf(), holes)) })
}

fn attributes_of(full: &Path) -> io::Result<String> {
    let mut names = vec![0; 65_536];
    let len = match rustix::fs::llistxattr(full, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        outcome => outcome?,
    };
    let mut all = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(full, name, &mut value[..])?;
        all.insert(String::from_utf8_lossy(name).into_owned(), value[..len].escape_ascii().to_string());
    }
    Ok(format!("{all:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_the_same_as_itself_and_two_of_one_seed_differ_only_in_times() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tree = Tree::sample(a.path(), 7).unwrap();
        assert_eq!(Tree::sample(b.path(), 7).unwrap(), tree);
        assert_same_tree(a.path(), a.path());
        let left = differences(a.path(), b.path());
        assert!(left.iter().all(|line| line.contains(": mtime should be")), "{left:#?}");
    }

    #[test]
    fn each_difference_is_seen() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&a, &b] {
            fs::write(dir.path().join("file"), "contents").unwrap();
            fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
            symlink("x", dir.path().join("link")).unwrap();
            fs::hard_link(dir.path().join("file"), dir.path().join("name")).unwrap();
        }
        fs::write(b.path().join("file"), "Contents").unwrap();
        fs::set_permissions(b.path().join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(b.path().join("hole"), vec![0; 1 << 20]).unwrap();
        fs::remove_file(b.path().join("link")).unwrap();
        symlink("y", b.path().join("link")).unwrap();
        fs::remove_file(b.path().join("name")).unwrap();
        fs::write(b.path().join("extra"), "").unwrap();
        fs::File::open(b.path().join("hole")).unwrap().sync_all().unwrap();
        let seen = differences(a.path(), b.path()).join("\n");
        for part in ["contents differ from byte 0", "mode should be", "holes should be", "target should be"] {
            assert!(seen.contains(part), "{part} not in\n{seen}");
        }
        for part in ["\"name\": missing", "\"extra\": extra", "first name should be"] {
            assert!(seen.contains(part), "{part} not in\n{seen}");
        }
    }
}
