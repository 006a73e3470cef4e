//! The directory that paths of a walk begin in, held open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::relative::RelativePath;

/// The directory that paths of a walk begin in; readers open files below it.
#[derive(Debug)]
pub struct Root {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Root {
    /// Path of the root, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Full path, for messages.
    pub(crate) fn full(&self, path: &RelativePath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(path.as_path()) }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
