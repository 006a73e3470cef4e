//! What SFTP tells of a file: size, owner, mode, times to the second.

use std::io;

use jiff::Timestamp;
use model::entry::{Entry, EntryKind};

use super::super::talk::{Look, Unsaid};
use super::rest::Rest;

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const MORE: u32 = 0x8000_0000;

const KIND: u32 = 0o170_000;

/// Attributes; what is not told is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<u32>,
}

impl Attributes {
    pub(super) fn read(rest: &mut Rest<'_>) -> io::Result<Self> {
        let flags = rest.number()?;
        let mut found = Self::default();
        if flags & SIZE != 0 {
            found.size = Some(rest.long()?);
        }
        if flags & OWNER != 0 {
            found.owner = Some((rest.number()?, rest.number()?));
        }
        if flags & MODE != 0 {
            found.mode = Some(rest.number()?);
        }
        if flags & TIMES != 0 {
            let _accessed = rest.number()?;
            found.mtime = Some(rest.number()?);
        }
        if flags & MORE != 0 {
            for _ in 0..rest.number()? {
                let (_kind, _value) = (rest.text(usize::MAX)?, rest.text(usize::MAX)?);
            }
        }
        Ok(found)
    }

    /// Whether all is told that an entry needs.
    pub(super) fn is_whole(&self) -> bool {
        self.size.is_some() && self.mode.is_some() && self.mtime.is_some()
    }

    pub(super) fn is_link(&self) -> bool {
        self.mode.is_some_and(|mode| mode & KIND == 0o120_000)
    }

    pub(super) fn is_dir(&self) -> bool {
        self.mode.is_some_and(|mode| mode & KIND == 0o040_000)
    }

    pub(super) fn is_file(&self) -> bool {
        self.mode.is_some_and(|mode| mode & KIND == 0o100_000)
    }

    pub(super) fn look(&self) -> Look {
        Look { size: self.size, mtime: self.mtime.and_then(time) }
    }

    /// The entry of this name; `None` for what SFTP cannot tell enough of: devices. `line` is what `ls -l` would say, and
    /// has the names of the owners.
    pub(super) fn entry(
        &self,
        name: Vec<u8>,
        target: Vec<u8>,
        line: &[u8],
        unsaid: &Unsaid,
    ) -> Option<Entry> {
        let mode = self.mode?;
        let kind = match mode & KIND {
            0o100_000 => EntryKind::File,
            0o040_000 => EntryKind::Directory,
            0o120_000 => EntryKind::Symlink { target },
            0o010_000 => EntryKind::Fifo,
            0o140_000 => EntryKind::Socket,
            _ => return None,
        };
        let mut entry = unsaid.entry(name, kind);
        let metadata = &mut entry.metadata;
        metadata.mode = mode & 0o7777;
        (metadata.uid, metadata.gid) = self.owner.unwrap_or((metadata.uid, metadata.gid));
        (metadata.user, metadata.group) = owners(line);
        metadata.mtime = self.mtime.and_then(time).unwrap_or(metadata.mtime);
        (metadata.atime, metadata.ctime) = (metadata.mtime, metadata.mtime);
        metadata.size = if self.is_file() { self.size? } else { 0 };
        Some(entry)
    }
}

fn time(seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(seconds.into()).ok()
}

/// User and group of `-rw-r--r--    1 root     staff  …`; numbers are no names.
fn owners(line: &[u8]) -> (String, String) {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let is_listing = words.next().is_some_and(|mode| mode.len() >= 10 && b"-dlbcps".contains(&mode[0]));
    let name = |word: Option<&[u8]>| {
        let text =
            word.and_then(|word| std::str::from_utf8(word).ok()).filter(|_| is_listing).unwrap_or_default();
        if text.bytes().all(|byte| byte.is_ascii_digit()) { String::new() } else { text.to_owned() }
    };
    let _links = words.next();
    (name(words.next()), name(words.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_names_where_the_line_is_one_of_ls() {
        let line = b"-rw-r--r--    1 root     staff        12 Nov 21 12:00 a b";
        assert_eq!(owners(line), ("root".into(), "staff".into()));
        assert_eq!(owners(b"drwxr-xr-x    ? 1000     1001        12 Nov 21 12:00 a"), Default::default());
        assert_eq!(owners(b"a file"), Default::default());
        assert_eq!(owners(b""), Default::default());
    }

    #[test]
    fn a_device_is_no_entry_and_a_link_has_its_target() {
        let unsaid = Unsaid { uid: 7, gid: 8 };
        let with = |mode| Attributes { size: Some(3), owner: None, mode: Some(mode), mtime: Some(9) };
        assert!(with(0o020_600).entry(b"d".to_vec(), vec![], b"", &unsaid).is_none());
        let link = with(0o120_777).entry(b"l".to_vec(), b"t\xff".to_vec(), b"", &unsaid).unwrap();
        assert_eq!(link.kind, EntryKind::Symlink { target: b"t\xff".to_vec() });
        assert_eq!((link.metadata.uid, link.metadata.size, link.metadata.mtime.as_second()), (7, 0, 9));
    }
}
