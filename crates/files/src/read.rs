//! Read the contents of one walked file, holes left out, and tell at the end whether it held still meanwhile.
//!
//! Open, take the extents until there are no more, read each, finish. Only the file that the walk saw is read: another
//! inode under its name is an error, and opening never blocks (a pipe may have taken the name).

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use model::entry::Entry;
use rustix::fs::{Advice, FileType, OFlags, SeekFrom, Statx, fadvise, seek};
use rustix::io::Errno;

use crate::beneath;
use crate::error::Error;
use crate::metadata::{At, describe, is_only_nameless, is_same_file, is_untouched, stat_open};
use crate::owner::Owners;
use crate::relative::RelativePath;
use crate::root::Root;
use crate::transfer::read_full;
use crate::xattr::Bearer;

/// Files below this are read in one go; telling the kernel so would cost more than it brings.
const ADVICE_MIN: u64 = 256 * 1024;

/// An open file of a backup.
#[derive(Debug)]
pub struct FileReader {
    fd: OwnedFd,
    path: PathBuf,
    entry: Entry,
    changed_since_walk: bool,
    may_have_holes: bool,
    position: u64,
}

/// A stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes to read.
    Data {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Nothing is stored here; it reads as zeros.
    Hole {
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
}

/// Whether a file held still while it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steadiness {
    /// Size, times and contents are those from the beginning; its name may be gone or another file's by now.
    Unchanged,
    /// Somebody wrote into it or changed its metadata; what was read may be a mixture.
    Changed,
    /// It became shorter: the end was not there any more, or only once.
    Shrank {
        /// Size at the end.
        size: u64,
    },
    /// It became longer: what was added has not been read.
    Grew {
        /// Size at the end.
        size: u64,
    },
}

impl FileReader {
    /// Open the file that the walk met as `path` and described as `walked`.
    pub fn open(root: &Root, path: &RelativePath, walked: &Entry, owners: &Owners) -> Result<Self, Error> {
        let full = root.full(path);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match beneath::open(root.as_fd(), path, flags | OFlags::NOATIME) {
            Err(Errno::PERM) => beneath::open(root.as_fd(), path, flags),
            outcome => outcome,
        };
        let fd = match opened {
            Ok(fd) => fd,
            // NXIO: a socket, or a device without driver, took the name.
            Err(error) if beneath::is_in_the_way(error) || error == Errno::NXIO => {
                return Err(Error::Replaced { path: full });
            }
            Err(error) => return Err(Error::listed("open", full, error)),
        };
        let stat = stat_open(fd.as_fd()).map_err(|e| Error::io("look at", &full, e))?;
        if !is_same_file(&stat, walked)
            || FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile
        {
            return Err(Error::Replaced { path: full });
        }
        let changed_since_walk = !is_untouched(&stat, &walked.metadata);
        let entry =
            if changed_since_walk { look_again(&fd, &stat, walked, owners, &full)? } else { walked.clone() };
        if stat.stx_size >= ADVICE_MIN {
            // Only a hint: where the kernel does not take it, reading works all the same.
            fadvise(&fd, 0, None, Advice::Sequential).ok();
        }
        let may_have_holes = stat.stx_blocks.saturating_mul(512) < stat.stx_size;
        Ok(Self { fd, path: full, entry, changed_since_walk, may_have_holes, position: 0 })
    }

    /// The entry as it is now; if the file changed since the walk, this and not the walked one is what gets read.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether size, times or other metadata changed between the walk and the opening.
    pub fn changed_since_walk(&self) -> bool {
        self.changed_since_walk
    }

    /// Bytes that the extents cover together: the size at the opening.
    pub fn size(&self) -> u64 {
        self.entry.metadata.size
    }

    /// The next stretch, without gaps, until [`FileReader::size`] is reached.
    pub fn next_extent(&mut self) -> Result<Option<Extent>, Error> {
        let (offset, size) = (self.position, self.size());
        if offset >= size {
            return Ok(None);
        }
        if !self.may_have_holes {
            self.position = size;
            return Ok(Some(Extent::Data { offset, len: size - offset }));
        }
        let data = match seek(&self.fd, SeekFrom::Data(offset)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size, // no data any more
            Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
            Err(error) => return Err(Error::io("find holes in", &self.path, error)),
        };
        if data > offset {
            self.position = data;
            return Ok(Some(Extent::Hole { offset, len: data - offset }));
        }
        let end = match seek(&self.fd, SeekFrom::Hole(offset)) {
            Ok(end) if end > offset => end.min(size),
            _ => size,
        };
        self.position = end;
        Ok(Some(Extent::Data { offset, len: end - offset }))
    }

    /// Fill `buffer` from `offset` on. Fewer bytes than it holds: the file ended there.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        read_full(&self.fd, buffer, offset).map_err(|e| Error::io("read", &self.path, e))
    }

    /// Close, and tell whether the file held still since it was opened.
    pub fn finish(self) -> Result<Steadiness, Error> {
        let stat = stat_open(self.fd.as_fd()).map_err(|e| Error::io("look at", &self.path, e))?;
        Ok(match stat.stx_size {
            size if size < self.size() => Steadiness::Shrank { size },
            size if size > self.size() => Steadiness::Grew { size },
            _ if is_untouched(&stat, &self.entry.metadata) => Steadiness::Unchanged,
            // Removed, or another file was put in its place: what was read is one whole file.
            _ if is_only_nameless(&stat, &self.entry.metadata) => Steadiness::Unchanged,
            _ => Steadiness::Changed,
        })
    }
}

fn look_again(
    fd: &OwnedFd,
    stat: &Statx,
    walked: &Entry,
    owners: &Owners,
    full: &std::path::Path,
) -> Result<Entry, Error> {
    let bearer = (Bearer::Open(fd.as_fd()), &mut Vec::new());
    let found = describe(stat, walked.name.clone(), At::Itself(fd.as_fd()), bearer, owners);
    let found = found.map_err(|e| Error::io("look at", full, e))?;
    match found.xattr_error {
        Some(error) => Err(Error::io("read extended attributes of", full, error)),
        None => Ok(found.entry),
    }
}
