//! What a backup reads from: a directory of this machine, or one that lies on another server.
//!
//! A walk over it runs ahead, and files are opened as it has met them, several at once. Whoever implements this passes
//! [`crate::conformance`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use model::entry::Entry;

use crate::error::Error;
use crate::read::{Extent, FileReader, Steadiness};
use crate::relative::RelativePath;
use crate::walk::{Event, Walk};

/// A directory that was opened for one backup.
pub struct Opened {
    /// Everything in it.
    pub walk: Box<dyn Walking>,
    /// Its files, and what is to be known of it.
    pub origin: Arc<dyn Origin>,
}

/// A walk: depth first, every directory's names in the order of their bytes.
///
/// An error that [`Error::is_lost`] is the last event.
pub trait Walking: Iterator<Item = Event> + Send {
    /// How many entries the excludes left out so far (what lies below them is not counted).
    fn excluded(&self) -> u64;
}

/// Where files are read from.
pub trait Origin: Send + Sync {
    /// The name in the snapshot: an absolute path, or an address without a password.
    fn name(&self) -> &str;

    /// Where it is in the tree: from the root of its file system on.
    fn path(&self) -> &Path;

    /// What is at `path`, as messages call it.
    fn full(&self, path: &RelativePath) -> PathBuf;

    /// A directory above it, where that can be looked at.
    fn above(&self, ancestor: &Path) -> Option<Entry>;

    /// Open the file that the walk met as `path` and described as `walked`.
    ///
    /// # Errors
    /// Of this file, or one that [`Error::is_lost`].
    fn open(&self, path: &RelativePath, walked: &Entry) -> Result<Box<dyn Contents>, Error>;

    /// How long before a backup a change counts as made during it: clocks tick, and those of servers differ from ours.
    fn doubt(&self) -> SignedDuration;

    /// Whether change times and inodes tell a file from another of its size and time.
    fn knows_files(&self) -> bool;

    /// Files that are worth being read at once, where that is more than there are cores.
    fn lanes(&self) -> usize;
}

/// The contents of one file: take the extents until there are no more, read each from its beginning to its end, finish.
pub trait Contents {
    /// The entry as it is now; if the file changed since the walk, this and not the walked one is what gets read.
    fn entry(&self) -> &Entry;

    /// The next stretch, without gaps, until the size of the entry is reached.
    ///
    /// # Errors
    /// Of this file, or one that [`Error::is_lost`].
    fn next_extent(&mut self) -> Result<Option<Extent>, Error>;

    /// Fill `buffer` from `offset` on. Fewer bytes than it holds: the file ended there.
    ///
    /// # Errors
    /// [`Error::BeginAgain`] where the rest would not fit to what was read; others as above.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error>;

    /// Close, and tell whether the file held still since it was opened.
    ///
    /// # Errors
    /// As above.
    fn finish(self: Box<Self>) -> Result<Steadiness, Error>;
}

impl Walking for Walk {
    fn excluded(&self) -> u64 {
        Walk::excluded(self)
    }
}

impl Contents for FileReader {
    fn entry(&self) -> &Entry {
        FileReader::entry(self)
    }

    fn next_extent(&mut self) -> Result<Option<Extent>, Error> {
        FileReader::next_extent(self)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        FileReader::read_at(self, offset, buffer)
    }

    fn finish(self: Box<Self>) -> Result<Steadiness, Error> {
        FileReader::finish(*self)
    }
}
