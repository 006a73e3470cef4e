//! Which backups a policy keeps: a pure decision, so that it can be shown before it is carried out.
//!
//! The order is that in which the store received them, by its clock: what a client says of the time is a claim. A
//! backup that claims to be from the future, or from before another that was here first, counts for nobody else
//! (threat 3), but is kept and dropped like any other. Invariants: a backup on hold stays; one that does not count
//! displaces none; the newest backup that counts never goes; a policy that says nothing keeps everything.

use jiff::{SignedDuration, Timestamp};

use crate::backup::BackupRecord;

/// How far a client's clock may be ahead of the store's before its backups are said to be from the future.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Backups of one source may overlap by this much: one that began earlier may end later.
const OVERLAP_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What to keep of each source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// This many newest ones.
    pub keep_last: Option<usize>,
    /// All that are younger than this.
    pub keep_within: Option<SignedDuration>,
}

/// Why one backup stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stays, and why.
    Keep(&'static str),
    /// Goes.
    Forget,
}

impl Policy {
    /// Whether it asks for anything at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A backup and the moment at which it became visible, by the clock of the store.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The backup.
    pub record: &'a BackupRecord,
    /// When the store took it.
    pub at: Timestamp,
}

impl Received<'_> {
    fn is_from_the_future(&self) -> bool {
        self.record.created_at.duration_since(self.at) > AHEAD_MAX
    }

    fn is_younger(&self, span: SignedDuration, now: Timestamp) -> bool {
        let younger = |time: Timestamp| now.duration_since(time) < span;
        younger(self.at) || (!self.is_from_the_future() && younger(self.record.created_at))
    }
}

/// Decide for every backup of **one** source; the result is in the order of `backups`.
pub fn plan_forget(policy: &Policy, backups: &[Received<'_>], now: Timestamp) -> Vec<Verdict> {
    let mut first_to_last: Vec<usize> = (0..backups.len()).collect();
    first_to_last.sort_by_key(|index| (backups[*index].at, backups[*index].record.created_at));
    let counting = counting(backups, &first_to_last);
    let mut verdicts = vec![Verdict::Forget; backups.len()];
    for (position, index) in first_to_last.iter().enumerate() {
        let backup = &backups[*index];
        let created = backup.record.created_at;
        let is_newer =
            |later: &Received<'_>| backup.is_from_the_future() || later.record.created_at >= created;
        let later = first_to_last[position + 1..].iter();
        let newer = later.filter(|later| counting[**later] && is_newer(&backups[**later])).count();
        verdicts[*index] = verdict(policy, backup, newer, now);
    }
    verdicts
}

/// Which backups count when others are dropped: whole ones, whose time fits the order in which they came.
fn counting(backups: &[Received<'_>], first_to_last: &[usize]) -> Vec<bool> {
    let mut counting = vec![false; backups.len()];
    let mut newest = Timestamp::MIN;
    for index in first_to_last {
        let backup = &backups[*index];
        let created = backup.record.created_at;
        let is_in_order = newest == Timestamp::MIN || newest.duration_since(created) <= OVERLAP_MAX;
        counting[*index] = !backup.record.incomplete && !backup.is_from_the_future() && is_in_order;
        if counting[*index] {
            newest = newest.max(created);
        }
    }
    counting
}

/// `newer`: backups that count and were made and received after this one.
fn verdict(policy: &Policy, backup: &Received<'_>, newer: usize, now: Timestamp) -> Verdict {
    let record = backup.record;
    match () {
        () if policy.is_empty() => Verdict::Keep("no policy"),
        () if record.hold => Verdict::Keep("on hold"),
        () if policy.keep_within.is_some_and(|span| backup.is_younger(span, now)) => {
            Verdict::Keep("within the time")
        }
        // Newer than every good one: it may be all there is of the last days.
        () if record.incomplete && newer == 0 => Verdict::Keep("newer than the last good one"),
        () if record.incomplete => Verdict::Forget,
        () if newer == 0 => Verdict::Keep("newest good one"),
        () if policy.keep_last.is_some_and(|count| newer < count) => Verdict::Keep("among the last"),
        () => Verdict::Forget,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::{BackupKind, Engine};

    fn record(hour: i64, change: impl FnOnce(&mut BackupRecord)) -> BackupRecord {
        let mut record = BackupRecord {
            id: format!("t-s-{hour}").parse().unwrap(),
            tenant: "t".parse().unwrap(),
            source: "s".parse().unwrap(),
            kind: BackupKind::Dump,
            database: String::new(),
            created_at: Timestamp::from_second(hour * 3600).unwrap(),
            size_bytes: 0,
            stored_bytes: 0,
            sha256: None,
            destination: String::new(),
            location: String::new(),
            engine: Engine(Engine::POSTGRES.into()),
            snapshot: None,
            last_verification: None,
            relation_count: 0,
            start_lsn: String::new(),
            stop_lsn: String::new(),
            timeline: String::new(),
            label: String::new(),
            hold: false,
            incomplete: false,
        };
        change(&mut record);
        record
    }

    fn hour(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    /// Received at the moment that they claim.
    fn kept(policy: Policy, records: &[BackupRecord], now_hour: i64) -> Vec<i64> {
        let received = records.iter().map(|record| (record.clone(), record.created_at));
        kept_of(policy, &received.collect::<Vec<_>>(), now_hour)
    }

    /// Claimed hours of those that stay.
    fn kept_of(policy: Policy, records: &[(BackupRecord, Timestamp)], now_hour: i64) -> Vec<i64> {
        let backups: Vec<_> = records.iter().map(|(record, at)| Received { record, at: *at }).collect();
        let verdicts = plan_forget(&policy, &backups, hour(now_hour));
        let kept = records.iter().zip(verdicts).filter(|(_, verdict)| *verdict != Verdict::Forget);
        kept.map(|((record, _), _)| record.created_at.as_second() / 3600).collect()
    }

    #[test]
    fn no_policy_keeps_everything() {
        let records = [record(1, |_| ()), record(2, |_| ())];
        assert_eq!(kept(Policy::default(), &records, 9), [1, 2]);
    }

    #[test]
    fn keep_last_counts_good_ones_only_pitfall_21() {
        let bad = |record: &mut BackupRecord| record.incomplete = true;
        let records =
            [record(1, |_| ()), record(2, |_| ()), record(3, bad), record(4, bad), record(5, |_| ())];
        let policy = Policy { keep_last: Some(2), ..Policy::default() };
        assert_eq!(kept(policy, &records, 9), [2, 5]);
    }

    #[test]
    fn the_last_good_one_and_holds_never_go() {
        let records = [record(1, |r| r.hold = true), record(2, |_| ()), record(3, |_| ())];
        let policy = Policy { keep_last: Some(0), ..Policy::default() };
        assert_eq!(kept(policy, &records, 9_000), [1, 3]);
    }

    #[test]
    fn keep_within_is_by_age() {
        let records = [record(1, |_| ()), record(8, |_| ()), record(9, |_| ())];
        let policy = Policy { keep_within: Some(SignedDuration::from_hours(2)), ..Policy::default() };
        assert_eq!(kept(policy, &records, 9), [8, 9]);
    }

    fn last(count: usize) -> Policy {
        Policy { keep_last: Some(count), ..Policy::default() }
    }

    #[test]
    fn decoys_with_false_dates_displace_nothing_threat_3() {
        let real = |n: i64| (record(n * 24, |_| ()), hour(n * 24 + 1));
        let reals: Vec<_> = (1..=7).map(real).collect();
        let among = |decoys: &[i64]| {
            let decoys = decoys.iter().map(|claimed| (record(*claimed, |_| ()), hour(200)));
            let all: Vec<_> = reals.iter().cloned().chain(decoys).collect();
            let kept = kept_of(last(7), &all, 201);
            (1..=7).filter(|n| kept.contains(&(n * 24))).count()
        };
        assert_eq!(among(&[9_000; 20]), 7, "from the future");
        assert_eq!(among(&[0; 20]), 7, "from the past");
        assert_eq!(among(&[25, 50, 75, 97, 100, 121, 139]), 7, "in between");
    }

    #[test]
    fn a_backup_of_a_clock_that_was_wrong_goes_in_its_turn() {
        let real = |n: i64| (record(n, |_| ()), hour(n));
        let all = [(record(90_000, |_| ()), hour(1)), real(2), real(3), real(4)];
        assert_eq!(kept_of(last(2), &all, 5), [3, 4]);
    }

    #[test]
    fn a_repository_that_came_by_another_way_keeps_the_newest() {
        // Mirrored by another tool: all were received today, in any order.
        let all: Vec<_> = [5, 3, 8, 1, 7].map(|n| (record(n * 24, |_| ()), hour(1_000 + n % 3))).to_vec();
        let kept = kept_of(last(2), &all, 1_001);
        assert!(kept.contains(&(8 * 24)) && kept.contains(&(7 * 24)), "{kept:?}");
    }

    #[test]
    fn one_that_was_undeleted_is_not_forgotten_at_once() {
        let real = |n: i64| (record(n, |_| ()), hour(n));
        let mut all = vec![(record(1, |_| ()), hour(50)), real(2), real(3), real(4)];
        assert_eq!(kept_of(last(1), &all, 60), [1, 4]);
        all.push(real(61));
        assert_eq!(kept_of(last(1), &all, 62), [61]);
    }

    proptest! {
        /// The attacker can append whatever he likes at any moment, in the name of the source, as long as it does
        /// not claim the moment at which it comes: nothing that would stay without it goes.
        #[test]
        fn an_append_only_attacker_pushes_no_real_backup_out_threat_3(
            days in 1..20i64,
            keep in 1..10usize,
            within in proptest::option::of(1..400i64),
            decoys in proptest::collection::vec((0..500i64, any::<bool>(), 0..10_000i64), 0..60),
        ) {
            let mut all: Vec<_> = (1..=days).map(|n| (record(n * 24, |_| ()), hour(n * 24 + 2))).collect();
            let policy = Policy { keep_last: Some(keep), keep_within: within.map(SignedDuration::from_hours) };
            let now = days * 24 + 20;
            let before = kept_of(policy, &all, now);
            for (received, is_future, off) in decoys {
                let received = received % now;
                let newest_real = (received - 2) / 24 * 24;
                // What lies within the overlap of the newest one looks like a backup of today, and no rule tells it.
                let claimed = if is_future { received + 2 + off } else { newest_real - 25 - off };
                all.push((record(claimed, |_| ()), hour(received)));
            }
            let after = kept_of(policy, &all, now);
            for real in before {
                prop_assert!(after.contains(&real), "{real} of {after:?}");
            }
        }
    }
}
