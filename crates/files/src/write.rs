//! Write files of a restore: pieces at any offset, in any order, from any number of threads.
//!
//! A file is made with mode 0600 and gets its own mode when it is finished; what is never finished is never readable by
//! others. Writers may outnumber the descriptors by far: the recent ones are open, the others are opened again, and only
//! if the same file is still there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::entry::Metadata;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, fallocate, ftruncate, openat, renameat, unlinkat,
};
use rustix::io::{Errno, Result, pread, pwrite};

use crate::apply::{Grip, apply};
use crate::directories::{DirHandle, Directories};
use crate::error::Error;
use crate::losses::Losses;
use crate::metadata::{Identity, stat_open};
use crate::recent::Recent;
use crate::relative::RelativePath;
use crate::xattr::proc_path;

/// Files kept open; with as many directories, half of the usual limit of 1024 descriptors.
const OPEN_FILES_MAX: usize = 256;
/// Mode of a file that is not finished.
const PRIVATE: u32 = 0o600;
/// Bytes of zeros written at once where a hole cannot be punched.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
const CREATE: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const REOPEN: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What to do about something that stands in the place of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// Write beside it, and take its place in one step when finished. A directory is never replaced.
    Replace,
}

/// How a new file gets its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// As it is written; what is never written stays a hole.
    Sparse,
    /// All at once, so that a full disk is known early; for files without holes.
    Reserved,
}

/// What all writers of one target share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) directories: Directories,
    pub(crate) losses: Losses,
    files: Mutex<Recent<u64, Arc<OwnedFd>>>,
    serial: AtomicU64,
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

impl Site {
    pub(crate) fn open(directories: Directories) -> Arc<Self> {
        let files = Mutex::new(Recent::new(OPEN_FILES_MAX));
        Arc::new(Self { directories, losses: Losses::default(), files, serial: AtomicU64::new(0) })
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Recent<u64, Arc<OwnedFd>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new file with the name, or, if that is taken and may be replaced, with a name beside it.
    fn create(&self, dir: &DirHandle, name: &[u8], existing: Existing) -> Result<(OwnedFd, Option<Vec<u8>>)> {
        let private = Mode::from_raw_mode(PRIVATE);
        match dir.writing(|fd| openat(fd, name, CREATE, private)) {
            Err(Errno::EXIST) if existing == Existing::Replace => {}
            outcome => return outcome.map(|fd| (fd, None)),
        }
        if Directories::kind_of(&dir.pin(name)?)? == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        loop {
            let process = rustix::process::getpid().as_raw_nonzero();
            let beside = format!(".mainstay-{process}-{}.partial", self.next_serial()).into_bytes();
            match dir.writing(|fd| openat(fd, &beside[..], CREATE, private)) {
                Err(Errno::EXIST) => {} // left by a process that was killed
                outcome => return outcome.map(|fd| (fd, Some(beside))),
            }
        }
    }

    fn create_error(&self, path: &RelativePath, error: Errno) -> Error {
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
        let done = write_all(fd.as_fd(), contents, 0)
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

    pub(crate) fn create_file(
        self: &Arc<Self>,
        path: &RelativePath,
        size: u64,
        space: Space,
        existing: Existing,
    ) -> std::result::Result<FileWriter, Error> {
        let (dir, name) = self.directories.parent(path)?;
        let (fd, beside) = self.create(&dir, name, existing).map_err(|e| self.create_error(path, e))?;
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
                return Err(self.directories.error("reserve space for", path, error));
            }
        };
        Ok(self.writer(path, dir.path(), (name, final_name), (fd, Identity::of(&stat)), size))
    }

    /// Open an existing file to write into it; it becomes private, and is cut or extended to `size`.
    pub(crate) fn open_file(
        self: &Arc<Self>,
        path: &RelativePath,
        size: u64,
    ) -> std::result::Result<FileWriter, Error> {
        let (dir, name) = self.directories.parent(path)?;
        let failed = |error| self.directories.error("open", path, error);
        let pinned = dir.pin(name).map_err(failed)?;
        let stat = stat_open(pinned.as_fd()).map_err(failed)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            return Err(Error::OtherKind { path: self.directories.full(path) });
        }
        if stat.stx_nlink > 1 {
            return Err(Error::Linked { path: self.directories.full(path) });
        }
        let proc = proc_path(pinned.as_fd());
        Grip::Pinned(pinned.as_fd(), &proc).chmod(PRIVATE).map_err(failed)?;
        let fd = openat(dir.fd(), name, REOPEN, Mode::empty()).map_err(failed)?;
        let identity = Identity::of(&stat);
        if Identity::of(&stat_open(fd.as_fd()).map_err(failed)?) != identity {
            return Err(Error::Replaced { path: self.directories.full(path) });
        }
        ftruncate(&fd, size).map_err(|e| self.directories.error("resize", path, e))?;
        Ok(self.writer(path, dir.path(), (name.to_vec(), None), (fd, identity), size))
    }

    fn writer(
        self: &Arc<Self>,
        path: &RelativePath,
        parent: &RelativePath,
        (name, final_name): (Vec<u8>, Option<Vec<u8>>),
        (fd, identity): (OwnedFd, Identity),
        size: u64,
    ) -> FileWriter {
        let serial = self.next_serial();
        let oldest = self.files().put(serial, Arc::new(fd));
        drop(oldest);
        let (site, path, parent) = (Arc::clone(self), path.clone(), parent.clone());
        FileWriter { site, path, parent, name, final_name, identity, size, serial }
    }
}

impl FileWriter {
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
        write_all(fd.as_fd(), bytes, offset).map_err(|e| self.error("write", e))
    }

    /// Fill `buffer` with what is there at `offset`; fewer bytes than it holds: the file ends.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::result::Result<usize, Error> {
        let fd = self.fd()?;
        let mut filled = 0;
        while filled < buffer.len() {
            match pread(&fd, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.error("read", error)),
            }
        }
        Ok(filled)
    }

    /// Make a stretch read as zeros, without space on disk where the file system can.
    pub fn write_hole(&self, offset: u64, len: u64) -> std::result::Result<(), Error> {
        self.check(offset, len)?;
        let fd = self.fd()?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let outcome = match fallocate(&fd, flags, offset, len) {
            _ if len == 0 => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(fd.as_fd(), offset, len),
            outcome => outcome,
        };
        outcome.map_err(|e| self.error("punch a hole into", e))
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

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_zeros(fd: BorrowedFd<'_>, mut offset: u64, mut len: u64) -> Result<()> {
    while len > 0 {
        let piece = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        write_all(fd, &ZEROS[..piece], offset)?;
        offset += piece as u64;
        len -= piece as u64;
    }
    Ok(())
}
