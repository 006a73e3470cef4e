//! Names of files in `pg_wal`, as PostgreSQL builds them.
//!
//! Form: a segment is 24 hexadecimal digits, timeline ‖ high ‖ low, where high and low count segments in 4 GiB; with
//! `.partial` it is the unfinished end of a timeline, with `.<offset>.backup` the note of a base backup;
//! `<timeline>.history` tells of earlier timelines (PostgreSQL source, `access/xlog_internal.h`). The size of a segment
//! is the cluster's and is asked for, never assumed.

use std::fmt;
use std::str::FromStr;

use crate::lsn::{Lsn, Timeline};

/// Bytes of a segment: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentSize(u32);

/// The number of a segment, counted from the beginning of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNo(pub u64);

/// A file of `pg_wal`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalName {
    /// A whole segment.
    Segment(SegmentName),
    /// The end of a timeline: a segment of which only the beginning was written.
    Partial(SegmentName),
    /// What `pg_backup_stop` noted of a base backup that begins at this offset of the segment.
    Backup(SegmentName, u32),
    /// Where this timeline came from.
    History(Timeline),
}

/// The name of a segment. Its number follows once the size of segments is known; names of one timeline sort as they
/// follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Its timeline.
    pub timeline: Timeline,
    high: u32,
    low: u32,
}

/// A text that names no file of `pg_wal`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a WAL file")]
pub struct BadWalName(String);

impl SegmentSize {
    /// What `initdb` chooses unless told.
    pub const DEFAULT: Self = Self(16 << 20);

    /// `bytes`, where a cluster can have segments of that size.
    pub fn new(bytes: u64) -> Option<Self> {
        let is_legal = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        is_legal.then_some(Self(bytes as u32))
    }

    /// Bytes.
    pub fn bytes(self) -> u64 {
        self.0.into()
    }

    /// Segments in 4 GiB.
    fn per_high(self) -> u64 {
        (1 << 32) / self.bytes()
    }

    /// The segment that holds the byte at `lsn`.
    pub fn segment_of(self, lsn: Lsn) -> SegmentNo {
        SegmentNo(lsn.0 / self.bytes())
    }

    /// The segment that holds the last byte before `lsn`.
    pub fn segment_before(self, lsn: Lsn) -> SegmentNo {
        SegmentNo(lsn.0.saturating_sub(1) / self.bytes())
    }

    /// Where a segment begins.
    pub fn start_of(self, segment: SegmentNo) -> Lsn {
        Lsn(segment.0 * self.bytes())
    }
}

impl SegmentName {
    /// The name of a segment on a timeline.
    pub fn new(timeline: Timeline, segment: SegmentNo, size: SegmentSize) -> Self {
        let (high, low) = (segment.0 / size.per_high(), segment.0 % size.per_high());
        Self { timeline, high: high as u32, low: low as u32 }
    }

    /// Its number; nothing where segments of that size have no such name.
    pub fn number(self, size: SegmentSize) -> Option<SegmentNo> {
        let is_legal = u64::from(self.low) < size.per_high();
        is_legal.then(|| SegmentNo(u64::from(self.high) * size.per_high() + u64::from(self.low)))
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:08X}{:08X}{:08X}", self.timeline.0, self.high, self.low)
    }
}

impl WalName {
    /// The timeline that it belongs to.
    pub fn timeline(&self) -> Timeline {
        match self {
            Self::Segment(name) | Self::Partial(name) | Self::Backup(name, _) => name.timeline,
            Self::History(timeline) => *timeline,
        }
    }
}

impl fmt::Display for WalName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => name.fmt(out),
            Self::Partial(name) => write!(out, "{name}.partial"),
            Self::Backup(name, offset) => write!(out, "{name}.{offset:08X}.backup"),
            Self::History(timeline) => write!(out, "{:08X}.history", timeline.0),
        }
    }
}

impl FromStr for SegmentName {
    type Err = BadWalName;

    fn from_str(text: &str) -> Result<Self, BadWalName> {
        let digits = |range| hex(text.get(range)?);
        let parts = || Some((digits(0..8)?, digits(8..16)?, digits(16..24)?));
        match parts().filter(|_| text.len() == 24) {
            Some((timeline, high, low)) if timeline > 0 => {
                Ok(Self { timeline: Timeline(timeline), high, low })
            }
            _ => Err(BadWalName(text.to_owned())),
        }
    }
}

impl FromStr for WalName {
    type Err = BadWalName;

    fn from_str(text: &str) -> Result<Self, BadWalName> {
        let bad = || BadWalName(text.to_owned());
        match text.split_once('.') {
            None => Ok(Self::Segment(text.parse()?)),
            Some((name, "partial")) => Ok(Self::Partial(name.parse().map_err(|_| bad())?)),
            Some((name, "history")) => {
                let number = hex(name).filter(|number| *number > 0).ok_or_else(bad)?;
                Ok(Self::History(Timeline(number)))
            }
            Some((name, rest)) => {
                let offset = rest.strip_suffix(".backup").and_then(hex).ok_or_else(bad)?;
                Ok(Self::Backup(name.parse().map_err(|_| bad())?, offset))
            }
        }
    }
}

/// Eight digits, as PostgreSQL writes them: upper case.
fn hex(digits: &str) -> Option<u32> {
    let is_plain =
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    is_plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        let names = [
            "000000010000000000000001",
            "0000000A000000FF000000FE.partial",
            "000000010000000000000003.00000028.backup",
            "00000002.history",
        ];
        for name in names {
            assert_eq!(name.parse::<WalName>().unwrap().to_string(), name);
        }
        assert_eq!("0000000A.history".parse::<WalName>().unwrap().timeline(), Timeline(10));
    }

    #[test]
    fn other_names_are_refused() {
        let names = [
            "",
            ".",
            "..",
            "00000001000000000000000",
            "0000000100000000000000011",
            "00000001000000000000000g",
            "00000000.history",
            "000000000000000000000001",
            "000000010000000000000001.tmp",
            "0000000a.history",
            "000000010000000000000001.partial.gz",
            "000000010000000000000001.28.backup",
            "../00000001.history",
            "00000001000000000000000é",
        ];
        for name in names {
            assert!(name.parse::<WalName>().is_err(), "{name}");
        }
    }

    #[test]
    fn numbers_and_names_fit_for_every_size() {
        for bytes in (20..=30).map(|bits| 1u64 << bits) {
            let size = SegmentSize::new(bytes).unwrap();
            for number in [0, 1, 3, 4, 255, 256, 4095, 4096, 1 << 20] {
                let name = SegmentName::new(Timeline(7), SegmentNo(number), size);
                assert_eq!(name.number(size), Some(SegmentNo(number)));
                assert_eq!(size.segment_of(size.start_of(SegmentNo(number))), SegmentNo(number));
            }
        }
        let last: SegmentName = "0000000100000000000000FF".parse().unwrap();
        assert_eq!(last.number(SegmentSize::DEFAULT), Some(SegmentNo(255)));
        assert_eq!(last.number(SegmentSize::new(64 << 20).unwrap()), None);
        assert_eq!([0, 3 << 20, 2 << 30, 1 << 19].map(SegmentSize::new), [None; 4]);
    }

    #[test]
    fn the_end_of_a_segment_belongs_to_it() {
        let size = SegmentSize::DEFAULT;
        let end = Lsn(2 * size.bytes());
        assert_eq!((size.segment_before(end), size.segment_of(end)), (SegmentNo(1), SegmentNo(2)));
    }
}
