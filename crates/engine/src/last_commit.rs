//! When the last transaction in archived WAL was committed: it is in the log itself, wherever that was copied to.

use jiff::Timestamp;
use model::lsn::SystemId;
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use pg::wal_records::{Record, RecordWalk};
use repo::Repository;
use repo::threads::cores;
use repo::wal_object::WalFile;

use crate::error::Result;
use crate::fetch_wal::load_exactly;

/// Segments that are read at most: behind so many without a commit nobody knows.
const SEGMENTS_MAX: usize = 16;

/// The time of the last commit in these segments, which come newest first, by the clock of their server.
///
/// # Errors
/// What the store says, and damage.
pub fn last_commit(
    repository: &Repository,
    system_id: SystemId,
    newest_first: impl Iterator<Item = SegmentName>,
    size: SegmentSize,
) -> Result<Option<Timestamp>> {
    let mut later: Option<(SegmentNo, Vec<u8>)> = None;
    for name in newest_first.take(SEGMENTS_MAX) {
        let file = WalFile { system_id, name: WalName::Segment(name) };
        let bytes = load_exactly(repository, &file, cores())?;
        let Some((number, bytes)) = name.number(size).zip(bytes) else { return Ok(None) };
        let this = (number, bytes);
        let (mut walk, mut last) = (RecordWalk::new(), None);
        // A record that begins in this one may end in the next.
        for (number, bytes) in std::iter::once(&this).chain(&later) {
            walk.segment(size.start_of(*number), bytes, &mut |record| {
                if let Record::Commit { at } = record {
                    last = last.max(Some(at));
                }
            });
        }
        if last.is_some() {
            return Ok(last);
        }
        later = Some(this);
    }
    Ok(None)
}
