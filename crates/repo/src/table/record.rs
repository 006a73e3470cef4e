//! One copy of one blob, as a table keeps it.

use model::digest::Digest;

use crate::blob::{BLOB_LEN_MAX, BlobId, BlobKind};

/// Bytes of a record.
pub const RECORD_LEN: usize = 48;
/// In the length: it is a tree.
const TREE: u32 = 1 << 31;
const _: () = assert!(BLOB_LEN_MAX < TREE);

/// A blob, and where it is. Ordered by id first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its name.
    pub id: BlobId,
    /// What it holds.
    pub kind: BlobKind,
    /// Number of the row that says which pack, and which index file said so.
    pub row: u32,
    /// First byte of its envelope in the pack.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Plaintext bytes where it is compressed, otherwise 0.
    pub raw_length: u32,
}

impl Record {
    /// Append the bytes of the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let tree = if self.kind == BlobKind::Tree { TREE } else { 0 };
        out.extend_from_slice(&self.id.0);
        for number in [self.row, self.offset, self.length | tree, self.raw_length] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// The opposite of [`Record::encode`].
    pub fn decode(bytes: &[u8; RECORD_LEN]) -> Self {
        let (id, numbers) = bytes.split_first_chunk::<32>().expect("a record begins with an id");
        let number = |at: usize| {
            u32::from_le_bytes(*numbers[at * 4..].first_chunk().expect("a record ends with four numbers"))
        };
        Self {
            id: Digest(*id),
            kind: if number(2) & TREE > 0 { BlobKind::Tree } else { BlobKind::Data },
            row: number(0),
            offset: number(1),
            length: number(2) & !TREE,
            raw_length: number(3),
        }
    }

    /// What a fence keeps of an id: its first eight bytes, as a number that sorts alike.
    pub fn fence(id: &BlobId) -> u64 {
        u64::from_be_bytes(*id.0.first_chunk().expect("an id has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        for kind in BlobKind::ALL {
            let record = Record {
                id: Digest([7; 32]),
                kind,
                row: 1,
                offset: u32::MAX,
                length: BLOB_LEN_MAX,
                raw_length: BLOB_LEN_MAX,
            };
            let mut bytes = vec![];
            record.encode(&mut bytes);
            assert_eq!(Record::decode(bytes[..].try_into().unwrap()), record);
        }
    }
}
