//! A stored file with long holes, as tar's readers know it.
//!
//! Form: GNU's sparse format 1.0 in pax records, which GNU tar, bsdtar, Python and Go read: the records name the file and
//! its real length; the member itself is a map in decimal lines (count, then offset and length of each stretch of
//! bytes), filled up to a block, and the stretches. A hole is found by the blob: one of zeros alone.

use std::collections::HashMap;
use std::io::{self, Read};

use model::digest::Digest;
use repo::blob;

use crate::stored_file::{RangeReader, StoredFile};

/// tar's block.
const BLOCK_LEN: usize = 512;
/// Zeros are compressed to less than this share of their length; other blobs need not be looked at.
const ZEROS_SHRINK: u64 = 500;
/// Shorter holes are written as zeros.
const HOLE_LEN_MIN: u64 = 64 << 10;

/// Bytes of a file that are not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    offset: u64,
    len: u64,
}

/// Knows the names of blobs of zeros; one for an archive.
#[derive(Default)]
pub(super) struct Zeros(HashMap<u32, Digest>);

impl Zeros {
    fn is(&mut self, id: &Digest, len: u32) -> bool {
        self.0.entry(len).or_insert_with(|| blob::id_of(&vec![0; len as usize])) == id
    }

    /// The member for `file`, if it has holes.
    pub(super) fn member(&mut self, file: &StoredFile) -> Option<Member> {
        let mut stretches: Vec<Stretch> = vec![];
        let mut at = 0;
        for piece in file.pieces() {
            let len = u64::from(piece.plain);
            let may_be_zeros = len >= HOLE_LEN_MIN && u64::from(piece.stored) < len / ZEROS_SHRINK;
            if !(may_be_zeros && self.is(&piece.id, piece.plain)) {
                match stretches.last_mut().filter(|last| last.offset + last.len == at) {
                    Some(last) => last.len += len,
                    None => stretches.push(Stretch { offset: at, len }),
                }
            }
            at += len;
        }
        let data: u64 = stretches.iter().map(|stretch| stretch.len).sum();
        (data < at).then(|| {
            // As GNU tar ends its maps: so the last hole has its length.
            stretches.push(Stretch { offset: at, len: 0 });
            Member { map: map_of(&stretches), stretches, data, real: at }
        })
    }
}

/// What stands in the archive instead of the file.
pub(super) struct Member {
    map: Vec<u8>,
    stretches: Vec<Stretch>,
    data: u64,
    real: u64,
}

impl Member {
    /// Bytes in the archive.
    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64 + self.data
    }

    /// What a reader must know before it.
    pub(super) fn records(&self, name: &[u8]) -> Vec<(String, Vec<u8>)> {
        let record = |key: &str, value: &[u8]| (format!("GNU.sparse.{key}"), value.to_vec());
        vec![
            record("major", b"1"),
            record("minor", b"0"),
            record("name", name),
            record("realsize", self.real.to_string().as_bytes()),
        ]
    }

    /// Its bytes.
    pub(super) fn read<'a>(&'a self, file: &'a StoredFile) -> MemberReader<'a> {
        MemberReader { map: &self.map, left: self.stretches.iter(), file, now: None }
    }
}

fn map_of(stretches: &[Stretch]) -> Vec<u8> {
    let numbers = stretches.iter().flat_map(|stretch| [stretch.offset, stretch.len]);
    let mut map: String =
        std::iter::once(stretches.len() as u64).chain(numbers).map(|number| format!("{number}\n")).collect();
    map.extend(std::iter::repeat_n('\0', map.len().next_multiple_of(BLOCK_LEN) - map.len()));
    map.into_bytes()
}

/// The map, then the stretches.
pub(super) struct MemberReader<'a> {
    map: &'a [u8],
    left: std::slice::Iter<'a, Stretch>,
    file: &'a StoredFile,
    now: Option<RangeReader>,
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.map.is_empty() {
            return self.map.read(buffer);
        }
        loop {
            if let Some(now) = &mut self.now {
                let count = now.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
            let Some(next) = self.left.next() else { return Ok(0) };
            self.now = Some(self.file.range(next.offset, next.len).map_err(io::Error::other)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_lines_that_fill_blocks() {
        let map = map_of(&[Stretch { offset: 0, len: 5 }, Stretch { offset: 9, len: 0 }]);
        assert_eq!(map.len(), BLOCK_LEN);
        assert!(map.starts_with(b"2\n0\n5\n9\n0\n\0"));
        let many: Vec<_> = (0..200).map(|n| Stretch { offset: n << 20, len: 1 }).collect();
        assert_eq!(map_of(&many).len() % BLOCK_LEN, 0);
    }
}
