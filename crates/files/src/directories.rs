//! The open directories of a restore target: by path below the root, the recent ones kept open.
//!
//! A handle stays on its directory, also when somebody renames it or puts a link in its place: what is written through
//! it lands in that directory and nowhere else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::{Errno, Result};

use crate::apply::Grip;
use crate::beneath;
use crate::error::Error;
use crate::listing::DIRECTORY;
use crate::metadata::stat_open;
use crate::recent::Recent;
use crate::relative::RelativePath;
use crate::xattr::proc_path;

/// Directories kept open; with as many files, half of the usual limit of 1024 descriptors.
const OPEN_DIRECTORIES_MAX: usize = 256;
const OWNER_ALL: u32 = 0o700;
const PIN: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory of the target, open.
#[derive(Clone, Debug)]
pub struct DirHandle(Arc<OpenDir>);

#[derive(Debug)]
struct OpenDir {
    fd: OwnedFd,
    path: RelativePath,
}

impl DirHandle {
    /// Path below the root.
    pub fn path(&self) -> &RelativePath {
        &self.0.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// Do something in this directory that needs the right to write; if the directory is read-only, it becomes writable
    /// first (its own metadata is set after its contents).
    pub(crate) fn writing<T>(&self, action: impl Fn(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        match action(self.fd()) {
            Err(Errno::ACCESS) => {
                open_up(Grip::Open(self.fd()), self.fd())?;
                action(self.fd())
            }
            outcome => outcome,
        }
    }

    /// Hold what has the name, whatever it is, without opening it.
    pub(crate) fn pin(&self, name: &[u8]) -> Result<OwnedFd> {
        openat(self.fd(), name, PIN, Mode::empty())
    }
}

/// Let the owner do everything.
fn open_up(grip: Grip<'_>, fd: BorrowedFd<'_>) -> Result<()> {
    let mode = u32::from(stat_open(fd)?.stx_mode) & 0o7777;
    if mode & OWNER_ALL == OWNER_ALL { Err(Errno::ACCESS) } else { grip.chmod(mode | OWNER_ALL) }
}

/// Open a directory in an open one, also one without permissions of our own.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    match openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let pinned = openat(parent, name, PIN | OFlags::DIRECTORY, Mode::empty())?;
            let proc = proc_path(pinned.as_fd());
            open_up(Grip::Pinned(pinned.as_fd(), &proc), pinned.as_fd())?;
            openat(parent, name, DIRECTORY, Mode::empty())
        }
        outcome => outcome,
    }
}

/// Hands out directories below one root.
#[derive(Debug)]
pub(crate) struct Directories {
    root: DirHandle,
    root_path: PathBuf,
    recent: Mutex<Recent<RelativePath, DirHandle>>,
}

impl Directories {
    /// The root is the user's choice: links on the way to it are followed.
    pub(crate) fn open(root: &Path) -> std::result::Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            openat(rustix::fs::CWD, root, flags, Mode::empty()).map_err(|e| Error::io("open", root, e))?;
        let root_handle = DirHandle(Arc::new(OpenDir { fd, path: RelativePath::root() }));
        let recent = Mutex::new(Recent::new(OPEN_DIRECTORIES_MAX));
        Ok(Self { root: root_handle, root_path: root.to_path_buf(), recent })
    }

    pub(crate) fn root(&self) -> &DirHandle {
        &self.root
    }

    /// Full path, for messages only.
    pub(crate) fn full(&self, path: &RelativePath) -> PathBuf {
        if path.is_root() { self.root_path.clone() } else { self.root_path.join(path.as_path()) }
    }

    pub(crate) fn get(&self, path: &RelativePath) -> std::result::Result<DirHandle, Error> {
        if path.is_root() {
            return Ok(self.root.clone());
        }
        if let Some(handle) = self.lock().get(path) {
            return Ok(handle);
        }
        let fd = match beneath::open(self.root.fd(), path, DIRECTORY) {
            Err(Errno::ACCESS) => {
                let (parent, name) = split(path)?;
                open_child(self.get(&parent)?.fd(), name)
            }
            outcome => outcome,
        };
        let fd = fd.map_err(|error| self.error("open", path, error))?;
        let handle = DirHandle(Arc::new(OpenDir { fd, path: path.clone() }));
        let oldest = self.lock().put(path.clone(), handle.clone());
        drop(oldest);
        Ok(handle)
    }

    /// The directory that holds `path`, and its name there.
    pub(crate) fn parent<'p>(
        &self,
        path: &'p RelativePath,
    ) -> std::result::Result<(DirHandle, &'p [u8]), Error> {
        let (parent, name) = split(path)?;
        Ok((self.get(&parent)?, name))
    }

    /// Forget what is open at and below `path`, because it is removed.
    pub(crate) fn forget(&self, path: &RelativePath) {
        self.lock().retain(|open| !open.is_within(path));
    }

    /// An error of the kernel about `path`.
    pub(crate) fn error(&self, action: &'static str, path: &RelativePath, error: Errno) -> Error {
        let path = self.full(path);
        match error {
            Errno::EXIST => Error::Exists { path },
            error if beneath::is_in_the_way(error) => Error::InTheWay { path },
            error => Error::io(action, path, error),
        }
    }

    /// What is held by `pinned`.
    pub(crate) fn kind_of(pinned: &OwnedFd) -> Result<FileType> {
        Ok(FileType::from_raw_mode(stat_open(pinned.as_fd())?.stx_mode.into()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent<RelativePath, DirHandle>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The root has no parent that we may touch.
fn split(path: &RelativePath) -> std::result::Result<(RelativePath, &[u8]), Error> {
    path.split().ok_or_else(|| Error::OtherKind { path: PathBuf::from(".") })
}
