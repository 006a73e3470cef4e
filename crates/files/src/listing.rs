//! One open directory of a walk: its names, and a look at each of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use crate::exclude::{CACHE_SIGNATURE, CACHE_TAG};
use crate::metadata::{At, Inspected, describe, stat_at};
use crate::owner::Owners;
use crate::xattr::{Bearer, proc_path};

/// Bytes of one `getdents` call; larger brings nothing.
pub(crate) const LISTING_BYTES: usize = 64 * 1024;
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory to look around in.
pub(crate) struct OpenDirectory {
    pub(crate) fd: OwnedFd,
    /// Path prefix for extended attributes: directory and slash.
    prefix: Vec<u8>,
}

impl OpenDirectory {
    /// Attributes are read through `/proc/self/fd/N/`; where there is no `/proc`, through the path itself.
    pub(crate) fn new(fd: OwnedFd, path: &Path) -> Self {
        let mut prefix = proc_path(fd.as_fd());
        if rustix::fs::access(&prefix[..], rustix::fs::Access::EXISTS).is_err() {
            prefix = path.as_os_str().as_bytes().to_vec();
        }
        prefix.push(b'/');
        Self { fd, prefix }
    }

    pub(crate) fn look_at(
        &mut self,
        name: Vec<u8>,
        list: &mut Vec<u8>,
        owners: &Owners,
    ) -> rustix::io::Result<Inspected> {
        let stat = stat_at(self.fd.as_fd(), &name)?;
        let prefix_len = self.prefix.len();
        self.prefix.extend_from_slice(&name);
        let bearer = Bearer::Named(&self.prefix);
        let found = describe(&stat, name, At::In(self.fd.as_fd()), (bearer, list), owners);
        self.prefix.truncate(prefix_len);
        found
    }
}

/// Without touching the access time where the kernel lets us.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    match openat(parent, name, DIRECTORY | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(parent, name, DIRECTORY, Mode::empty()),
        outcome => outcome,
    }
}

pub(crate) fn list(
    dir: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    names: &mut Vec<(Vec<u8>, FileType)>,
) -> rustix::io::Result<()> {
    buffer.clear();
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(())
}

pub(crate) fn is_cache(dir: BorrowedFd<'_>, names: &[(Vec<u8>, FileType)]) -> bool {
    if !names.iter().any(|(name, _)| name == CACHE_TAG) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut head = [0; CACHE_SIGNATURE.len()];
    openat(dir, CACHE_TAG, flags, Mode::empty())
        .and_then(|fd| rustix::io::pread(&fd, &mut head, 0))
        .is_ok_and(|read| &head[..read] == CACHE_SIGNATURE)
}
