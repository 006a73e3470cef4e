//! Whether a backup comes to a point in time, and what the archive has on the way. Pure: what is stored was listed before.
//!
//! A recovery goes along a line of timelines, each of which was left at some position for the next. Invariant: a backup is
//! on the line only where its end is before the position at which its timeline was left, and it comes to a target only
//! where the target is not before its end: until there it is not consistent.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::lsn::{Lsn, Timeline};
use model::recovery_target::RecoveryTarget;
use model::wal_name::{SegmentName, SegmentNo, SegmentSize};

/// How far the clock of a server may be behind that of the store, which says when its WAL came.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(1);

/// The timelines that a recovery goes along, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Earlier ones, and where each was left.
    earlier: Vec<(Timeline, Lsn)>,
    /// The one that it ends on.
    last: Timeline,
}

impl Line {
    /// The line to `last`, which came from the `earlier` ones.
    pub fn new(earlier: Vec<(Timeline, Lsn)>, last: Timeline) -> Self {
        Self { earlier, last }
    }

    /// The timeline that it ends on.
    pub fn last(&self) -> Timeline {
        self.last
    }

    /// Whether a backup that ends at `stop` on `timeline` is on it.
    pub fn has(&self, timeline: Timeline, stop: Lsn) -> bool {
        timeline == self.last
            || self.earlier.iter().any(|(earlier, end)| *earlier == timeline && stop <= *end)
    }

    /// The timelines that a segment may be of, newest first.
    fn of_segment(&self, segment: SegmentNo, size: SegmentSize) -> impl Iterator<Item = Timeline> {
        let begins = move |at: usize| match at.checked_sub(1) {
            Some(before) => size.segment_of(self.earlier[before].1),
            None => SegmentNo(0),
        };
        let last = (begins(self.earlier.len()) <= segment).then_some(self.last);
        let earlier = self.earlier.iter().enumerate().rev();
        let fits = move |(at, (_, end)): &(usize, &(Timeline, Lsn))| {
            begins(*at) <= segment && segment <= size.segment_before(*end)
        };
        last.into_iter().chain(earlier.filter(fits).map(|(_, (timeline, _))| *timeline))
    }
}

/// What a backup says of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// On this timeline.
    pub timeline: Timeline,
    /// From here on it is consistent.
    pub stop: Lsn,
    /// When that was, at the latest.
    pub at: Timestamp,
}

/// Why a backup does not come to a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// It is not consistent yet at that time.
    #[error("the backup is whole from {0} on, which is after the target")]
    Later(String),
    /// It belongs to another history.
    #[error(
        "the backup ends at {stop} on timeline {timeline}, from which the history of timeline {line} does not come"
    )]
    OtherHistory {
        /// Its timeline.
        timeline: Timeline,
        /// Its end.
        stop: Lsn,
        /// The one that was asked for.
        line: Timeline,
    },
    /// WAL on the way is missing, while later WAL is there.
    #[error(
        "the target is not before {last:.0}, up to when WAL goes on behind the backup: then the archive lacks {gap}"
    )]
    Gap {
        /// When the last transaction before it ended, or its WAL was stored, or the backup ended.
        last: Timestamp,
        /// The first that is missing.
        gap: SegmentName,
    },
    /// The archive does not go as far.
    #[error("the target is at {target}, and the archived WAL goes to {end} without a gap")]
    Beyond {
        /// Where it should go.
        target: Lsn,
        /// Where it ends.
        end: Lsn,
    },
}

/// Whether a backup that `ended` so comes to `target` along `line`.
///
/// # Errors
/// [`Unreachable`].
pub fn verify_reach(ended: &Ended, target: &RecoveryTarget, line: &Line) -> Result<(), Unreachable> {
    let Ended { timeline, stop, at } = *ended;
    if !line.has(timeline, stop) {
        return Err(Unreachable::OtherHistory { timeline, stop, line: line.last });
    }
    match target {
        RecoveryTarget::Time(time) if *time < at => Err(Unreachable::Later(at.to_string())),
        RecoveryTarget::Lsn(lsn) if *lsn < stop => Err(Unreachable::Later(format!("LSN {stop}"))),
        _ => Ok(()),
    }
}

/// What the archive has behind a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalAhead {
    /// Segments that follow each other from the backup on.
    pub segments: u64,
    /// Where the last of them ends; the end of the backup itself where there is none.
    pub end: Lsn,
    /// When the last of them was stored; nothing where there is none.
    pub until: Option<Timestamp>,
    /// The first that is missing while later ones are there.
    pub gap: Option<SegmentName>,
    /// When the last transaction in them ended, by the clock of the server; nothing where nobody looked.
    pub last_end: Option<Timestamp>,
}

/// Look along `line` for the segments behind the end of a backup at `stop`, whose own WAL comes with it. What is archived
/// comes with the time at which it was stored.
pub fn look_ahead(
    archived: &BTreeMap<SegmentName, Timestamp>,
    line: &Line,
    stop: Lsn,
    size: SegmentSize,
) -> WalAhead {
    let first = SegmentNo(size.segment_before(stop).0 + 1);
    let stored = |segment: SegmentNo| {
        let names = line.of_segment(segment, size).map(|timeline| SegmentName::new(timeline, segment, size));
        names.into_iter().find_map(|name| archived.get(&name).copied())
    };
    let (mut next, mut until) = (first, None);
    while let Some(at) = stored(next) {
        until = until.max(Some(at));
        next.0 += 1;
    }
    let is_later = |name: &&SegmentName| {
        let number = name.number(size).filter(|number| *number > next);
        number.is_some_and(|number| line.of_segment(number, size).any(|timeline| timeline == name.timeline))
    };
    let missing = line.of_segment(next, size).next().unwrap_or(line.last);
    let gap = archived.keys().any(|name| is_later(&name)).then(|| SegmentName::new(missing, next, size));
    let end = if next == first { stop } else { size.start_of(next) };
    WalAhead { segments: next.0 - first.0, end, until, gap, last_end: None }
}

/// The segments before the one that begins at `end`, as they are archived along `line`, newest first.
pub fn archived_before<'a>(
    archived: &'a BTreeMap<SegmentName, Timestamp>,
    line: &'a Line,
    end: Lsn,
    size: SegmentSize,
) -> impl Iterator<Item = SegmentName> + 'a {
    let numbers = (0..size.segment_of(end).0).rev().map(SegmentNo);
    numbers.map_while(move |number| {
        let mut names =
            line.of_segment(number, size).map(|timeline| SegmentName::new(timeline, number, size));
        names.find(|name| archived.contains_key(name))
    })
}

impl WalAhead {
    /// Refuse a target that is certainly not in it, for a backup that `ended` so. Recovery to a time stops before the first
    /// transaction that ended later or, where that is not `inclusive`, just then: at the last end itself there is none.
    ///
    /// # Errors
    /// [`Unreachable::Beyond`], [`Unreachable::Gap`].
    pub fn verify_reach(
        &self,
        target: &RecoveryTarget,
        inclusive: bool,
        ended: &Ended,
    ) -> Result<(), Unreachable> {
        // Where nobody looked, what had ended by then came at the latest with the segment that it is in.
        let is_known = self.last_end.is_some() || self.until.is_none();
        let is_beyond = |time: &Timestamp| {
            let last = self.last_end_max(ended);
            *time > last || (is_known && inclusive && *time == last)
        };
        match target {
            RecoveryTarget::Time(time) => match self.gap {
                Some(gap) if is_beyond(time) => {
                    Err(Unreachable::Gap { last: self.last_end.or(self.until).unwrap_or(ended.at), gap })
                }
                _ => Ok(()),
            },
            RecoveryTarget::Lsn(lsn) if *lsn > self.end => {
                Err(Unreachable::Beyond { target: *lsn, end: self.end })
            }
            _ => Ok(()),
        }
    }

    /// By then every transaction had ended that it has.
    fn last_end_max(&self, ended: &Ended) -> Timestamp {
        let until = |until: Timestamp| until.checked_add(CLOCKS_APART_MAX).unwrap_or(Timestamp::MAX);
        self.last_end.unwrap_or_else(|| self.until.map_or(ended.at, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn size() -> SegmentSize {
        SegmentSize::new(MIB).unwrap()
    }

    /// Timeline 1 was left in the middle of segment 5, timeline 2 at the beginning of segment 8.
    fn line() -> Line {
        let left = [(Timeline(1), Lsn(5 * MIB + 7)), (Timeline(2), Lsn(8 * MIB))];
        Line::new(left.to_vec(), Timeline(3))
    }

    fn hour(hour: u64) -> Timestamp {
        Timestamp::from_second(hour as i64 * 3600).unwrap()
    }

    /// Each was stored in the hour of its number.
    fn archived(names: &[(u32, u64)]) -> BTreeMap<SegmentName, Timestamp> {
        let name = |(line, number): &(u32, u64)| {
            (SegmentName::new(Timeline(*line), SegmentNo(*number), size()), hour(*number))
        };
        names.iter().map(name).collect()
    }

    #[test]
    fn a_backup_comes_to_what_is_behind_its_end_on_its_own_line() {
        let at: Timestamp = "2026-11-30T03:00:00Z".parse().unwrap();
        let ended = |timeline, stop| Ended { timeline: Timeline(timeline), stop: Lsn(stop), at };
        let reach = |ended: Ended, target| verify_reach(&ended, &target, &line()).is_ok();
        assert!(reach(ended(1, 5 * MIB + 7), RecoveryTarget::Latest));
        assert!(!reach(ended(1, 5 * MIB + 8), RecoveryTarget::Latest), "that end is on another history");
        assert!(reach(ended(3, 100 * MIB), RecoveryTarget::Immediate));
        assert!(!reach(ended(4, 1), RecoveryTarget::Latest));
        let time = |text: &str| RecoveryTarget::Time(text.parse().unwrap());
        assert!(reach(ended(1, 1), time("2026-11-30T04:00:00+01:00")));
        assert!(!reach(ended(1, 1), time("2026-11-30T02:59:59.999Z")));
        assert!(reach(ended(2, 6 * MIB), RecoveryTarget::Lsn(Lsn(6 * MIB))));
        assert!(!reach(ended(2, 6 * MIB), RecoveryTarget::Lsn(Lsn(6 * MIB - 1))));
    }

    #[test]
    fn pitfall_6_the_wal_ahead_changes_timelines_where_the_history_does() {
        let stop = Lsn(3 * MIB + 5);
        let ahead = |names: &[(u32, u64)]| look_ahead(&archived(names), &line(), stop, size());
        let whole = [(1, 4), (1, 5), (2, 5), (2, 6), (2, 7), (3, 8), (3, 9)];
        assert_eq!(
            ahead(&whole),
            WalAhead { segments: 6, end: Lsn(10 * MIB), until: Some(hour(9)), gap: None, last_end: None }
        );
        let other = [(1, 4), (2, 5), (1, 6), (1, 7)];
        let found = ahead(&other);
        assert_eq!(
            (found.end, found.gap),
            (Lsn(6 * MIB), None),
            "what timeline 1 wrote later is not on the line"
        );
    }

    #[test]
    fn what_lies_before_a_place_is_found_on_the_line_back_to_the_first_gap() {
        let there = archived(&[(1, 3), (1, 5), (2, 5), (2, 6), (3, 6), (2, 8)]);
        let (line, size) = (line(), size());
        let found: Vec<_> = archived_before(&there, &line, Lsn(7 * MIB), size).collect();
        let name = |line, number| SegmentName::new(Timeline(line), SegmentNo(number), size);
        assert_eq!(found, [name(2, 6), name(2, 5)]);
    }

    #[test]
    fn a_gap_is_named_only_where_something_lies_behind_it() {
        let stop = Lsn(3 * MIB);
        let ahead = |names: &[(u32, u64)]| look_ahead(&archived(names), &line(), stop, size());
        assert_eq!(ahead(&[]), WalAhead { segments: 0, end: stop, until: None, gap: None, last_end: None });
        assert_eq!(ahead(&[(1, 1), (1, 2)]).segments, 0);
        let gap = ahead(&[(1, 3), (2, 5)]);
        assert_eq!(gap.gap, Some(SegmentName::new(Timeline(1), SegmentNo(4), size())));
        assert_eq!(gap.end, Lsn(4 * MIB));
        let ended = Ended { timeline: Timeline(1), stop, at: hour(2) };
        assert!(gap.verify_reach(&RecoveryTarget::Lsn(Lsn(4 * MIB)), true, &ended).is_ok());
        assert!(gap.verify_reach(&RecoveryTarget::Lsn(Lsn(4 * MIB + 1)), true, &ended).is_err());
    }

    #[test]
    fn pitfall_19_a_time_whose_wal_is_gone_is_refused() {
        let stop = Lsn(3 * MIB);
        let ended = Ended { timeline: Timeline(1), stop, at: hour(2) };
        let reach = |names: &[(u32, u64)], at: Timestamp| {
            let ahead = look_ahead(&archived(names), &line(), stop, size());
            ahead.verify_reach(&RecoveryTarget::Time(at), true, &ended)
        };
        let second = SignedDuration::from_secs(1);
        // Nothing is behind the backup but what a later one begins with: no transaction that ended later, to stop before.
        let refused = reach(&[(1, 5)], hour(2)).unwrap_err();
        assert!(refused.to_string().contains("000000010000000000000003"), "{refused}");
        // Clocks may differ by as much as an hour.
        assert!(reach(&[(1, 3), (1, 5)], hour(4)).is_ok());
        assert!(reach(&[(1, 3), (1, 5)], hour(4) + second).is_err());
        // A copy was stored days later; when the last transaction ended is in the log itself.
        let ahead = look_ahead(&archived(&[(1, 3), (1, 5)]), &line(), stop, size());
        let ahead = WalAhead { last_end: Some(hour(3)), ..ahead };
        let reach_of =
            |at, inclusive| ahead.verify_reach(&RecoveryTarget::Time(at), inclusive, &ended).is_ok();
        assert!(reach_of(hour(3) - second, true) && !reach_of(hour(3), true));
        assert!(reach_of(hour(3), false) && !reach_of(hour(3) + second, false));
        // Nobody knows when what is not there yet will come.
        assert!(reach(&[(1, 3), (1, 4)], hour(400)).is_ok());
    }
}
