//! The heads of files in an archive, as PostgreSQL writes them.
//!
//! Form: POSIX `ustar` heads of 512 bytes, numbers octal or, where they are too large for that, binary with the highest
//! bit set; content is filled up to 512 bytes. Invariant: a path leads to nowhere but below the directory that it is meant
//! for, whatever the server sends.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::wire::WireError;

/// Bytes of a head, and of what content is filled up to.
pub(super) const BLOCK_LEN: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with this many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this place.
    Link(PathBuf),
}

/// One head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Below the directory that is archived.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Permissions.
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) modified_s: i64,
    /// Numbers of user and group on the server's host.
    pub(super) owner: (u32, u32),
}

/// Read a head; nothing where the archive ends.
pub(super) fn read_head(block: &[u8; BLOCK_LEN]) -> Result<Option<Head>, WireError> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if &block[257..262] != b"ustar" || number(&block[148..156])? != checksum(block) {
        return Err(WireError::nonsense("a head in the archive is none"));
    }
    let name = text(&block[..100]);
    let path = match text(&block[345..500]) {
        [] => Path::new(OsStr::from_bytes(name)).to_owned(),
        prefix => Path::new(OsStr::from_bytes(prefix)).join(OsStr::from_bytes(name)),
    };
    let size = number(&block[124..136])?;
    let kind = match block[156] {
        b'0' | 0 => Kind::File(size),
        b'5' => Kind::Directory,
        b'2' => Kind::Link(OsStr::from_bytes(text(&block[157..257])).into()),
        other => {
            let what = format!("{} in the archive is of kind {:?}", path.display(), char::from(other));
            return Err(WireError::nonsense(what));
        }
    };
    Ok(Some(Head {
        path: below(&path)?,
        kind,
        mode: (number(&block[100..108])? & 0o7777) as u32,
        modified_s: i64::try_from(number(&block[136..148])?).unwrap_or_default(),
        owner: (owner(&block[108..116])?, owner(&block[116..124])?),
    }))
}

fn owner(field: &[u8]) -> Result<u32, WireError> {
    u32::try_from(number(field)?)
        .map_err(|_| WireError::nonsense("an owner in the archive is no number of a user"))
}

/// Bytes that fill content up.
pub(super) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_LEN as u64) - size
}

/// The path without `.`; one that leads elsewhere is refused. The directory itself is the empty path.
fn below(path: &Path) -> Result<PathBuf, WireError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => return Err(WireError::nonsense(format!("a path that leads away: {}", path.display()))),
        }
    }
    Ok(clean)
}

fn text(field: &[u8]) -> &[u8] {
    &field[..memchr::memchr(0, field).unwrap_or(field.len())]
}

fn number(field: &[u8]) -> Result<u64, WireError> {
    let wrong = || WireError::nonsense("a number in the archive is none");
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let is_small = high.iter().enumerate().all(|(at, byte)| *byte == if at == 0 { 0x80 } else { 0 });
        let low = low.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        // Content is filled up: the sum has to have room.
        return low.filter(|number| is_small && *number < 1 << 62).ok_or_else(wrong);
    }
    let digits = std::str::from_utf8(text(field)).map_err(|_| wrong())?.trim();
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| wrong())
}

/// The sum of all bytes, those of the sum itself taken for blanks.
fn checksum(block: &[u8; BLOCK_LEN]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A head as PostgreSQL writes it.
    pub(crate) fn head(name: &str, kind: u8, size: &[u8; 12]) -> [u8; BLOCK_LEN] {
        let mut block = [0; BLOCK_LEN];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000600 ");
        block[124..136].copy_from_slice(size);
        block[136..148].copy_from_slice(b"14723470000 ");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum = format!("{:06o}\0 ", checksum(&block));
        block[148..156].copy_from_slice(sum.as_bytes());
        block
    }

    #[test]
    fn heads_are_read() {
        let found = read_head(&head("base/1/2619", b'0', b"00000020000 ")).unwrap().unwrap();
        assert_eq!((found.path.to_str(), found.kind), (Some("base/1/2619"), Kind::File(8192)));
        assert_eq!((found.mode, found.modified_s), (0o600, 0o14723470000));
        let found = read_head(&head("./pg_wal", b'5', b"00000000000 ")).unwrap().unwrap();
        assert_eq!((found.path.to_str(), found.kind), (Some("pg_wal"), Kind::Directory));
        let large = [&[0x80, 0, 0, 0][..], &(9u64 << 30).to_be_bytes()].concat().try_into().unwrap();
        assert_eq!(read_head(&head("big", b'0', &large)).unwrap().unwrap().kind, Kind::File(9 << 30));
        assert_eq!(read_head(&[0; BLOCK_LEN]).unwrap(), None);
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
    }

    #[test]
    fn paths_that_lead_away_are_refused() {
        for name in ["../x", "/etc/passwd", "base/../../x"] {
            assert!(read_head(&head(name, b'0', b"00000000000 ")).is_err(), "{name}");
        }
        let mut wrong = head("x", b'0', b"00000000000 ");
        wrong[0] = b'y';
        assert!(read_head(&wrong).is_err());
    }

    proptest! {
        #[test]
        fn any_head_is_read_or_refused(at in 0usize..BLOCK_LEN, bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut block = head("base/1/2619", b'0', b"00000020000 ");
            for (place, byte) in block[at..].iter_mut().zip(bytes) {
                *place = byte;
            }
            let sum = format!("{:06o}\0 ", checksum(&block));
            block[148..156].copy_from_slice(sum.as_bytes());
            if let Ok(Some(Head { kind: Kind::File(size), .. })) = read_head(&block) {
                padding(size);
            }
        }
    }
}
