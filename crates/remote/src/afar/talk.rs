//! What a protocol has to be able to do: one connection, used by one thread at a time.
//!
//! Errors of the kinds that a store counts as transient mean that the connection is of no more use; all others are about
//! what was asked for, and the connection goes on.

use std::io;

use jiff::Timestamp;
use model::entry::{Entry, EntryKind, Metadata};
use store::StoreError;

/// Entries of one directory: what a tree of a repository can hold ends before.
pub(super) const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of one name, path or link target from a server; no file system has longer ones.
pub(super) const NAME_LEN_MAX: usize = 8 << 10;

/// A conversation with a server.
pub(super) trait Talk: Send {
    /// The directory that was named itself, which may be behind a link; its name is empty. `NotADirectory` for others.
    fn root(&mut self, directory: &[u8]) -> io::Result<Entry>;

    /// Everything in a directory but itself and the one above, in any order, with the names as they come.
    fn list(&mut self, directory: &[u8]) -> io::Result<Listing>;

    /// What is told of a file now.
    fn look(&mut self, path: &[u8]) -> io::Result<Look>;

    /// Begin to read a file at an offset; tells what it is like before a byte of it is read. `Unsupported` where this
    /// server reads from the beginning only.
    fn open(&mut self, path: &[u8], offset: u64, expected: &Look) -> io::Result<Look>;

    /// The next bytes of the file; none at its end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether nothing is under way, so that something else can be asked.
    fn is_idle(&self) -> bool;

    /// End reading; tells what the file is like after its last byte was read, where more than `expected` is known.
    fn close(&mut self) -> io::Result<Look>;
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// What was understood.
    pub(super) entries: Vec<Entry>,
    /// Names of what was not, each with the reason.
    pub(super) unclear: Vec<(Vec<u8>, String)>,
}

impl Listing {
    /// Both together.
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.unclear.len()
    }
}

/// What tells a state of a file from another; `None` is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Bytes.
    pub(super) size: Option<u64>,
    /// When it was changed last.
    pub(super) mtime: Option<Timestamp>,
}

impl Look {
    /// What a walk saw.
    pub(super) fn of(entry: &Entry) -> Self {
        Self { size: Some(entry.metadata.size), mtime: Some(entry.metadata.mtime) }
    }

    /// Whether both may be of the same state.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        !differ(self.size, other.size) && !differ(self.mtime, other.mtime)
    }

    /// What is told here, and what only `other` tells.
    pub(super) fn or(self, other: Self) -> Self {
        Self { size: self.size.or(other.size), mtime: self.mtime.or(other.mtime) }
    }
}

/// Whether the connection is of no more use.
pub(super) fn is_broken(error: &io::Error) -> bool {
    let kind = io::Error::from(error.kind());
    StoreError::Io { action: "", key: String::new(), place: String::new(), cause: kind }.is_transient()
}

/// Who owns what the server names no owner for, and what it is allowed then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsaid {
    /// User.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

impl Unsaid {
    /// An entry of which nothing else is known yet.
    pub(super) fn entry(&self, name: Vec<u8>, kind: EntryKind) -> Entry {
        let mode = match kind {
            EntryKind::Directory => 0o755,
            EntryKind::Symlink { .. } => 0o777,
            _ => 0o644,
        };
        let metadata = Metadata {
            mode,
            uid: self.uid,
            gid: self.gid,
            user: String::new(),
            group: String::new(),
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            inode: 0,
            device_id: 0,
            links: 1,
            size: 0,
            xattrs: vec![],
        };
        Entry { name, kind, metadata }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_know_can_differ() {
        let time = |second| Timestamp::new(second, 0).ok();
        let look = |size, mtime| Look { size, mtime };
        assert!(look(Some(1), time(1)).agrees(&look(Some(1), time(1))));
        assert!(look(Some(1), None).agrees(&look(None, time(1))));
        assert!(!look(Some(1), time(1)).agrees(&look(Some(2), time(1))));
        assert!(!look(Some(1), time(1)).agrees(&look(Some(1), time(2))));
        assert_eq!(look(Some(1), None).or(look(Some(2), time(2))), look(Some(1), time(2)));
    }

    #[test]
    fn a_reset_breaks_a_connection_and_a_missing_file_does_not() {
        assert!(is_broken(&io::ErrorKind::ConnectionReset.into()));
        assert!(is_broken(&io::ErrorKind::TimedOut.into()));
        assert!(!is_broken(&io::ErrorKind::NotFound.into()));
        assert!(!is_broken(&io::Error::other("550 no")));
    }
}
