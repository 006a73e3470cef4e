//! Whether the archive has all of the log since an earlier backup.
//!
//! An increment would be whole all the same, but nothing leads from the backup before to it. One listing of names, while the
//! server makes its checkpoint.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::lsn::{Lsn, SystemId, Timeline};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use repo::Repository;

use super::Begun;
use super::earlier::Earlier;
use crate::cluster_manifest::ClusterManifest;
use crate::error::Result;

/// A segment that is being uploaded beside a later one is there by then.
const SETTLES: Duration = Duration::from_secs(5);
/// Later segments that were stored longer ago were not uploaded beside it.
const YOUNG: SignedDuration = SignedDuration::from_mins(2);

/// The archived segments of a cluster, and when each was stored.
type Segments = BTreeMap<(Timeline, SegmentNo), Timestamp>;

/// What is archived of a cluster.
pub(super) struct ArchivedLog<'a> {
    repository: &'a Repository,
    system_id: SystemId,
    size: SegmentSize,
    segments: Segments,
}

impl<'a> ArchivedLog<'a> {
    /// Ask for the names.
    ///
    /// # Errors
    /// When the store cannot list.
    pub(super) fn list(repository: &'a Repository, system_id: SystemId, size: SegmentSize) -> Result<Self> {
        let stored = repository.list_wal(system_id, None)?;
        let numbered = stored.into_iter().filter_map(|stored| match stored.file.name {
            WalName::Segment(name) => {
                Some(((name.timeline, name.number(size)?), Timestamp::try_from(stored.modified).ok()?))
            }
            _ => None,
        });
        let segments = numbered.collect();
        Ok(Self { repository, system_id, size, segments })
    }

    /// The first and the last segment that are missing between `start` and the end of the timeline's archive. Nothing where that
    /// ends before `start`: it may only be late.
    ///
    /// # Errors
    /// When the store cannot list.
    fn gap_behind(mut self, timeline: Timeline, start: Lsn) -> Result<Option<(SegmentName, SegmentName)>> {
        let from = (timeline, self.size.segment_of(start));
        if let Some((_, _, since)) = gap(&self.segments, from)
            && Timestamp::now().duration_since(since) < YOUNG
        {
            sleep(SETTLES);
            self = Self::list(self.repository, self.system_id, self.size)?;
        }
        let name = |number| SegmentName::new(timeline, number, self.size);
        Ok(gap(&self.segments, from).map(|(first, last, _)| (name(first), name(last))))
    }
}

/// The first segments of the timeline that are missing from `from` on, and when the one behind them was stored.
fn gap(
    segments: &Segments,
    (timeline, from): (Timeline, SegmentNo),
) -> Option<(SegmentNo, SegmentNo, Timestamp)> {
    let mut expected = from.0;
    let end = (timeline, SegmentNo(u64::MAX));
    for ((_, number), stored) in segments.range((timeline, from)..=end) {
        if number.0 > expected {
            return Some((SegmentNo(expected), SegmentNo(number.0 - 1), *stored));
        }
        expected = number.0 + 1;
    }
    None
}

/// The same backup, if the archive has all of the log since then; else that is told.
pub(super) fn without_gap(
    begun: &Begun<'_>,
    earlier: Earlier,
    archived: ArchivedLog<'_>,
) -> Result<Option<Earlier>> {
    let ClusterManifest { timeline, start_lsn, .. } = earlier.manifest;
    let Some((first, last)) = archived.gap_behind(timeline, start_lsn)? else { return Ok(Some(earlier)) };
    (begun.source.tell)(&format!(
        "WAL is missing in the archive, {first} to {last}: no earlier backup leads past it, so this is a full one"
    ));
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitfall_09_only_what_is_missing_between_the_backup_and_the_end_is_a_gap() {
        let segments = |numbers: &[u64]| -> Segments {
            let at = |number: u64| Timestamp::from_second(number as i64).unwrap();
            let own = numbers.iter().map(|number| ((Timeline(2), SegmentNo(*number)), at(*number)));
            // Other timelines have their own.
            own.chain([1, 3].map(|timeline| ((Timeline(timeline), SegmentNo(20)), at(20)))).collect()
        };
        let found = |numbers: &[u64], from| {
            gap(&segments(numbers), (Timeline(2), SegmentNo(from)))
                .map(|(first, last, at)| (first.0, last.0, at.as_second()))
        };
        assert_eq!(found(&[3, 4, 7, 9], 4), Some((5, 6, 7)));
        assert_eq!(found(&[3, 4, 7], 2), Some((2, 2, 3)));
        // What lies before the backup is nobody's business, nor what is still to come.
        for (numbers, from) in [(&[1, 3, 4, 5][..], 3), (&[3, 4], 5), (&[3, 4], 9), (&[], 1)] {
            assert_eq!(found(numbers, from), None, "{numbers:?} from {from}");
        }
    }
}
