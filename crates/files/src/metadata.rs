//! From what the kernel says (`statx`, `listxattr`, `readlink`) to an entry of the model.
//!
//! Nothing is followed: a symbolic link is described, not what it points to.

use std::os::fd::BorrowedFd;

use model::entry::{Entry, EntryKind, Metadata};
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, makedev, readlinkat, statx};
use rustix::io::{Errno, Result};

use crate::owner::Owners;
use crate::time;
use crate::xattr::Bearer;

/// An entry, and why its extended attributes could not be read (then the entry has none).
#[derive(Debug)]
pub struct Inspected {
    /// What is there.
    pub entry: Entry,
    /// Attributes are missing from `entry` for this reason.
    pub xattr_error: Option<std::io::Error>,
}

/// What makes a file the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    kind: FileType,
}

impl Identity {
    pub(crate) fn of(stat: &Statx) -> Self {
        Self {
            device: device_of(stat),
            inode: stat.stx_ino,
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
        }
    }
}

/// `statx` of a name in a directory.
pub(crate) fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
}

/// `statx` of something open, or pinned with `O_PATH`.
pub(crate) fn stat_open(fd: BorrowedFd<'_>) -> Result<Statx> {
    statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

pub(crate) fn device_of(stat: &Statx) -> u64 {
    makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// Where a described thing is.
#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    /// In this directory, under its name.
    In(BorrowedFd<'a>),
    /// It is open or pinned itself.
    Itself(BorrowedFd<'a>),
}

/// Make an entry of `stat`. `scratch` is space for names of attributes.
pub(crate) fn describe(
    stat: &Statx,
    name: Vec<u8>,
    at: At<'_>,
    (bearer, scratch): (Bearer<'_>, &mut Vec<u8>),
    owners: &Owners,
) -> Result<Inspected> {
    let rdev = makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => {
            let target = match at {
                At::In(dir) => readlinkat(dir, &name[..], Vec::new())?,
                At::Itself(link) => readlinkat(link, c"", Vec::new())?,
            };
            EntryKind::Symlink { target: target.into_bytes() }
        }
        FileType::BlockDevice => EntryKind::BlockDevice { device: rdev },
        FileType::CharacterDevice => EntryKind::CharDevice { device: rdev },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        _ => return Err(Errno::OPNOTSUPP),
    };
    let (xattrs, xattr_error) = match bearer.read_all(scratch) {
        Ok(xattrs) => (xattrs, None),
        Err(error) => (Vec::new(), Some(error.into())),
    };
    let metadata = Metadata {
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        user: owners.user(stat.stx_uid).to_owned(),
        group: owners.group(stat.stx_gid).to_owned(),
        mtime: time::from_kernel(stat.stx_mtime),
        atime: time::from_kernel(stat.stx_atime),
        ctime: time::from_kernel(stat.stx_ctime),
        inode: stat.stx_ino,
        device_id: device_of(stat),
        links: stat.stx_nlink.into(),
        size: if kind == EntryKind::File { stat.stx_size } else { 0 },
        xattrs,
    };
    Ok(Inspected { entry: Entry { name, kind, metadata }, xattr_error })
}

/// Whether `stat` describes something of `kind`.
pub(crate) fn is_kind(stat: &Statx, kind: &EntryKind) -> bool {
    let wanted = match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::BlockDevice { .. } => FileType::BlockDevice,
        EntryKind::CharDevice { .. } => FileType::CharacterDevice,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::Socket => FileType::Socket,
    };
    FileType::from_raw_mode(stat.stx_mode.into()) == wanted
}

/// Whether the walked `entry` is what `stat` now describes: same inode, device and kind.
pub(crate) fn is_same_file(stat: &Statx, entry: &Entry) -> bool {
    is_kind(stat, &entry.kind)
        && stat.stx_ino == entry.metadata.inode
        && device_of(stat) == entry.metadata.device_id
}

/// Whether its last name went while it was open, and nobody wrote into it: size and time of writing are as they were.
pub(crate) fn is_only_nameless(stat: &Statx, metadata: &Metadata) -> bool {
    let is_as_written = stat.stx_size == metadata.size && time::from_kernel(stat.stx_mtime) == metadata.mtime;
    stat.stx_nlink == 0 && is_as_written
}

/// Whether contents or metadata may have changed between two looks.
pub(crate) fn is_untouched(stat: &Statx, metadata: &Metadata) -> bool {
    stat.stx_size == metadata.size
        && time::from_kernel(stat.stx_mtime) == metadata.mtime
        && time::from_kernel(stat.stx_ctime) == metadata.ctime
}
