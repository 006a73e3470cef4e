//! Which backups a policy keeps: a pure decision, so that it can be shown before it is carried out.
//!
//! Invariants: a backup on hold stays; an incomplete backup is never counted as one of those to keep; the newest
//! complete backup of a source never goes; a policy that says nothing keeps everything.

use jiff::{SignedDuration, Timestamp};

use crate::backup::BackupRecord;

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

/// Decide for every record of **one** source; the result is in the order of `records`.
pub fn plan_forget(policy: &Policy, records: &[BackupRecord], now: Timestamp) -> Vec<Verdict> {
    let mut newest_first: Vec<usize> = (0..records.len()).collect();
    newest_first.sort_by_key(|index| std::cmp::Reverse(records[*index].created_at));
    let mut verdicts = vec![Verdict::Forget; records.len()];
    let mut complete_seen = 0;
    for index in newest_first {
        verdicts[index] = verdict(policy, &records[index], complete_seen, now);
        complete_seen += usize::from(!records[index].incomplete);
    }
    verdicts
}

fn verdict(policy: &Policy, record: &BackupRecord, newer_complete: usize, now: Timestamp) -> Verdict {
    let young = policy.keep_within.is_some_and(|span| now.duration_since(record.created_at) < span);
    match () {
        () if policy.is_empty() => Verdict::Keep("no policy"),
        () if record.hold => Verdict::Keep("on hold"),
        () if young => Verdict::Keep("within the time"),
        // Newer than every good one: it may be all there is of the last days.
        () if record.incomplete && newer_complete == 0 => Verdict::Keep("newer than the last good one"),
        () if record.incomplete => Verdict::Forget,
        () if newer_complete == 0 => Verdict::Keep("newest good one"),
        () if policy.keep_last.is_some_and(|count| newer_complete < count) => Verdict::Keep("among the last"),
        () => Verdict::Forget,
    }
}

#[cfg(test)]
mod tests {
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

    fn kept(policy: Policy, records: &[BackupRecord], now_hour: i64) -> Vec<i64> {
        let now = Timestamp::from_second(now_hour * 3600).unwrap();
        let verdicts = plan_forget(&policy, records, now);
        let kept = records.iter().zip(verdicts).filter(|(_, verdict)| *verdict != Verdict::Forget);
        kept.map(|(record, _)| record.created_at.as_second() / 3600).collect()
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
}
