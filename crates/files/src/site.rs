//! The site of a restore: what all who write into one target share.
//!
//! Open directories, the recently used files, the losses. A file is made here, privately, under its name or beside it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::entry::Metadata;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::{Errno, Result};

use crate::apply::{Grip, apply};
use crate::directories::{DirHandle, Directories};
use crate::error::Error;
use crate::losses::Losses;
use crate::partial;
use crate::recent::Recent;
use crate::relative::RelativePath;
use crate::transfer::write_all;

/// Files kept open; with as many directories, half of the usual limit of 1024 descriptors.
const OPEN_FILES_MAX: usize = 256;
/// Mode of a file that is not finished.
pub(crate) const PRIVATE: u32 = 0o600;
const CREATE: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What to do about something that stands in the place of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// Write beside it, and take its place in one step when finished. A directory is never replaced.
    Replace,
}

/// What all writers of one target share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) directories: Directories,
    pub(crate) losses: Losses,
    files: Mutex<Recent<u64, Arc<OwnedFd>>>,
    serial: AtomicU64,
}

impl Site {
    pub(crate) fn open(directories: Directories) -> Arc<Self> {
        let files = Mutex::new(Recent::new(OPEN_FILES_MAX));
        Arc::new(Self { directories, losses: Losses::default(), files, serial: AtomicU64::new(0) })
    }

    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn files(&self) -> std::sync::MutexGuard<'_, Recent<u64, Arc<OwnedFd>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new file with the name, or, if that is taken and may be replaced, with a name beside it.
    pub(crate) fn create(
        &self,
        dir: &DirHandle,
        name: &[u8],
        existing: Existing,
    ) -> Result<(OwnedFd, Option<Vec<u8>>)> {
        let private = Mode::from_raw_mode(PRIVATE);
        match dir.writing(|fd| openat(fd, name, CREATE, private)) {
            Err(Errno::EXIST) if existing == Existing::Replace => {}
            outcome => return outcome.map(|fd| (fd, None)),
        }
        if Directories::kind_of(&dir.pin(name)?)? == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        loop {
            let beside = partial::name(self.next_serial()).into_bytes();
            match dir.writing(|fd| openat(fd, &beside[..], CREATE, private)) {
                Err(Errno::EXIST) => {} // left by an earlier process of our number
                outcome => return outcome.map(|fd| (fd, Some(beside))),
            }
        }
    }

    pub(crate) fn create_error(&self, path: &RelativePath, error: Errno) -> Error {
        match error {
            Errno::ISDIR => Error::OtherKind { path: self.directories.full(path) },
            error => self.directories.error("create", path, error),
        }
    }

    /// A file in one call: made, written, finished.
    pub(crate) fn write_whole(
        &self,
        dir: &DirHandle,
        name: &[u8],
        contents: &[u8],
        metadata: &Metadata,
        existing: Existing,
    ) -> std::result::Result<(), Error> {
        let path = dir.path().join(name)?;
        let (fd, beside) = self.create(dir, name, existing).map_err(|e| self.create_error(&path, e))?;
        let done = write_all(&fd, contents, 0)
            .map_err(|e| self.directories.error("write", &path, e))
            .and_then(|()| {
                apply(Grip::Open(fd.as_fd()), metadata, &self.directories.full(&path), &self.losses)
            })
            .and_then(|()| match &beside {
                Some(beside) => {
                    renameat(dir.fd(), &beside[..], dir.fd(), name).map_err(|e| self.create_error(&path, e))
                }
                None => Ok(()),
            });
        if let (Err(_), Some(beside)) = (&done, &beside) {
            // The error of the write is what matters; a name beside is only litter.
            unlinkat(dir.fd(), &beside[..], AtFlags::empty()).ok();
        }
        done
    }
}
