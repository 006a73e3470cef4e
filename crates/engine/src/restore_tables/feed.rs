//! WAL for the server that recovers: what it asks for is looked up in the repository, looked at, and given.
//!
//! A tablespace that was made behind the backup would be made anew while its WAL is replayed, **where the original is**: on
//! the machine of the original that would write into its files. So each segment is looked at before it is given, and where
//! a tablespace is made before the target, the server is stopped. Invariant: no segment reaches the server unseen.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use model::cancel::CancelToken;
use model::lsn::{Lsn, SystemId};
use model::progress::Progress;
use model::recovery_target::RecoveryTarget;
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use pg::throwaway::WalRequests;
use pg::wal_records::{Record, RecordWalk};
use repo::Repository;
use repo::threads::cores;
use repo::wal_object::WalFile;

use crate::error::{EngineError, Result};
use crate::fetch_wal::load_wal;

/// What WAL is taken from where.
pub(super) struct Feed<'a> {
    pub(super) repository: &'a Repository,
    pub(super) system_id: SystemId,
    pub(super) size: SegmentSize,
    /// The data directory, whose `pg_wal` has what came with the backup.
    pub(super) data: &'a Path,
    pub(super) guard: Guard,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a CancelToken,
}

impl Feed<'_> {
    /// Answer until it is over. What goes wrong stops the server.
    pub(super) fn serve(mut self, mut requests: WalRequests, is_over: &AtomicBool) -> Result<()> {
        let talking = || EngineError::io("talking with the throw-away server");
        let mut ahead = None;
        while !is_over.load(Ordering::SeqCst) {
            self.cancel.check()?;
            let Some(asked) = requests.wait().map_err(talking())? else { continue };
            match self.find(&asked, ahead.take()) {
                Ok(Some(bytes)) => {
                    requests.give(&bytes).map_err(talking())?;
                    self.progress.advance(bytes.len() as u64);
                    ahead = self.look_ahead(&asked);
                }
                Ok(None) => requests.none().map_err(talking())?,
                Err(error) => {
                    requests.stop().map_err(talking())?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The file of that name, where the archive has it. What came with the backup alone is looked at, too.
    fn find(&mut self, asked: &str, ahead: Option<(WalName, Vec<u8>)>) -> Result<Option<Vec<u8>>> {
        let Ok(name) = asked.parse::<WalName>() else { return Ok(None) };
        let found = match (ahead, &name) {
            (Some((known, bytes)), name) if known == *name => Some(bytes),
            (_, WalName::Segment(_) | WalName::History(_)) => self.load(name.clone())?,
            _ => None,
        };
        if let WalName::Segment(segment) = &name {
            let beside = match &found {
                Some(_) => None,
                None => std::fs::read(self.data.join("pg_wal").join(asked)).ok(),
            };
            let bytes = found.as_deref().or(beside.as_deref());
            if let (Some(bytes), Some(number)) = (bytes, segment.number(self.size)) {
                self.guard.look(number, self.size, bytes)?;
            }
        }
        Ok(found)
    }

    fn load(&self, name: WalName) -> Result<Option<Vec<u8>>> {
        load_wal(self.repository, &WalFile { system_id: self.system_id, name }, cores())
    }

    /// The segment that will probably be asked for next, while the server replays this one. Whatever is wrong with it is told
    /// when it is really wanted.
    fn look_ahead(&self, given: &str) -> Option<(WalName, Vec<u8>)> {
        let Ok(WalName::Segment(segment)) = given.parse() else { return None };
        let next = SegmentNo(segment.number(self.size)?.0 + 1);
        let name = WalName::Segment(SegmentName::new(segment.timeline, next, self.size));
        Some((name.clone(), self.load(name).ok()??))
    }
}

/// Looks at the records of WAL up to where recovery ends.
pub(super) struct Guard {
    walk: RecordWalk,
    last: Option<SegmentNo>,
    until: Until,
    is_past: bool,
}

/// Behind what nothing is replayed any more.
enum Until {
    Time(Timestamp),
    Lsn(Lsn),
    /// Nobody knows beforehand.
    Unknown,
}

impl Guard {
    /// For a recovery of a backup that ends at `stop`.
    pub(super) fn new(target: &RecoveryTarget, stop: Lsn) -> Self {
        let until = match target {
            RecoveryTarget::Time(time) => Until::Time(*time),
            RecoveryTarget::Lsn(lsn) => Until::Lsn(*lsn),
            RecoveryTarget::Immediate => Until::Lsn(stop),
            RecoveryTarget::Latest | RecoveryTarget::Xid(_) | RecoveryTarget::Name(_) => Until::Unknown,
        };
        Self { walk: RecordWalk::new(), last: None, until, is_past: false }
    }

    fn look(&mut self, number: SegmentNo, size: SegmentSize, bytes: &[u8]) -> Result<()> {
        if self.last.is_none_or(|last| number.0 != last.0 + 1) {
            self.walk = RecordWalk::new();
        }
        self.last = Some(number);
        let mut made = None;
        let Self { walk, until, is_past, .. } = self;
        walk.segment(size.start_of(number), bytes, &mut |record| match record {
            Record::Commit { at } | Record::Abort { at } => {
                *is_past |= matches!(until, Until::Time(time) if at > *time);
            }
            Record::NewTablespace { lsn, oid, place } => {
                let is_beyond = *is_past || matches!(until, Until::Lsn(end) if lsn >= *end);
                if !is_beyond && !place.is_empty() {
                    made.get_or_insert((lsn, oid, place));
                }
            }
        });
        match made {
            None => Ok(()),
            Some((lsn, oid, place)) => Err(EngineError::Refused(format!(
                "tablespace {oid} in {place} was made behind this backup, at {lsn}: to replay that here would write there"
            ))),
        }
    }
}
