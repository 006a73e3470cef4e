//! What an archive of WAL is worth: from where to where it goes without a gap, and between which points a cluster can come
//! back. Planning alone: listings, histories and base backups are handed in.
//!
//! Form: a timeline begins in the segment in which it left its parent, and that segment is its own; of the parent all before
//! it is needed. A gap counts as healed once a base backup begins behind it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::lsn::{Lsn, SystemId, Timeline};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use pg::timeline_history::TimelineHistory;
use repo::wal_object::StoredWal;

/// Of how long ago growth is told.
const GROWTH_OF: SignedDuration = SignedDuration::from_hours(24);

/// Segments that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalRange {
    /// The first.
    pub first: SegmentNo,
    /// The last.
    pub last: SegmentNo,
    /// When the first was stored.
    pub from: Timestamp,
    /// When the last was stored.
    pub to: Timestamp,
}

/// Segments that are missing between others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub first: SegmentNo,
    /// The last.
    pub last: SegmentNo,
    /// Whether a base backup begins behind it.
    pub is_healed: bool,
    /// When what is behind it was stored: with several uploads at one time, the later one may be there first.
    pub since: Timestamp,
}

/// A base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBackup {
    /// Its id.
    pub id: String,
    /// Its timeline.
    pub timeline: Timeline,
    /// First byte of WAL that it needs.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it was made.
    pub at: Timestamp,
}

/// A cluster can come back as it was at every point of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// On which timeline it ends.
    pub timeline: Timeline,
    /// The earliest base backup from which all of it is reached.
    pub base: String,
    /// From here.
    pub from: Lsn,
    /// That backup's time.
    pub since: Timestamp,
    /// To here.
    pub to: Lsn,
    /// When the last segment of it was stored.
    pub until: Timestamp,
}

/// One timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineStatus {
    /// Its number.
    pub timeline: Timeline,
    /// What there is, in order.
    pub ranges: Vec<WalRange>,
    /// What there is not.
    pub gaps: Vec<Gap>,
    /// Stored bytes.
    pub stored: u64,
    /// When something was last stored.
    pub newest: Timestamp,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStatus {
    /// Which.
    pub system_id: SystemId,
    /// Its timelines.
    pub timelines: Vec<TimelineStatus>,
    /// The points in time that it can come back to.
    pub windows: Vec<Window>,
    /// Of each base backup from which the archive goes on, by its id: the last timeline that it leads to, and when the last
    /// segment that is reached there was stored.
    pub ends: BTreeMap<String, (Timeline, Timestamp)>,
    /// Segments that were archived in an hour, of the last day.
    pub segments_per_hour: f64,
    /// Bytes that were stored in an hour, of the last day.
    pub stored_per_hour: f64,
    /// When something was last stored.
    pub newest: Option<Timestamp>,
}

impl ClusterStatus {
    /// Gaps that no base backup heals.
    pub fn open_gaps(&self) -> usize {
        self.list_open_gaps().count()
    }

    /// The same with their timelines.
    pub fn list_open_gaps(&self) -> impl Iterator<Item = (Timeline, &Gap)> {
        let all = self.timelines.iter().flat_map(|one| one.gaps.iter().map(|gap| (one.timeline, gap)));
        all.filter(|(_, gap)| !gap.is_healed)
    }

    /// When the end of the archive was stored. What is filled in behind it later, and histories, are no progress.
    pub fn end_stored(&self) -> Option<Timestamp> {
        self.end_stored_of(|_| true)
    }

    /// The same of some timelines alone.
    pub fn end_stored_of(&self, is_meant: impl Fn(Timeline) -> bool) -> Option<Timestamp> {
        let meant = self.timelines.iter().filter(|one| is_meant(one.timeline));
        meant.filter_map(|one| one.ranges.last()).map(|range| range.to).max()
    }

    /// Where the archive of a timeline ends; none where it has nothing of it. What others go on with is no part of it.
    pub fn end_of(&self, timeline: Timeline, size: SegmentSize) -> Option<Lsn> {
        let meant = self.timelines.iter().find(|one| one.timeline == timeline)?;
        Some(size.start_of(SegmentNo(meant.ranges.last()?.last.0 + 1)))
    }
}

/// What is known of a cluster beside the listing.
pub struct Facts<'a> {
    /// Bytes of its segments.
    pub size: SegmentSize,
    /// Where its timelines came from.
    pub histories: &'a BTreeMap<Timeline, TimelineHistory>,
    /// Its base backups.
    pub bases: &'a [BaseBackup],
    /// The time.
    pub now: Timestamp,
}

/// Read a listing of one cluster.
pub fn plan_status(system_id: SystemId, stored: &[StoredWal], facts: &Facts<'_>) -> ClusterStatus {
    let mut by_timeline: BTreeMap<Timeline, Vec<&StoredWal>> = BTreeMap::new();
    for one in stored {
        by_timeline.entry(one.file.name.timeline()).or_default().push(one);
    }
    let mut ranges: BTreeMap<Timeline, Vec<WalRange>> = BTreeMap::new();
    for (timeline, stored) in &by_timeline {
        ranges.insert(*timeline, ranges_of(stored, facts.size));
    }
    let timelines = by_timeline.iter().map(|(timeline, stored)| TimelineStatus {
        timeline: *timeline,
        gaps: gaps_of(*timeline, &ranges, facts),
        ranges: ranges[timeline].clone(),
        stored: stored.iter().map(|stored| stored.size).sum(),
        newest: stored.iter().map(|stored| time(stored)).max().unwrap_or(facts.now),
    });
    let timelines: Vec<_> = timelines.collect();
    let (segments_per_hour, stored_per_hour) = growth(stored, facts.now);
    let (windows, ends) = windows_of(&ranges, facts);
    ClusterStatus {
        system_id,
        windows,
        ends,
        newest: timelines.iter().map(|timeline| timeline.newest).max(),
        timelines,
        segments_per_hour,
        stored_per_hour,
    }
}

fn time(stored: &StoredWal) -> Timestamp {
    Timestamp::try_from(stored.modified).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn segment(stored: &StoredWal) -> Option<SegmentName> {
    match stored.file.name {
        WalName::Segment(name) => Some(name),
        _ => None,
    }
}

fn ranges_of(stored: &[&StoredWal], size: SegmentSize) -> Vec<WalRange> {
    let numbered = stored.iter().filter_map(|stored| Some((segment(stored)?.number(size)?, time(stored))));
    let numbered: BTreeMap<SegmentNo, Timestamp> = numbered.collect();
    let mut ranges: Vec<WalRange> = vec![];
    for (number, at) in numbered {
        match ranges.last_mut() {
            Some(range) if range.last.0 + 1 == number.0 => (range.last, range.to) = (number, at),
            _ => ranges.push(WalRange { first: number, last: number, from: at, to: at }),
        }
    }
    ranges
}

/// What is missing between the ranges of a timeline, before the first of one that left another, and before the place where
/// the next one left it.
fn gaps_of(timeline: Timeline, ranges: &BTreeMap<Timeline, Vec<WalRange>>, facts: &Facts<'_>) -> Vec<Gap> {
    let own = &ranges[&timeline];
    let begin = facts.histories.get(&timeline).and_then(TimelineHistory::parent).map(|parent| parent.end);
    let begin = begin.map(|fork| facts.size.segment_of(fork)).filter(|_| !own.is_empty());
    // Only of timelines of which something is stored: PostgreSQL may have taken a number and never used it.
    let of_children = facts.histories.iter().filter_map(|(child, history)| {
        let since = ranges.get(child)?.first().map_or(facts.now, |range| range.from);
        Some((facts.size.segment_of(history.end_of(timeline)?), since))
    });
    let needed = of_children.max().filter(|_| !own.is_empty());
    let starts = own.iter().map(|range| (range.first, range.from)).chain(needed);
    let ends = begin.or(own.first().map(|range| range.first)).into_iter();
    let ends = ends.chain(own.iter().map(|range| SegmentNo(range.last.0 + 1)));
    let missing = ends.zip(starts).filter(|(end, (start, _))| end < start);
    let gap = |(end, (start, since)): (SegmentNo, (SegmentNo, Timestamp))| Gap {
        first: end,
        last: SegmentNo(start.0 - 1),
        is_healed: facts.bases.iter().any(|base| is_behind(base, timeline, start, facts)),
        since,
    };
    missing.map(gap).collect()
}

/// Whether a base backup needs nothing of a timeline before a segment.
fn is_behind(base: &BaseBackup, timeline: Timeline, segment: SegmentNo, facts: &Facts<'_>) -> bool {
    let is_later = facts.size.segment_of(base.start) >= segment;
    let is_child = || facts.histories.get(&base.timeline).is_some_and(|it| it.end_of(timeline).is_some());
    is_later && (base.timeline == timeline || is_child())
}

/// The windows of each timeline: where each base backup leads to on it; and where those that lead somewhere end.
fn windows_of(
    ranges: &BTreeMap<Timeline, Vec<WalRange>>,
    facts: &Facts<'_>,
) -> (Vec<Window>, BTreeMap<String, (Timeline, Timestamp)>) {
    let (mut windows, mut ends): (Vec<Window>, _) = (vec![], BTreeMap::new());
    // In the order of their numbers: a later one takes the place of an earlier one.
    for timeline in ranges.keys() {
        let mut bases: Vec<_> = facts.bases.iter().collect();
        bases.sort_by_key(|base| base.stop);
        for base in bases {
            let Some((to, until)) = reach(base, *timeline, ranges, facts) else { continue };
            ends.insert(base.id.clone(), (*timeline, until));
            let is_known = |window: &Window| window.timeline == *timeline && window.to == to;
            if !windows.iter().any(is_known) {
                let (id, from, since) = (base.id.clone(), base.stop, base.at);
                windows.push(Window { timeline: *timeline, base: id, from, since, to, until });
            }
        }
    }
    (windows, ends)
}

/// How far one comes from a base backup on the way to a timeline, if it comes to it.
fn reach(
    base: &BaseBackup,
    timeline: Timeline,
    ranges: &BTreeMap<Timeline, Vec<WalRange>>,
    facts: &Facts<'_>,
) -> Option<(Lsn, Timestamp)> {
    let size = facts.size;
    let mut at = size.segment_of(base.start);
    if base.timeline != timeline {
        // Each earlier timeline up to the segment in which it was left.
        let history = facts.histories.get(&timeline)?;
        let from = history.ancestors.iter().position(|ancestor| ancestor.timeline == base.timeline)?;
        for ancestor in &history.ancestors[from..] {
            let left = size.segment_of(ancestor.end);
            if base.stop > ancestor.end {
                return None;
            }
            let range = |at| range_at(ranges, ancestor.timeline, at);
            if at < left && range(at)?.last.0 + 1 < left.0 {
                return None;
            }
            at = at.max(left);
        }
    }
    let range = range_at(ranges, timeline, at)?;
    let end = size.start_of(SegmentNo(range.last.0 + 1));
    (end >= base.stop).then_some((end, range.to))
}

fn range_at(
    ranges: &BTreeMap<Timeline, Vec<WalRange>>,
    timeline: Timeline,
    at: SegmentNo,
) -> Option<WalRange> {
    ranges.get(&timeline)?.iter().find(|range| range.first <= at && at <= range.last).copied()
}

fn growth(stored: &[StoredWal], now: Timestamp) -> (f64, f64) {
    let oldest = stored.iter().map(time).min().unwrap_or(now);
    let span = now.duration_since(oldest).clamp(SignedDuration::from_mins(1), GROWTH_OF);
    let hours = span.as_secs_f64() / 3600.0;
    let recent = || stored.iter().filter(|stored| now.duration_since(time(stored)) <= span);
    let segments = recent().filter(|stored| segment(stored).is_some()).count() as f64;
    let bytes = recent().map(|stored| stored.size).sum::<u64>() as f64;
    (segments / hours, bytes / hours)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use pg::timeline_history::Ancestor;
    use repo::wal_object::WalFile;

    use super::*;

    const CLUSTER: SystemId = SystemId(7);
    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn stored(timeline: u32, numbers: impl IntoIterator<Item = u64>) -> Vec<StoredWal> {
        let one = |number| {
            let name = SegmentName::new(Timeline(timeline), SegmentNo(number), SIZE);
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + number * 60);
            StoredWal {
                file: WalFile { system_id: CLUSTER, name: WalName::Segment(name) },
                size: 100,
                modified,
            }
        };
        numbers.into_iter().map(one).collect()
    }

    fn lsn(segment: u64, offset: u64) -> Lsn {
        Lsn(segment * SIZE.bytes() + offset)
    }

    fn base(id: &str, timeline: u32, segment: u64) -> BaseBackup {
        let (start, stop) = (lsn(segment, 40), lsn(segment, 400));
        BaseBackup { id: id.to_owned(), timeline: Timeline(timeline), start, stop, at: Timestamp::UNIX_EPOCH }
    }

    fn judged(stored: &[StoredWal], forks: &[(u32, u32, Lsn)], bases: &[BaseBackup]) -> ClusterStatus {
        let mut histories: BTreeMap<Timeline, TimelineHistory> = BTreeMap::new();
        for (timeline, parent, end) in forks {
            let mut ancestors =
                histories.get(&Timeline(*parent)).map_or(vec![], |history| history.ancestors.clone());
            ancestors.push(Ancestor { timeline: Timeline(*parent), end: *end });
            histories.insert(Timeline(*timeline), TimelineHistory { ancestors });
        }
        let now = Timestamp::from_second(1_000_000 + 3600).unwrap();
        plan_status(CLUSTER, stored, &Facts { size: SIZE, histories: &histories, bases, now })
    }

    fn gaps(status: &ClusterStatus) -> Vec<(u32, u64, u64, bool)> {
        let of = |one: &TimelineStatus| {
            let timeline = one.timeline.0;
            one.gaps
                .iter()
                .map(move |gap| (timeline, gap.first.0, gap.last.0, gap.is_healed))
                .collect::<Vec<_>>()
        };
        status.timelines.iter().flat_map(of).collect()
    }

    fn windows(status: &ClusterStatus) -> Vec<(u32, &str, Lsn, Lsn)> {
        status.windows.iter().map(|it| (it.timeline.0, &*it.base, it.from, it.to)).collect()
    }

    #[test]
    fn pitfall_09_dropped_segments_are_a_gap_until_a_base_backup_begins_behind_them() {
        let stored = stored(1, (3..10).filter(|number| *number != 6));
        let before = judged(&stored, &[], &[base("a", 1, 4)]);
        assert_eq!(gaps(&before), [(1, 6, 6, false)]);
        assert_eq!((before.open_gaps(), windows(&before)), (1, vec![(1, "a", lsn(4, 400), lsn(6, 0))]));
        let after = judged(&stored, &[], &[base("a", 1, 4), base("b", 1, 8)]);
        assert_eq!((gaps(&after), after.open_gaps()), (vec![(1, 6, 6, true)], 0));
        let expected = vec![(1, "a", lsn(4, 400), lsn(6, 0)), (1, "b", lsn(8, 400), lsn(10, 0))];
        assert_eq!(windows(&after), expected);
        assert_eq!(after.ends.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
        // It is seen since what is behind it is there.
        assert_eq!(before.list_open_gaps().next().unwrap().1.since.as_second(), 1_000_000 + 7 * 60);
        // One that begins within the gap is worth nothing.
        assert_eq!(windows(&judged(&stored, &[], &[base("c", 1, 6)])), []);
    }

    #[test]
    fn a_window_goes_over_to_the_next_timeline_and_needs_all_before_the_fork() {
        let whole = [stored(1, 1..8), stored(2, 5..9)].concat();
        let fork = [(2, 1, lsn(5, 1000))];
        let status = judged(&whole, &fork, &[base("a", 1, 2)]);
        assert_eq!(gaps(&status), []);
        let expected = vec![(1, "a", lsn(2, 400), lsn(8, 0)), (2, "a", lsn(2, 400), lsn(9, 0))];
        assert_eq!(windows(&status), expected);
        // Of a backup behind the fork the new timeline knows nothing.
        assert_eq!(windows(&judged(&whole, &fork, &[base("b", 1, 6)])), [(1, "b", lsn(6, 400), lsn(8, 0))]);
    }

    #[test]
    fn pitfall_05_what_a_dead_primary_never_archived_is_a_gap() {
        let fork = [(2, 1, lsn(5, 1000))];
        // Segment 4 is needed and is not there; segment 5 is the new timeline's own.
        let status = judged(&[stored(1, 1..4), stored(2, 5..9)].concat(), &fork, &[base("a", 1, 2)]);
        assert_eq!(gaps(&status), [(1, 4, 4, false)]);
        assert_eq!(windows(&status), [(1, "a", lsn(2, 400), lsn(4, 0))]);
        // And so is the beginning of a timeline.
        let status = judged(&[stored(1, 1..5), stored(2, 7..9)].concat(), &fork, &[]);
        assert_eq!(gaps(&status), [(2, 5, 6, false)]);
        // A fork at the end of a segment leaves no part of it behind.
        let status = judged(&[stored(1, 1..5), stored(2, 5..9)].concat(), &[(2, 1, lsn(5, 0))], &[]);
        assert_eq!(gaps(&status), []);
    }

    #[test]
    fn a_third_timeline_is_reached_through_the_second() {
        let whole = [stored(1, 1..4), stored(2, 4..7), stored(3, 6..8)].concat();
        let forks = [(2, 1, lsn(4, 8)), (3, 2, lsn(6, 8))];
        let status = judged(&whole, &forks, &[base("a", 1, 1)]);
        assert_eq!(windows(&status).last(), Some(&(3, "a", lsn(1, 400), lsn(8, 0))));
        assert_eq!(gaps(&status), []);
    }

    #[test]
    fn what_is_filled_in_later_is_no_progress() {
        let mut filled = stored(1, 3..6);
        filled[0].modified += Duration::from_secs(3000);
        let status = judged(&filled, &[], &[]);
        assert_eq!(status.end_stored().unwrap().as_second(), 1_000_000 + 5 * 60);
        assert!(status.newest > status.end_stored());
    }

    #[test]
    fn what_an_old_primary_still_archives_is_no_progress_of_the_new_one() {
        let at = |number: i64| Timestamp::from_second(1_000_000 + number * 60).unwrap();
        let both = [stored(1, 1..20), stored(2, 5..9)].concat();
        let bases = [base("old", 1, 6), base("new", 2, 6)];
        let status = judged(&both, &[(2, 1, lsn(5, 1000))], &bases);
        assert_eq!(status.ends["new"], (Timeline(2), at(8)));
        assert_eq!(status.ends["old"], (Timeline(1), at(19)));
        assert_eq!(status.end_stored_of(|timeline| timeline == Timeline(2)), Some(at(8)));
        assert_eq!(status.end_stored(), Some(at(19)));
        let end = |timeline| status.end_of(Timeline(timeline), SIZE);
        assert_eq!([0, 1, 2, 3].map(end), [None, Some(lsn(20, 0)), Some(lsn(9, 0)), None]);
        // One from before the fork leads to the later timeline.
        let status = judged(&both, &[(2, 1, lsn(5, 1000))], &[base("before", 1, 2)]);
        assert_eq!(status.ends["before"], (Timeline(2), at(8)));
    }

    #[test]
    fn growth_is_that_of_the_last_day() {
        let status = judged(&stored(1, 0..60), &[], &[]);
        assert_eq!((status.segments_per_hour.round(), status.stored_per_hour.round()), (60.0, 6000.0));
        let none = judged(&[], &[], &[]);
        assert_eq!((none.segments_per_hour, none.newest, none.open_gaps()), (0.0, None, 0));
    }
}
