//! Extended attributes of something open, something pinned (`O_PATH`) or something named in an open directory.
//!
//! The kernel offers no `*xattrat` that is old enough to rely on; `/proc/self/fd/N` gives the same without a race.

use std::os::fd::{AsRawFd, BorrowedFd};

use model::entry::Xattr;
use rustix::buffer::spare_capacity;
use rustix::fs::{self, XattrFlags};
use rustix::io::{Errno, Result};

/// Longest list of names and longest value that Linux has (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_SIZE_MAX: usize = 64 * 1024;
/// First try for a list of names; the kernel allocates what we ask for, so small is fast.
const LIST_FIRST_TRY: usize = 256;

/// Whose attributes.
#[derive(Clone, Copy)]
pub(crate) enum Bearer<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// Path of something that is not to be followed.
    Named(&'a [u8]),
    /// Path under `/proc/self/fd` of something opened with `O_PATH`.
    Pinned(&'a [u8]),
}

/// The path under which `/proc` shows a descriptor.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}

impl Bearer<'_> {
    /// Names, separated by NUL, into `list`. Empty where the file system has no attributes.
    fn list_into(self, list: &mut Vec<u8>) -> Result<()> {
        for capacity in [LIST_FIRST_TRY, XATTR_SIZE_MAX] {
            list.clear();
            list.reserve_exact(capacity);
            let outcome = match self {
                Bearer::Open(fd) => fs::flistxattr(fd, spare_capacity(list)),
                Bearer::Named(path) => fs::llistxattr(path, spare_capacity(list)),
                Bearer::Pinned(path) => fs::listxattr(path, spare_capacity(list)),
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(Errno::OPNOTSUPP) => {
                    list.clear();
                    return Ok(());
                }
                Err(Errno::RANGE) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::RANGE)
    }

    fn get(self, name: &[u8]) -> Result<Vec<u8>> {
        let mut value = Vec::with_capacity(XATTR_SIZE_MAX);
        match self {
            Bearer::Open(fd) => fs::fgetxattr(fd, name, spare_capacity(&mut value))?,
            Bearer::Named(path) => fs::lgetxattr(path, name, spare_capacity(&mut value))?,
            Bearer::Pinned(path) => fs::getxattr(path, name, spare_capacity(&mut value))?,
        };
        value.shrink_to_fit();
        Ok(value)
    }

    /// Set one.
    pub(crate) fn set(self, name: &str, value: &[u8]) -> Result<()> {
        match self {
            Bearer::Open(fd) => fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Bearer::Named(path) => fs::lsetxattr(path, name, value, XattrFlags::empty()),
            Bearer::Pinned(path) => fs::setxattr(path, name, value, XattrFlags::empty()),
        }
    }

    /// Remove one; that there is none is fine.
    pub(crate) fn remove(self, name: &[u8]) -> Result<()> {
        let outcome = match self {
            Bearer::Open(fd) => fs::fremovexattr(fd, name),
            Bearer::Named(path) => fs::lremovexattr(path, name),
            Bearer::Pinned(path) => fs::removexattr(path, name),
        };
        if outcome == Err(Errno::NODATA) { Ok(()) } else { outcome }
    }

    /// Names only.
    pub(crate) fn names(self) -> Result<Vec<Vec<u8>>> {
        let mut list = Vec::new();
        self.list_into(&mut list)?;
        Ok(list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// All, sorted by name. `list` is scratch space that a walk keeps.
    pub(crate) fn read_all(self, list: &mut Vec<u8>) -> Result<Vec<Xattr>> {
        self.list_into(list)?;
        let mut all = Vec::new();
        for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let value = match self.get(name) {
                Err(Errno::NODATA) => continue, // removed since it was listed
                outcome => outcome?,
            };
            let name = String::from_utf8(name.to_vec()).map_err(|_| Errno::ILSEQ)?;
            all.push(Xattr { name, value });
        }
        all.sort();
        Ok(all)
    }
}
