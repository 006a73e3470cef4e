//! Write files of a restore: pieces at any offset, in any order, from any number of threads.
//!
//! A file is made with mode 0600 and gets its own mode when it is finished; what is never finished is never readable by
//! others. Writers may outnumber the descriptors by far: the recent ones are open, the others are opened again, and only
//! if the same file is still there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use model::entry::Metadata;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, fallocate, ftruncate, openat, renameat, unlinkat,
};
use rustix::io::{Errno, Result};

use crate::apply::{Grip, apply};
use crate::error::Error;
use crate::metadata::{Identity, stat_open};
use crate::relative::RelativePath;
use crate::site::{PRIVATE, Site};
use crate::transfer::{read_full, write_all, write_hole};
use crate::xattr::proc_path;

pub use crate::site::Existing;

const REOPEN: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// How a new file gets its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// As it is written; what is never written stays a hole.
    Sparse,
    /// All at once, so that a full disk is known early; for files without holes.
    Reserved,
}

/// A file that is being restored. Finish it, or it keeps mode 0600 (and does not replace anything).
#[derive(Debug)]
pub struct FileWriter {
    site: Arc<Site>,
    path: RelativePath,
    parent: RelativePath,
    /// Its name while it is written.
    name: Vec<u8>,
    /// The name to take in the end, if it is another.
    final_name: Option<Vec<u8>>,
    identity: Identity,
    size: u64,
    serial: u64,
}

impl FileWriter {
    pub(crate) fn create(
        site: &Arc<Site>,
        path: &RelativePath,
        size: u64,
        space: Space,
        existing: Existing,
    ) -> std::result::Result<FileWriter, Error> {
        let (dir, name) = site.directories.parent(path)?;
        let (fd, beside) = site.create(&dir, name, existing).map_err(|e| site.create_error(path, e))?;
        let (name, final_name) = match beside {
            Some(beside) => (beside, Some(name.to_vec())),
            None => (name.to_vec(), None),
        };
        let prepared = prepare(fd.as_fd(), size, space).and_then(|()| stat_open(fd.as_fd()));
        let stat = match prepared {
            Ok(stat) => stat,
            Err(error) => {
                // Nothing was written yet, so nothing is lost with it; the first error is what matters.
                unlinkat(dir.fd(), &name[..], AtFlags::empty()).ok();
                return Err(site.directories.error("reserve space for", path, error));
            }
        };
        Ok(Self::begin(site, path, dir.path(), (name, final_name), (fd, Identity::of(&stat)), size))
    }

    /// Open an existing file to write into it; it becomes private, and is cut or extended to `size`.
    pub(crate) fn open(
        site: &Arc<Site>,
        path: &RelativePath,
        size: u64,
    ) -> std::result::Result<FileWriter, Error> {
        let (dir, name) = site.directories.parent(path)?;
        let failed = |error| site.directories.error("open", path, error);
        let pinned = dir.pin(name).map_err(failed)?;
        let stat = stat_open(pinned.as_fd()).map_err(failed)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(Error::OtherKind { path: site.directories.full(path) });
        }
        if stat.stx_nlink > 1 {
            return Err(Error::Linked { path: site.directories.full(path) });
        }
        let proc = proc_path(pinned.as_fd());
        Grip::Pinned(pinned.as_fd(), &proc).chmod(PRIVATE).map_err(failed)?;
        let fd = openat(dir.fd(), name, REOPEN, Mode::empty()).map_err(failed)?;
        let identity = Identity::of(&stat);
        if Identity::of(&stat_open(fd.as_fd()).map_err(failed)?) != identity {
            return Err(Error::Replaced { path: site.directories.full(path) });
        }
        ftruncate(&fd, size).map_err(|e| site.directories.error("resize", path, e))?;
        Ok(Self::begin(site, path, dir.path(), (name.to_vec(), None), (fd, identity), size))
    }

    fn begin(
        site: &Arc<Site>,
        path: &RelativePath,
        parent: &RelativePath,
        (name, final_name): (Vec<u8>, Option<Vec<u8>>),
        (fd, identity): (OwnedFd, Identity),
        size: u64,
    ) -> FileWriter {
        let serial = site.next_serial();
        let oldest = site.files().put(serial, Arc::new(fd));
        drop(oldest);
        let (site, path, parent) = (Arc::clone(site), path.clone(), parent.clone());
        FileWriter { site, path, parent, name, final_name, identity, size, serial }
    }

    /// Path below the root of the target.
    pub fn path(&self) -> &RelativePath {
        &self.path
    }

    /// The size it was announced with.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Write all of `bytes` at `offset`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> std::result::Result<(), Error> {
        self.check(offset, bytes.len() as u64)?;
        let fd = self.fd()?;
        write_all(&*fd, bytes, offset).map_err(|e| self.error("write", e))
    }

    /// Fill `buffer` with what is there at `offset`; fewer bytes than it holds: the file ends.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<usize, Error> {
        read_full(&*self.fd()?, buffer, offset).map_err(|e| self.error("read", e))
    }

    /// Make a stretch read as zeros, without space on disk where the file system can.
    pub fn write_hole(&self, offset: u64, len: u64) -> std::result::Result<(), Error> {
        self.check(offset, len)?;
        write_hole(self.fd()?.as_fd(), offset, len).map_err(|e| self.error("punch a hole into", e))
    }

    /// All is written: give it its metadata, and its name if it replaces something.
    pub fn finish(mut self, metadata: &Metadata) -> std::result::Result<(), Error> {
        let fd = self.fd()?;
        let full = self.site.directories.full(&self.path);
        apply(Grip::Open(fd.as_fd()), metadata, &full, &self.site.losses)?;
        if let Some(final_name) = &self.final_name {
            let dir = self.site.directories.get(&self.parent)?;
            let outcome = renameat(dir.fd(), &self.name[..], dir.fd(), &final_name[..]);
            outcome.map_err(|e| self.site.create_error(&self.path, e))?;
            self.final_name = None;
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: u64) -> std::result::Result<(), Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::PastEnd { path: self.site.directories.full(&self.path), offset, len }),
        }
    }

    /// Our descriptor, opened again if others were used more recently.
    fn fd(&self) -> std::result::Result<Arc<OwnedFd>, Error> {
        if let Some(fd) = self.site.files().get(&self.serial) {
            return Ok(fd);
        }
        let dir = self.site.directories.get(&self.parent)?;
        let fd =
            openat(dir.fd(), &self.name[..], REOPEN, Mode::empty()).map_err(|e| self.error("open", e))?;
        let stat = stat_open(fd.as_fd()).map_err(|e| self.error("look at", e))?;
        if Identity::of(&stat) != self.identity {
            return Err(Error::Replaced { path: self.site.directories.full(&self.path) });
        }
        let fd = Arc::new(fd);
        let oldest = self.site.files().put(self.serial, Arc::clone(&fd));
        drop(oldest);
        Ok(fd)
    }

    fn error(&self, action: &'static str, error: Errno) -> Error {
        self.site.directories.error(action, &self.path, error)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        let open = self.site.files().remove(&self.serial);
        drop(open);
        if self.final_name.is_some()
            && let Ok(dir) = self.site.directories.get(&self.parent)
        {
            // Not finished, so it replaces nothing; nobody can be told, and it is only litter.
            unlinkat(dir.fd(), &self.name[..], AtFlags::empty()).ok();
        }
    }
}

fn prepare(fd: BorrowedFd<'_>, size: u64, space: Space) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    match space {
        Space::Reserved => match fallocate(fd, FallocateFlags::empty(), 0, size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => ftruncate(fd, size),
            outcome => outcome,
        },
        Space::Sparse => ftruncate(fd, size),
    }
}
