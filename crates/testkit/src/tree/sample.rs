//! A small nasty directory tree: odd names, times, modes, owners, holes, links, devices, attributes.
//!
//! The same seed gives the same contents. What is not permitted or supported here is left out and said so.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat,
};

/// What [`Tree::sample`] could build here; the rest was not permitted or not supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Owners other than our own, device nodes, and `trusted.*` attributes: needs root.
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
    if tree.privileged {
        // Links and pipes can only bear attributes of this namespace.
        for odd in ["links/absolute", "special/fifo"] {
            tree.privileged &=
                rustix::fs::lsetxattr(dir.join(odd), "trusted.odd", b"yes", XattrFlags::empty()).is_ok();
        }
    }
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
