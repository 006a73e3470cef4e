//! Which base backups a window of time rests on: every moment in it that a cluster could come back to stays one.
//!
//! A base backup leads along a line of timelines as far as archived WAL goes without a gap. All that lead to one end on one
//! line form a group, and whichever begins earlier comes to everything that the others come to. So of each group whose end is
//! in the window one is enough: the newest that had ended when the window begins; where none had, the first. Without a
//! gap and without another timeline that is one backup.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::lsn::{Lsn, Timeline};

/// Where WAL leads to from a base backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Road {
    /// The timeline on which it ends; those before it are the way.
    pub line: Timeline,
    /// Where it ends: no WAL is archived behind it, or a gap begins.
    pub end: Lsn,
    /// When the last WAL of it was stored.
    pub until: Timestamp,
}

/// A good base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBackup {
    /// The number of its cluster.
    pub cluster: u64,
    /// Where it is consistent.
    pub stop: Lsn,
    /// When it had certainly ended.
    pub ended: Timestamp,
    /// Everywhere it leads to.
    pub roads: Vec<Road>,
}

/// For each of `bases`, whether the window from `begin` on rests on it.
pub fn plan_window(bases: &[BaseBackup], begin: Timestamp) -> Vec<bool> {
    let mut groups: BTreeMap<(u64, Timeline, Lsn), Vec<usize>> = BTreeMap::new();
    for (number, base) in bases.iter().enumerate() {
        for road in base.roads.iter().filter(|road| road.until >= begin) {
            groups.entry((base.cluster, road.line, road.end)).or_default().push(number);
        }
    }
    let mut needed = vec![false; bases.len()];
    for group in groups.into_values() {
        let had_ended = group.iter().filter(|number| bases[**number].ended <= begin);
        let last = had_ended.max_by_key(|number| (bases[**number].stop, **number));
        let first = || group.iter().min_by_key(|number| (bases[**number].stop, **number));
        if let Some(number) = last.or_else(first) {
            needed[*number] = true;
        }
    }
    // An archiver that stands still may go on, and its WAL then leads from here: the newest that had ended by then stays,
    // wherever it leads today.
    let clusters: BTreeSet<u64> = bases.iter().map(|base| base.cluster).collect();
    for cluster in clusters {
        let had_ended =
            bases.iter().enumerate().filter(|(_, base)| base.cluster == cluster && base.ended <= begin);
        if let Some((number, _)) = had_ended.max_by_key(|(number, base)| (base.ended, base.stop, *number)) {
            needed[number] = true;
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn base(stop: u64, ended: i64, roads: &[(u32, u64, i64)]) -> BaseBackup {
        let road = |(line, end, until): &(u32, u64, i64)| Road {
            line: Timeline(*line),
            end: Lsn(*end),
            until: minute(*until),
        };
        BaseBackup {
            cluster: 1,
            stop: Lsn(stop),
            ended: minute(ended),
            roads: roads.iter().map(road).collect(),
        }
    }

    #[test]
    fn of_an_unbroken_log_the_newest_before_the_window_is_enough() {
        let all = [1, 3, 5, 7, 9].map(|at| base(at as u64, at, &[(1, 10, 10)]));
        let needed = |begin| plan_window(&all, minute(begin));
        assert_eq!(needed(6), [false, false, true, false, false]);
        assert_eq!(needed(9), [false, false, false, false, true]);
        assert_eq!(needed(0), [true, false, false, false, false], "the window is not full yet");
        assert_eq!(needed(11), [false, false, false, false, true], "what is to come may lead on from it");
    }

    #[test]
    fn behind_a_gap_the_first_backup_is_needed_too() {
        let all = [base(1, 1, &[(1, 4, 4)]), base(6, 6, &[(1, 10, 10)]), base(8, 8, &[(1, 10, 10)])];
        assert_eq!(plan_window(&all, minute(3)), [true, true, false]);
        assert_eq!(plan_window(&all, minute(5)), [true, true, false], "the gap may yet be filled");
        assert_eq!(plan_window(&all, minute(9)), [false, false, true]);
    }

    #[test]
    fn another_cluster_and_another_history_have_their_own() {
        // Back to an earlier time in place: timeline 2 left timeline 1 at 3, when it was 6.
        let roads = [(1, 6, 6), (2, 7, 10)];
        let all = [base(2, 2, &roads), base(5, 5, &roads[..1]), base(6, 9, &roads[1..])];
        assert_eq!(plan_window(&all, minute(5)), [true, true, false]);
        assert_eq!(plan_window(&all, minute(7)), [true, true, false]);
        assert_eq!(plan_window(&all, minute(9)), [false, false, true]);
        let other = BaseBackup { cluster: 2, ..base(1, 8, &[(1, 10, 10)]) };
        assert_eq!(plan_window(&[all[0].clone(), other], minute(7)), [true, true]);
    }

    /// A cluster whose log grows by one a minute, a segment each, and which once may go back in place: from minute `back` on it
    /// is on timeline 2, which left timeline 1 at `fork`. Told by minutes, and by nothing that the decision is made of.
    #[derive(Debug)]
    struct World {
        now: i64,
        back: i64,
        fork: i64,
        lost: BTreeSet<(u32, i64)>,
    }

    impl World {
        /// Timeline and position at a minute.
        fn at(&self, minute: i64) -> (u32, i64) {
            if minute < self.back { (1, minute) } else { (2, self.fork + minute - self.back) }
        }

        /// Whether recovery of what was made at minute `made` comes to the state of minute `moment`.
        fn comes(&self, made: i64, moment: i64) -> bool {
            let ((from_line, from), (line, to)) = (self.at(made), self.at(moment));
            let is_on_line = from_line == line || (from_line < line && from <= self.fork);
            let of = |position: i64| if line == 2 && position >= self.fork { 2 } else { 1 };
            made <= moment
                && is_on_line
                && (from..to).all(|position| !self.lost.contains(&(of(position), position)))
        }

        fn base(&self, made: i64) -> BaseBackup {
            let (own, from) = self.at(made);
            let last = |line| if line == 1 { self.back.min(self.now) } else { self.at(self.now).1 };
            let lines = [1, 2].into_iter().filter(|line| {
                *line == own || (*line == 2 && own == 1 && from <= self.fork && self.back <= self.now)
            });
            let road = |line| {
                let of = |position: i64| if line == 2 && position >= self.fork { 2 } else { 1 };
                let is_there = |position: &i64| !self.lost.contains(&(of(*position), *position));
                let steps = (from..last(line)).take_while(is_there).count() as i64;
                let end = from + steps;
                // The minute in which the last of it was written.
                let until = match of(end - 1) {
                    _ if steps == 0 => made,
                    1 => end,
                    _ => end - self.fork + self.back,
                };
                Road { line: Timeline(line), end: Lsn(end as u64), until: minute(until) }
            };
            let roads = lines.map(road).collect();
            BaseBackup { cluster: 1, stop: Lsn(from as u64), ended: minute(made), roads }
        }
    }

    proptest! {
        /// By brute force over every minute: what could be reached can be reached by what stays.
        #[test]
        fn no_moment_of_the_window_is_lost(
            now in 10..60i64,
            back in 5..90i64,
            fork in 0..60i64,
            lost in proptest::collection::btree_set((1..3u32, 0..60i64), 0..4),
            made in proptest::collection::btree_set(0..60i64, 1..9),
            window in 0..70i64,
        ) {
            let world = World { now, back, fork: fork.min(back), lost };
            let made: Vec<i64> = made.into_iter().filter(|made| *made <= now).collect();
            let bases: Vec<_> = made.iter().map(|made| world.base(*made)).collect();
            let begin = (now - window).max(0);
            let needed = plan_window(&bases, minute(begin));
            // The state in which timeline 2 begins is that of an earlier minute.
            for moment in (begin..=now).filter(|moment| world.at(*moment) != (2, world.fork)) {
                let comes = |stays: &[bool]| {
                    made.iter().zip(stays).any(|(made, stays)| *stays && world.comes(*made, moment))
                };
                let could = comes(&vec![true; made.len()]);
                prop_assert!(!could || comes(&needed), "{moment} from {begin} on, {needed:?} of {made:?}");
            }
            // And no more than that: what an unbroken log needs is one backup for each of its histories.
            if world.lost.is_empty() {
                prop_assert!(needed.iter().filter(|one| **one).count() <= 2, "{needed:?} of {made:?}");
            }
        }
    }
}
