//! What a server sends, cut into segments in the spool.
//!
//! Invariant: what is told to be on disk is.

use std::time::{Duration, Instant};

use model::lsn::{Lsn, Timeline};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize};
use pg::replication::Flushed;

use super::spool::{Growing, Spool};
use crate::error::Result;

/// With so much written and not on disk, it is brought there, although more is coming.
const SYNC_LEN_MAX: u64 = 1 << 20;
/// Behind the server by more than this, we catch up. Who waits for a commit that has come waits a little longer then: it is
/// brought to disk behind so many bytes, or after so long, or when nothing comes for a moment.
const NEAR: u64 = 4 << 20;
const SYNC_LEN_MAX_FAR: u64 = 8 << 20;
const SYNC_EVERY_FAR: Duration = Duration::from_millis(50);

/// What comes, cut into segments.
pub(super) struct Intake<'a> {
    spool: &'a Spool,
    timeline: Timeline,
    size: SegmentSize,
    segment: SegmentNo,
    growing: Option<Growing>,
    /// Up to here it is on disk.
    flushed: Lsn,
    /// Up to here it is written.
    written: Lsn,
    unsynced: u64,
    /// When it was brought to disk last.
    synced_at: Instant,
    /// Up to here the server has something for us.
    pub(super) server_end: Lsn,
}

impl<'a> Intake<'a> {
    /// Nothing yet, from `start` on.
    pub(super) fn new(spool: &'a Spool, timeline: Timeline, size: SegmentSize, start: Lsn) -> Self {
        let segment = size.segment_of(start);
        let growing = None;
        Self {
            spool,
            timeline,
            size,
            segment,
            growing,
            flushed: start,
            written: start,
            unsynced: 0,
            synced_at: Instant::now(),
            server_end: start,
        }
    }

    /// Write what follows; whether a segment became whole.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        let mut is_whole = false;
        while !bytes.is_empty() {
            let mut growing = match self.growing.take() {
                Some(growing) => growing,
                None => {
                    self.spool.grow(SegmentName::new(self.timeline, self.segment, self.size), self.size)?
                }
            };
            let room = self.size.bytes() - growing.written();
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            growing.write(now)?;
            self.written.0 += now.len() as u64;
            self.unsynced += now.len() as u64;
            bytes = later;
            if growing.written() < self.size.bytes() {
                self.growing = Some(growing);
                continue;
            }
            growing.finish(self.spool)?;
            self.segment.0 += 1;
            (self.flushed, self.unsynced, self.synced_at) = (self.written, 0, Instant::now());
            is_whole = true;
        }
        Ok(is_whole)
    }

    /// Whether we catch up.
    pub(super) fn is_far(&self) -> bool {
        self.server_end.0.saturating_sub(self.written.0) > NEAR
    }

    /// Whether what is written has to go to disk now, although more is coming.
    pub(super) fn is_due(&self) -> bool {
        match self.is_far() {
            true => self.unsynced >= SYNC_LEN_MAX_FAR || self.synced_at.elapsed() >= SYNC_EVERY_FAR,
            false => self.unsynced >= SYNC_LEN_MAX,
        }
    }

    /// Whether all that is written is on disk.
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced == 0
    }

    /// Bring what is written to disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let Some(growing) = &mut self.growing {
            growing.sync()?;
        }
        (self.flushed, self.unsynced, self.synced_at) = (self.written, 0, Instant::now());
        Ok(())
    }

    /// What the server may be told.
    pub(super) fn progress(&self) -> Flushed {
        // Nobody reads here what is applied, and what is only written is lost with this machine: a commit that waits for either
        // waits for the disk.
        Flushed { written: self.flushed, flushed: self.flushed, applied: self.flushed }
    }
}

#[cfg(test)]
mod tests {
    use model::lsn::SystemId;

    use super::*;

    #[test]
    fn nothing_that_is_told_to_be_written_is_on_its_way_to_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::open(root.path(), SystemId(7)).unwrap();
        let size = SegmentSize::new(1 << 20).unwrap();
        let mut intake = Intake::new(&spool, Timeline(1), size, size.start_of(SegmentNo(3)));
        let told = |intake: &Intake<'_>| {
            let Flushed { written, flushed, applied } = intake.progress();
            assert!(written == flushed && applied == flushed, "{written} {flushed} {applied}");
            written
        };
        assert!(intake.take(&vec![7; (1 << 20) + 10]).unwrap());
        assert_eq!(told(&intake), size.start_of(SegmentNo(4)));
        intake.sync().unwrap();
        assert_eq!(told(&intake), Lsn(size.start_of(SegmentNo(4)).0 + 10));
    }
}
