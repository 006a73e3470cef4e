//! What one entry of a backed-up directory is: a file, directory, link, device, pipe or socket with its metadata.
//!
//! Names and link targets are bytes, as the kernel has them; nothing here assumes UTF-8.

use jiff::Timestamp;

/// One entry of a directory, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last part of the path; never empty, `.`, `..`, and never with `/` or NUL inside.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Owner, mode, times and the rest.
    pub metadata: Metadata,
}

/// The kinds of entries that a file system has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link and where it points.
    Symlink {
        /// Target, as `readlink` gives it.
        target: Vec<u8>,
    },
    /// A block device.
    BlockDevice {
        /// `st_rdev`.
        device: u64,
    },
    /// A character device.
    CharDevice {
        /// `st_rdev`.
        device: u64,
    },
    /// A named pipe.
    Fifo,
    /// A local socket: recorded, never restored (it has no meaning without its process).
    Socket,
}

/// What `lstat` and `listxattr` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The twelve permission bits of `st_mode` (0o7777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Name of the owner, empty where the system knows none.
    pub user: String,
    /// Name of the group, empty where the system knows none.
    pub group: String,
    /// Content last changed.
    pub mtime: Timestamp,
    /// Last read.
    pub atime: Timestamp,
    /// Metadata last changed.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// `st_dev`.
    pub device_id: u64,
    /// Number of hard links.
    pub links: u64,
    /// Bytes, for files; 0 otherwise.
    pub size: u64,
    /// Extended attributes (ACLs and capabilities are among them), sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name, like `user.comment` or `system.posix_acl_access`.
    pub name: String,
    /// Raw value.
    pub value: Vec<u8>,
}

impl Entry {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Directory)
    }
}

/// Whether `name` may stand as one part of a path: not empty, not `.` or `..`, no `/` and no NUL.
pub fn is_plain_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_not_plain() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
        for name in [&b"..."[..], b"a b", b"\xff\xfe", b"\n"] {
            assert!(is_plain_name(name), "{name:?}");
        }
    }
}
