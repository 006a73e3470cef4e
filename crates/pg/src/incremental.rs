//! An incremental file: the pages of one file of a relation that changed since an earlier backup.
//!
//! Form (PostgreSQL 17, `basebackup_incremental.c`): magic `0xd3ae1f0d` · number of pages · truncation length in pages · the
//! numbers of the pages, ascending, counted from the beginning of this file · zeros up to a multiple of 8 KiB where there are
//! pages · the pages; all numbers 32 bit, little-endian. A page below the truncation length that is not in it comes from the
//! earlier backup; one at or above it that is not in it is zeros. In a backup the file is called `INCREMENTAL.<name>`.

use crate::page::{PAGE_LEN, SEGMENT_PAGES};

/// What stands before the name of the file.
pub const PREFIX: &str = "INCREMENTAL.";
const MAGIC: u32 = 0xd3ae_1f0d;
/// Bytes before the numbers.
pub const HEAD_LEN: usize = 12;

/// Which pages an incremental file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncrementalHeader {
    /// Pages that are there, ascending, counted from the beginning of the file.
    pub pages: Vec<u32>,
    /// From this page on nothing comes from earlier backups.
    pub truncation: u32,
}

/// Bytes that are no incremental file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIncremental {
    /// Another beginning.
    #[error("it is no incremental file")]
    Magic,
    /// More than a file of a relation can have.
    #[error("it names more pages than a file of a relation has")]
    TooMany,
    /// They would overwrite each other.
    #[error("its pages are not in ascending order")]
    Order,
    /// Shorter than it says.
    #[error("it is shorter than its header says")]
    Short,
}

/// Bytes of the header of a file with that many pages.
pub fn header_len(pages: u32) -> usize {
    let len = HEAD_LEN + 4 * pages as usize;
    if pages == 0 { len } else { len.next_multiple_of(PAGE_LEN) }
}

impl IncrementalHeader {
    /// The bytes before the pages.
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = self.pages.len() as u32;
        let mut bytes = Vec::with_capacity(header_len(count));
        for number in [MAGIC, count, self.truncation].iter().chain(&self.pages) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(header_len(count), 0);
        bytes
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        header_len(self.pages.len() as u32) as u64 + (self.pages.len() * PAGE_LEN) as u64
    }

    /// How many bytes of a file of `len` bytes, which begins with `head`, the whole header has.
    ///
    /// # Errors
    /// [`BadIncremental`] where it is none, or its length is not what it says.
    pub fn len_told_by(head: &[u8; HEAD_LEN], len: u64) -> Result<usize, BadIncremental> {
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (magic, count, truncation) = (number(0), number(4), number(8));
        if magic != MAGIC {
            return Err(BadIncremental::Magic);
        }
        if count > SEGMENT_PAGES || truncation > SEGMENT_PAGES {
            return Err(BadIncremental::TooMany);
        }
        let header = header_len(count);
        let whole = header as u64 + u64::from(count) * PAGE_LEN as u64;
        if whole == len { Ok(header) } else { Err(BadIncremental::Short) }
    }

    /// The truncation of a file that begins with `head`: about as many pages as the file itself has.
    pub fn truncation_told_by(head: &[u8; HEAD_LEN]) -> u32 {
        u32::from_le_bytes([head[8], head[9], head[10], head[11]])
    }

    /// Read the bytes before the pages, as long as [`IncrementalHeader::len_told_by`] says.
    ///
    /// # Errors
    /// [`BadIncremental`].
    pub fn parse(header: &[u8]) -> Result<Self, BadIncremental> {
        let mut numbers =
            header.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let mut next = || numbers.next().ok_or(BadIncremental::Short);
        let (magic, count, truncation) = (next()?, next()?, next()?);
        if magic != MAGIC {
            return Err(BadIncremental::Magic);
        }
        let pages: Vec<u32> = numbers.take(count as usize).collect();
        if pages.len() != count as usize {
            return Err(BadIncremental::Short);
        }
        if pages.iter().any(|page| *page >= SEGMENT_PAGES) {
            return Err(BadIncremental::TooMany);
        }
        if pages.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(BadIncremental::Order);
        }
        Ok(Self { pages, truncation })
    }

    /// A page that would come from an earlier backup, although from page `limit` on none of them holds any more. Servers take
    /// the length that a file has for its truncation, also where it was cut off to `limit` pages and grew again by pages of
    /// zeros, which are in no log and in no summary.
    pub fn brings_back(&self, limit: u32) -> Option<u32> {
        let listed = self.pages.partition_point(|page| *page < limit);
        let mut listed = self.pages[listed..].iter();
        (limit..self.truncation).find(|page| listed.next() != Some(page))
    }

    /// Pages of the file that is made of it and the earlier ones.
    pub fn length(&self) -> u32 {
        self.pages.last().map_or(0, |last| last + 1).max(self.truncation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for (pages, truncation) in
            [(vec![], 0), (vec![], 131_072), (vec![0, 7, 131_071], 9), ((0..3000).collect(), 3000)]
        {
            let header = IncrementalHeader { pages, truncation };
            let bytes = header.to_bytes();
            let head = bytes[..HEAD_LEN].try_into().unwrap();
            assert_eq!(IncrementalHeader::len_told_by(head, header.file_len()), Ok(bytes.len()));
            assert_eq!(IncrementalHeader::truncation_told_by(head), truncation);
            assert_eq!(IncrementalHeader::parse(&bytes), Ok(header));
        }
    }

    #[test]
    fn headers_are_as_long_as_postgresql_makes_them() {
        assert_eq!([0, 1, 2045, 2046].map(header_len), [12, 8192, 8192, 16_384]);
    }

    #[test]
    fn a_file_reaches_to_its_truncation_or_its_last_page() {
        let length = |pages, truncation| IncrementalHeader { pages, truncation }.length();
        assert_eq!([length(vec![], 5), length(vec![8], 5), length(vec![1], 5)], [5, 9, 5]);
    }

    #[test]
    fn what_lay_behind_a_limit_and_is_not_listed_would_come_back() {
        let header = |pages: &[u32], truncation| IncrementalHeader { pages: pages.to_vec(), truncation };
        // Cut off to two pages, and grown to five since.
        assert_eq!(header(&[0, 2, 3, 4], 5).brings_back(2), None);
        assert_eq!(header(&[0, 2, 4], 5).brings_back(2), Some(3));
        assert_eq!(header(&[2, 3], 5).brings_back(2), Some(4));
        assert_eq!(header(&[], 5).brings_back(2), Some(2));
        // Nothing but what lies before the limit.
        assert_eq!(header(&[1], 2).brings_back(2), None);
        assert_eq!(header(&[], 5).brings_back(5), None);
        assert_eq!(header(&[7], 5).brings_back(9), None);
    }

    #[test]
    fn damage_is_refused() {
        let sound = IncrementalHeader { pages: vec![1, 2], truncation: 4 }.to_bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            IncrementalHeader::parse(&bytes)
        };
        assert_eq!(with(0, 0), Err(BadIncremental::Magic));
        assert_eq!(with(12, 2), Err(BadIncremental::Order));
        assert_eq!(with(19, 1), Err(BadIncremental::TooMany));
        assert_eq!(with(6, 1), Err(BadIncremental::Short));
        let head: &[u8; HEAD_LEN] = sound[..HEAD_LEN].try_into().unwrap();
        assert_eq!(IncrementalHeader::len_told_by(head, 8192), Err(BadIncremental::Short));
        for len in 0..sound.len().min(20) {
            assert!(IncrementalHeader::parse(&sound[..len]).is_err());
        }
    }
}
