//! The first page of a WAL segment, which says what the segment is.
//!
//! Form: `XLogLongPageHeaderData` (PostgreSQL source, `access/xlog_internal.h`), numbers as the server's machine has them,
//! here little-endian: magic (2) ‖ flags (2) ‖ timeline (4) ‖ address (8) ‖ rest of a record (4) ‖ 4 unused ‖ system id (8)
//! ‖ segment size (4) ‖ page size (4). The magic tells the major version.
//!
//! A segment that begins before its timeline does is a copy of the parent's up to there, so its first page may name an
//! earlier timeline than the file does, and never a later one.

use model::lsn::{Lsn, SystemId, Timeline};
use model::wal_name::{SegmentName, SegmentSize};

/// Bytes of the header.
pub const HEADER_LEN: usize = 40;

/// The flag of a page with the long header, which the first one of each segment has.
const LONG_HEADER: u16 = 0x0002;

/// Magic numbers of the major versions that are known.
const VERSIONS: [(u16, u32); 6] =
    [(0xD106, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)];

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Major version of the server.
    pub version: u32,
    /// Timeline of the first page.
    pub timeline: Timeline,
    /// Where the segment begins.
    pub start: Lsn,
    /// Whose it is.
    pub system_id: SystemId,
    /// Bytes of each segment of that cluster.
    pub size: SegmentSize,
}

/// Why a file is not the segment that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Fewer bytes than a header has.
    #[error("{0} bytes are no WAL segment")]
    Short(usize),
    /// The first bytes are none of WAL, or of a version that came later.
    #[error("it does not begin as WAL of PostgreSQL 13 to 18 does (magic {0:04X})")]
    Magic(u16),
    /// WAL, and not the beginning of a segment.
    #[error("its first page is not that of a segment")]
    NotFirst,
    /// No cluster has segments of that size.
    #[error("{0} bytes are no size of a WAL segment")]
    Size(u32),
    /// It ends early, or goes on behind its end.
    #[error("it has {found} bytes, and a segment of this cluster {expected}")]
    Length {
        /// Bytes of the file.
        found: u64,
        /// Bytes of a segment.
        expected: u64,
    },
    /// Another place in the log than its name says.
    #[error("it begins at {found}, and one of its name would at {expected}")]
    Place {
        /// By its first page.
        found: Lsn,
        /// By its name.
        expected: String,
    },
    /// A later timeline than its name says.
    #[error("its first page is of timeline {found}, and its name of timeline {expected}")]
    Timeline {
        /// By its first page.
        found: Timeline,
        /// By its name.
        expected: Timeline,
    },
    /// Another cluster's.
    #[error("it belongs to the cluster {found}, and this is {expected}")]
    Cluster {
        /// Whose it is.
        found: SystemId,
        /// Whose it should be.
        expected: SystemId,
    },
}

impl SegmentHeader {
    /// Read the beginning of a file.
    ///
    /// # Errors
    /// Where it is no beginning of a segment.
    pub fn parse(bytes: &[u8]) -> Result<Self, SegmentError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(SegmentError::Short(bytes.len()));
        };
        let half = |at| u16::from_le_bytes([header[at], header[at + 1]]);
        let word = |at| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let long = |at| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let known = VERSIONS.iter().find(|(magic, _)| *magic == half(0));
        let version = known.ok_or(SegmentError::Magic(half(0)))?.1;
        if half(2) & LONG_HEADER == 0 {
            return Err(SegmentError::NotFirst);
        }
        let size = SegmentSize::new(word(32).into()).ok_or(SegmentError::Size(word(32)))?;
        let (timeline, start) = (Timeline(word(4)), Lsn(long(8)));
        Ok(Self { version, timeline, start, system_id: SystemId(long(24)), size })
    }

    /// That a file of `len` bytes that begins so is the segment `name` of the cluster `system_id`.
    ///
    /// # Errors
    /// What does not fit.
    pub fn verify(&self, name: &SegmentName, system_id: SystemId, len: u64) -> Result<(), SegmentError> {
        let expected = name.number(self.size).map(|number| self.size.start_of(number));
        if self.system_id != system_id {
            return Err(SegmentError::Cluster { found: self.system_id, expected: system_id });
        }
        if expected != Some(self.start) {
            let expected = expected.map_or_else(|| "no place at all".to_owned(), |lsn| lsn.to_string());
            return Err(SegmentError::Place { found: self.start, expected });
        }
        if self.timeline > name.timeline {
            return Err(SegmentError::Timeline { found: self.timeline, expected: name.timeline });
        }
        if len != self.size.bytes() {
            return Err(SegmentError::Length { found: len, expected: self.size.bytes() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: SystemId = SystemId(7_000_000_000_000_000_001);

    fn written() -> [u8; HEADER_LEN] {
        let mut page = [0; HEADER_LEN];
        page[..2].copy_from_slice(&0xD110u16.to_le_bytes());
        page[2..4].copy_from_slice(&6u16.to_le_bytes());
        page[4..8].copy_from_slice(&2u32.to_le_bytes());
        page[8..16].copy_from_slice(&0x1_0300_0000u64.to_le_bytes());
        page[24..32].copy_from_slice(&CLUSTER.0.to_le_bytes());
        page[32..36].copy_from_slice(&(16u32 << 20).to_le_bytes());
        page
    }

    fn judged(page: &[u8], name: &str, len: u64) -> Result<(), SegmentError> {
        SegmentHeader::parse(page)?.verify(&name.parse().unwrap(), CLUSTER, len)
    }

    #[test]
    fn a_segment_of_its_name_is_taken() {
        let header = SegmentHeader::parse(&written()).unwrap();
        assert_eq!((header.version, header.timeline, header.size), (15, Timeline(2), SegmentSize::DEFAULT));
        assert_eq!(judged(&written(), "000000020000000100000003", 16 << 20), Ok(()));
        // The copy with which a later timeline begins.
        assert_eq!(judged(&written(), "000000050000000100000003", 16 << 20), Ok(()));
    }

    #[test]
    fn pitfall_04_what_is_not_whole_or_not_of_its_name_is_refused() {
        use SegmentError::*;
        let name = "000000020000000100000003";
        assert_eq!(judged(&written()[..39], name, 39), Err(Short(39)));
        let expected = 16 << 20;
        assert_eq!(judged(&written(), name, 1 << 20), Err(Length { found: 1 << 20, expected }));
        let place = Place { found: Lsn(0x1_0300_0000), expected: "1/4000000".to_owned() };
        assert_eq!(judged(&written(), "000000020000000100000004", 16 << 20), Err(place));
        let timeline = Timeline { found: model::lsn::Timeline(2), expected: model::lsn::Timeline(1) };
        assert_eq!(judged(&written(), "000000010000000100000003", 16 << 20), Err(timeline));
        let change = |at: usize, to: u8| {
            let mut page = written();
            page[at] = to;
            judged(&page, name, 16 << 20)
        };
        assert_eq!(change(0, 0), Err(Magic(0xD100)));
        assert_eq!(change(2, 0), Err(NotFirst));
        assert_eq!(change(35, 9), Err(Size(0x0900_0000)));
        assert!(matches!(change(24, 0), Err(Cluster { .. })));
        assert_eq!(SegmentHeader::parse(&[0; 8192]), Err(Magic(0)));
    }
}
