//! The records of the write-ahead log, met one after the other: not what they say, but which there are; of two kinds a
//! little more.
//!
//! Form (PostgreSQL source, `access/xlogrecord.h`, `access/xlog_internal.h`): pages of 8 KiB, each with a header of 24 bytes,
//! the first one of a segment of 40; it says how many bytes of a record go on from the page before. Records begin at
//! multiples of 8: length (4) ‖ transaction (4) ‖ previous record (8) ‖ info (1) ‖ resource manager (1) ‖ 2 unused ‖ CRC (4),
//! then what belongs to blocks, then the main part. Length zero: the rest of the log is not written yet.
//!
//! Invariant: only whole segments come in, in the order of their numbers; what a record says is believed as far as a
//! recovering server would read it, whose own CRC check comes later.

use jiff::Timestamp;
use model::lsn::Lsn;

/// Bytes of a page of the log.
const PAGE_LEN: usize = 8192;
const SHORT_HEADER_LEN: usize = 24;
const LONG_HEADER_LEN: usize = 40;
const RECORD_HEADER_LEN: usize = 24;
/// The page begins with the rest of a record; without that, what it says of such a rest is nothing.
const GOES_ON: u16 = 0x0001;
/// The page has the long header.
const LONG_HEADER: u16 = 0x0002;
/// Bytes of a record that are looked at, at most: a place has 1,023.
const LOOKED_AT_MAX: usize = 1200;

/// Resource managers: their numbers never change.
const TRANSACTIONS: u8 = 1;
const TABLESPACES: u8 = 5;
/// What the upper half of `info` says of a record of theirs.
const COMMIT: u8 = 0x00;
const ABORT: u8 = 0x20;
const COMMIT_PREPARED: u8 = 0x30;
const ABORT_PREPARED: u8 = 0x40;
const CREATE: u8 = 0x00;

/// What stands in front of a part of a record.
const SHORT_MAIN: u8 = 255;
const LONG_MAIN: u8 = 254;
const ORIGIN: u8 = 253;
const TOP_TRANSACTION: u8 = 252;

/// Where a tablespace is whose record cannot be read: a server may read it otherwise.
const HIDDEN_PLACE: &str = "a place that its record hides";

/// 2000-01-01, from which servers count their microseconds.
const EPOCH_S: i64 = 946_684_800;

/// What was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A transaction was committed.
    Commit {
        /// When, by the clock of the server.
        at: Timestamp,
    },
    /// A transaction was given up. Recovery to a time stops at these too.
    Abort {
        /// When, by the clock of the server.
        at: Timestamp,
    },
    /// A tablespace was made.
    NewTablespace {
        /// Where the record begins.
        lsn: Lsn,
        /// Its number; zero where the record hides it.
        oid: u32,
        /// Its directory; empty where that is in the data directory itself.
        place: String,
    },
}

/// Walks over the records of segments that follow each other.
#[derive(Default)]
pub struct RecordWalk {
    /// The record that is being met: where it begins, its length, and the first bytes of it.
    record: Option<(Lsn, usize)>,
    seen: Vec<u8>,
    /// Bytes of it, with those that fill it up to the next record, that are still to come.
    left: usize,
    /// Whether what a page begins with, a part of a record that began unseen, was passed.
    is_begun: bool,
    /// Records that begin here or later are not met.
    end: Option<Lsn>,
    /// Where the record begins that was met last.
    last: Option<Lsn>,
}

impl RecordWalk {
    /// Before the first segment.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, up to `end`, where a record ends.
    pub fn up_to(end: Lsn) -> Self {
        Self { end: Some(end), ..Self::default() }
    }

    /// Where the last record that was met begins.
    pub fn last(&self) -> Option<Lsn> {
        self.last
    }

    /// The next segment, which begins at `start`: what it ends is told to `met`.
    pub fn segment(&mut self, start: Lsn, bytes: &[u8], met: &mut dyn FnMut(Record)) {
        for (number, page) in bytes.chunks_exact(PAGE_LEN).enumerate() {
            let at = start.0 + (number * PAGE_LEN) as u64;
            if !self.page(at, page, met) {
                return;
            }
        }
    }

    /// One page; false where the log ends in it.
    fn page(&mut self, at: u64, page: &[u8], met: &mut dyn FnMut(Record)) -> bool {
        let flags = u16::from_le_bytes([page[2], page[3]]);
        let mut position = if flags & LONG_HEADER != 0 { LONG_HEADER_LEN } else { SHORT_HEADER_LEN };
        let rest = u32::from_le_bytes([page[16], page[17], page[18], page[19]]) as usize;
        let goes_on = if flags & GOES_ON != 0 { rest } else { 0 };
        let expected = self.record.map_or(0, |(_, len)| self.left - (aligned(len) - len));
        if goes_on != expected {
            // A record that its writer never finished, or one that began before the first segment.
            (self.record, self.left, self.is_begun) = (None, 0, false);
        }
        if !self.is_begun {
            let skipped = aligned(goes_on);
            if skipped >= page.len() - position {
                return true;
            }
            position += skipped;
            self.is_begun = true;
        }
        while position < page.len() {
            if self.left == 0 {
                let Some(header) = page[position..].first_chunk::<4>() else { return true };
                let len = u32::from_le_bytes(*header) as usize;
                let lsn = Lsn(at + position as u64);
                if len < RECORD_HEADER_LEN || self.end.is_some_and(|end| lsn >= end) {
                    return false;
                }
                self.record = Some((lsn, len));
                self.seen.clear();
                self.left = aligned(len);
            }
            let taken = self.left.min(page.len() - position);
            let wanted = self.record.map_or(0, |(_, len)| len.min(LOOKED_AT_MAX)) - self.seen.len();
            self.seen.extend_from_slice(&page[position..position + taken.min(wanted)]);
            self.left -= taken;
            position += taken;
            if self.left == 0
                && let Some((lsn, len)) = self.record.take()
            {
                self.last = Some(lsn);
                met_whole(lsn, len, &self.seen).into_iter().for_each(&mut *met);
            }
        }
        true
    }
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// A record of `len` bytes that begins with `seen`.
fn met_whole(lsn: Lsn, len: usize, seen: &[u8]) -> Option<Record> {
    let (info, manager) = (seen.get(16)? & 0x70, *seen.get(17)?);
    match (manager, info) {
        (TRANSACTIONS, COMMIT | COMMIT_PREPARED) => Some(Record::Commit { at: ended(seen, len)? }),
        (TRANSACTIONS, ABORT | ABORT_PREPARED) => Some(Record::Abort { at: ended(seen, len)? }),
        (TABLESPACES, CREATE) => {
            let made = main_part(seen, len).and_then(tablespace);
            let (oid, place) = made.unwrap_or_else(|| (0, HIDDEN_PLACE.to_owned()));
            Some(Record::NewTablespace { lsn, oid, place })
        }
        _ => None,
    }
}

/// When a transaction ended: its record begins with that.
fn ended(seen: &[u8], len: usize) -> Option<Timestamp> {
    let microseconds = i64::from_le_bytes(*main_part(seen, len)?.first_chunk()?);
    Timestamp::from_microsecond(microseconds.checked_add(EPOCH_S * 1_000_000)?).ok()
}

/// Number and directory of a tablespace that was made.
fn tablespace(main: &[u8]) -> Option<(u32, String)> {
    let oid = u32::from_le_bytes(*main.first_chunk()?);
    let place = main.get(4..)?;
    let end = place.iter().position(|byte| *byte == 0)?;
    Some((oid, String::from_utf8_lossy(&place[..end]).into_owned()))
}

/// The main part of a record that has no blocks, as far as it was looked at.
fn main_part(seen: &[u8], len: usize) -> Option<&[u8]> {
    let mut at = RECORD_HEADER_LEN;
    loop {
        match *seen.get(at)? {
            SHORT_MAIN => return seen.get(at + 2..len.min(seen.len())),
            LONG_MAIN => return seen.get(at + 5..len.min(seen.len())),
            ORIGIN => at += 3,
            TOP_TRANSACTION => at += 5,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: usize = 1 << 20;

    fn record(manager: u8, info: u8, main: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_HEADER_LEN];
        (bytes[16], bytes[17]) = (info, manager);
        match u8::try_from(main.len()) {
            Ok(len) => bytes.extend([SHORT_MAIN, len]),
            Err(_) => {
                bytes.push(LONG_MAIN);
                bytes.extend((main.len() as u32).to_le_bytes());
            }
        }
        bytes.extend_from_slice(main);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    /// Segments with these records, from `start` on.
    fn log(start: u64, records: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut pages, mut page) = (vec![], new_page(start, 0));
        for record in records {
            let padding = aligned(record.len()) - record.len();
            let padded = [&record[..], &[0; 8][..padding]].concat();
            let mut rest = &padded[..];
            while !rest.is_empty() {
                let taken = rest.len().min(PAGE_LEN - page.len());
                page.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                if page.len() == PAGE_LEN {
                    pages.push(std::mem::take(&mut page));
                    let goes_on = rest.len().saturating_sub(padding) as u32;
                    page = new_page(start + (pages.len() * PAGE_LEN) as u64, goes_on);
                }
            }
        }
        page.resize(PAGE_LEN, 0);
        pages.push(page);
        let bytes = pages.concat();
        let mut segments: Vec<Vec<u8>> = bytes.chunks(SEGMENT).map(<[u8]>::to_vec).collect();
        segments.last_mut().unwrap().resize(SEGMENT, 0);
        segments
    }

    fn new_page(at: u64, goes_on: u32) -> Vec<u8> {
        let is_first = at.is_multiple_of(SEGMENT as u64);
        let mut page = vec![0; if is_first { LONG_HEADER_LEN } else { SHORT_HEADER_LEN }];
        page[2] = if is_first { 2 } else { 0 } | u8::from(goes_on > 0);
        page[16..20].copy_from_slice(&goes_on.to_le_bytes());
        page
    }

    fn met(start: u64, segments: &[Vec<u8>]) -> Vec<Record> {
        let (mut walk, mut met) = (RecordWalk::new(), vec![]);
        for (number, bytes) in segments.iter().enumerate() {
            walk.segment(Lsn(start + (number * SEGMENT) as u64), bytes, &mut |record| met.push(record));
        }
        met
    }

    fn commit(at: &str) -> (Vec<u8>, Record) {
        let at: Timestamp = at.parse().unwrap();
        let main = (at.as_microsecond() - EPOCH_S * 1_000_000).to_le_bytes();
        (record(TRANSACTIONS, 0x80, &[&main[..], &[0; 20]].concat()), Record::Commit { at })
    }

    #[test]
    fn every_end_of_a_transaction_is_met() {
        let at: Timestamp = "2026-11-30T03:00:00Z".parse().unwrap();
        let main = (at.as_microsecond() - EPOCH_S * 1_000_000).to_le_bytes();
        let of = |info| met(0, &log(0, &[record(TRANSACTIONS, info, &main)]));
        assert_eq!([of(0x00), of(0x30)].concat(), [Record::Commit { at }, Record::Commit { at }]);
        assert_eq!([of(0x20), of(0x40)].concat(), [Record::Abort { at }, Record::Abort { at }]);
        assert_eq!(of(0x10), [], "PREPARE");
    }

    #[test]
    fn a_tablespace_is_met_wherever_its_record_lies() {
        let place = format!("/srv/{}", "x".repeat(300));
        let main = [&77u32.to_le_bytes()[..], place.as_bytes(), &[0]].concat();
        let made = record(TABLESPACES, CREATE, &main);
        let (committed, commit) = commit("2026-11-30T03:00:00.123456Z");
        // 149 of these leave 2,488 bytes of the segment.
        let filler = record(10, 0, &[7; 7000 - RECORD_HEADER_LEN - 5]);
        // In front of the end of a segment, across it, also with its header cut in two, and behind it.
        for len in (2040..2520).step_by(8) {
            let mut records = vec![filler.clone(); 149];
            records.push(record(10, 0, &vec![7; len - RECORD_HEADER_LEN - 5]));
            records.extend([committed.clone(), made.clone(), committed.clone()]);
            let start = 5 * SEGMENT as u64;
            let found = met(start, &log(start, &records));
            assert_eq!(found.len(), 3, "{len}");
            assert_eq!((&found[0], &found[2]), (&commit, &commit));
            let Record::NewTablespace { oid, place: at, lsn } = &found[1] else { panic!("{found:?}") };
            assert_eq!((*oid, at), (77, &place));
            assert!(lsn.0 > start && lsn.0.is_multiple_of(8));
        }
    }

    #[test]
    fn the_record_that_ends_at_a_position_is_found_also_across_segments() {
        let lens = [300, 8000, 700_000, 400_000, 64];
        let records: Vec<_> = lens.map(|len| record(10, 0, &vec![7; len])).to_vec();
        let (begin, segments) = (7 * SEGMENT as u64, log(7 * SEGMENT as u64, &records));
        let ends: Vec<_> = (1..=records.len()).map(|count| end_of(begin, &records[..count])).collect();
        let last = |end: u64, segments: &[Vec<u8>], start: u64| {
            let mut walk = RecordWalk::up_to(Lsn(end));
            for (number, bytes) in segments.iter().enumerate() {
                walk.segment(Lsn(start + (number * SEGMENT) as u64), bytes, &mut |_| {});
            }
            walk.last()
        };
        let first = begin + LONG_HEADER_LEN as u64;
        for (number, end) in ends.iter().enumerate() {
            let before = if number == 0 { first } else { ends[number - 1] };
            assert_eq!(last(*end, &segments, begin), Some(Lsn(before)), "{number}");
        }
        // The fourth one goes on in the second segment: what begins there alone is met.
        assert_eq!(last(ends[4], &segments[1..], begin + SEGMENT as u64), Some(Lsn(ends[3])));
        assert_eq!(last(ends[3], &segments[1..], begin + SEGMENT as u64), None);
    }

    /// Where the next record would begin behind these.
    fn end_of(begin: u64, records: &[Vec<u8>]) -> u64 {
        let marked = [records, &[record(TABLESPACES, CREATE, b"")][..]].concat();
        match met(begin, &log(begin, &marked)).last() {
            Some(Record::NewTablespace { lsn, .. }) => lsn.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tablespace_whose_record_hides_it_is_one_all_the_same() {
        let hidden = |found: &[Record]| {
            let [Record::NewTablespace { oid: 0, place, .. }] = found else { return false };
            place == HIDDEN_PLACE
        };
        for main in [&b""[..], b"\x4d\0\0\0", b"\x4d\0\0\0/srv/unended"] {
            assert!(hidden(&met(0, &log(0, &[record(TABLESPACES, CREATE, main)]))), "{main:?}");
        }
        // Behind what is no main part.
        let mut block = record(TABLESPACES, CREATE, b"\x4d\0\0\0/srv\0");
        block[RECORD_HEADER_LEN] = 0;
        assert!(hidden(&met(0, &log(0, &[block]))));
    }

    #[test]
    fn a_page_goes_on_with_a_record_only_where_its_flag_says_so() {
        let (committed, commit) = commit("2026-11-30T03:00:00Z");
        let mut segments = log(0, &[committed]);
        segments[0][16..20].copy_from_slice(&5000u32.to_le_bytes());
        assert_eq!(met(0, &segments), [commit]);
    }

    #[test]
    fn what_began_before_the_first_segment_is_passed_over() {
        let large = record(TABLESPACES, CREATE, &vec![b'/'; 3 * SEGMENT / 2]);
        let (committed, commit) = commit("2026-11-30T03:00:00Z");
        let segments = log(0, &[large, committed]);
        assert_eq!(met(SEGMENT as u64, &segments[1..]), [commit]);
        assert_eq!(met(0, &[vec![0; SEGMENT]]), []);
        // Bytes of any kind end the walk, and nothing else.
        for byte in [1, 0x55, 0xff] {
            met(0, &[vec![byte; SEGMENT], vec![byte; SEGMENT]]);
        }
    }
}
