//! Which backups a policy keeps: a pure decision, so that it can be shown before it is carried out.
//!
//! The order is that in which the store received them, by its clock: what a client says of the time is a claim. A
//! backup that claims to be from the future, or from before another that was here first, counts for nobody else
//! (threat 3), but is kept and dropped like any other; so is one that is incomplete, or whose verification failed.
//! Invariants: a backup on hold stays; one that does not count displaces none; the newest backup that counts never goes;
//! a policy that says nothing keeps everything.

mod calendar;

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::backup::{BackupKind, BackupRecord};
pub use calendar::Every;

/// How far a client's clock may be ahead of the store's before its backups are said to be from the future.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Backups of one source may overlap by this much: one that began earlier may end later.
const OVERLAP_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What to keep of each source. A backup stays that any part asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// This many newest ones.
    pub keep_last: Option<usize>,
    /// All that are younger than this.
    pub keep_within: Option<SignedDuration>,
    /// Of clusters what is needed to come back to every moment that is younger than this. Other sources have no WAL, and it
    /// says nothing of them.
    pub keep_wal_within: Option<SignedDuration>,
    /// The newest of each of the last so many slots of these lengths that have one: hourly, daily, weekly …
    pub calendar: Vec<(Every, usize)>,
    /// By age, the youngest first; each begins where the one before it ends.
    pub tiers: Vec<Tier>,
    /// Whose clocks and calendars count; UTC where none is said.
    pub zone: Option<TimeZone>,
}

/// Some backups of a span of ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Where the span ends, if it does.
    pub younger_than: Option<SignedDuration>,
    /// The newest of each slot of this length; where it is not said, each counts by itself.
    pub every: Option<Every>,
    /// So many at most, the newest ones.
    pub keep: usize,
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
        self.is_empty_of(BackupKind::Cluster)
    }

    /// Whether it asks for anything of sources of a kind.
    fn is_empty_of(&self, kind: BackupKind) -> bool {
        let Self { keep_last, keep_within, keep_wal_within, calendar, tiers, zone: _ } = self;
        let has_window = keep_wal_within.is_some() && kind == BackupKind::Cluster;
        let is_silent =
            keep_last.is_none() && keep_within.is_none() && calendar.is_empty() && tiers.is_empty();
        is_silent && !has_window
    }

    /// Whether it drops all but what no policy drops: the newest good backup and those on hold.
    pub fn keeps_nothing(&self) -> bool {
        let spans = [self.keep_within, self.keep_wal_within];
        let within = spans.iter().flatten().any(|span| *span > SignedDuration::ZERO);
        !within && self.rules().iter().all(|rule| rule.keep == 0)
    }

    /// How far back its backups reach at least, when one is made every `interval`; WAL may reach further.
    pub fn reach(&self, interval: SignedDuration) -> SignedDuration {
        if self.is_empty() {
            return SignedDuration::MAX;
        }
        let by_count = |rule: &Rule| {
            let slot = rule.every.map_or(interval, |every| every.length_min().max(interval));
            let slots = i32::try_from(rule.keep).unwrap_or(i32::MAX);
            rule.ages
                .0
                .saturating_add(slot.checked_mul(slots).unwrap_or(SignedDuration::MAX))
                .min(rule.ages.1)
        };
        let counted = self.rules().iter().filter(|rule| rule.keep > 0).map(by_count).max();
        counted.max(self.keep_within).unwrap_or_default()
    }

    fn rules(&self) -> Vec<Rule> {
        let all = (SignedDuration::ZERO, SignedDuration::MAX);
        let last = self.keep_last.map(|keep| Rule { ages: all, every: None, keep, reason: "among the last" });
        let calendar = self.calendar.iter().map(|(every, keep)| Rule {
            ages: all,
            every: Some(*every),
            keep: *keep,
            reason: match every {
                Every::Hours(_) => "hourly",
                Every::Day => "daily",
                Every::Week => "weekly",
                Every::Month => "monthly",
                Every::Year => "yearly",
            },
        });
        let mut from = SignedDuration::ZERO;
        let tiers = self.tiers.iter().map(|tier| {
            let until = tier.younger_than.unwrap_or(SignedDuration::MAX);
            let ages = (std::mem::replace(&mut from, until), until);
            Rule { ages, every: tier.every, keep: tier.keep, reason: "in its tier" }
        });
        last.into_iter().chain(calendar).chain(tiers).collect()
    }
}

/// Keep the newest of each slot, of the last so many slots, among those of some age.
struct Rule {
    /// From, and below.
    ages: (SignedDuration, SignedDuration),
    every: Option<Every>,
    keep: usize,
    reason: &'static str,
}

/// A backup and the moment at which it became visible, by the clock of the store.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The backup.
    pub record: &'a BackupRecord,
    /// When the store took it.
    pub at: Timestamp,
    /// Whether the window of `keep_wal_within` rests on it ([`crate::recovery_window`]).
    pub is_needed: bool,
}

impl Received<'_> {
    fn is_from_the_future(&self) -> bool {
        self.record.created_at.duration_since(self.at) > AHEAD_MAX
    }

    fn is_younger(&self, span: SignedDuration, now: Timestamp) -> bool {
        let younger = |time: Timestamp| now.duration_since(time) < span;
        younger(self.at) || (!self.is_from_the_future() && younger(self.record.created_at))
    }

    /// When it was made, as far as that can be believed.
    fn time(&self) -> Timestamp {
        if self.is_from_the_future() { self.at } else { self.record.created_at }
    }
}

/// Decide for every backup of **one** source; the result is in the order of `backups`.
pub fn plan_forget(policy: &Policy, backups: &[Received<'_>], now: Timestamp) -> Vec<Verdict> {
    let mut first_to_last: Vec<usize> = (0..backups.len()).collect();
    first_to_last.sort_by_key(|index| (backups[*index].at, backups[*index].record.created_at));
    let counting = counting(backups, &first_to_last);
    let zone = policy.zone.clone().unwrap_or(TimeZone::UTC);
    let rules: Vec<_> =
        policy.rules().into_iter().map(|rule| (rule.slots(backups, now, &zone), rule)).collect();
    let mut verdicts = vec![Verdict::Forget; backups.len()];
    for (position, index) in first_to_last.iter().enumerate() {
        let backup = &backups[*index];
        let created = backup.record.created_at;
        let is_newer =
            |later: &Received<'_>| backup.is_from_the_future() || later.record.created_at >= created;
        let later = first_to_last[position + 1..].iter().copied();
        let newer = || later.clone().filter(|later| counting[*later] && is_newer(&backups[*later]));
        let kept_by =
            rules.iter().find(|(slots, rule)| rule.keeps(slots[*index], newer().map(|one| slots[one])));
        let kept_by = kept_by.map(|(_, rule)| rule.reason);
        verdicts[*index] = verdict(policy, backup, newer().next().is_none(), kept_by, now);
    }
    verdicts
}

impl Rule {
    /// The slot of each backup; none where its age is another.
    fn slots<'a>(&self, backups: &[Received<'a>], now: Timestamp, zone: &TimeZone) -> Vec<Option<i64>> {
        let mut moments = HashMap::new();
        let slot = |(number, backup): (i64, &Received<'a>)| {
            let age = now.duration_since(backup.time()).max(SignedDuration::ZERO);
            let is_meant = self.ages.0 <= age && age < self.ages.1;
            // Where there are no slots, each moment is one.
            let moment = backup.record.moment().filter(|_| is_meant);
            let own = moment.map_or(number, |moment| *moments.entry(moment).or_insert(number));
            is_meant.then(|| self.every.map_or(own, |every| every.slot(backup.time(), zone)))
        };
        (0..).zip(backups).map(slot).collect()
    }

    /// Whether one in the slot `own` stays beside those that count and were made and received after it.
    fn keeps(&self, own: Option<i64>, newer: impl Iterator<Item = Option<i64>>) -> bool {
        let Some(own) = own.filter(|_| self.keep > 0) else { return false };
        let mut others = HashSet::new();
        for slot in newer.flatten() {
            if slot == own && self.every.is_none() {
                continue;
            }
            others.insert(slot);
            if slot == own || others.len() >= self.keep {
                return false;
            }
        }
        true
    }
}

/// Which backups count when others are dropped: good ones, whose time fits the order in which they came.
fn counting(backups: &[Received<'_>], first_to_last: &[usize]) -> Vec<bool> {
    let mut counting = vec![false; backups.len()];
    let mut newest = Timestamp::MIN;
    for index in first_to_last {
        let backup = &backups[*index];
        let created = backup.record.created_at;
        let is_in_order = newest == Timestamp::MIN || newest.duration_since(created) <= OVERLAP_MAX;
        counting[*index] = backup.record.is_good() && !backup.is_from_the_future() && is_in_order;
        if counting[*index] {
            newest = newest.max(created);
        }
    }
    counting
}

/// `rule`: what the first part of the policy that keeps it calls it.
fn verdict(
    policy: &Policy,
    backup: &Received<'_>,
    is_newest: bool,
    rule: Option<&'static str>,
    now: Timestamp,
) -> Verdict {
    match () {
        () if policy.is_empty_of(backup.record.kind) => Verdict::Keep("no policy"),
        () if backup.record.hold => Verdict::Keep("on hold"),
        () if policy.keep_within.is_some_and(|span| backup.is_younger(span, now)) => {
            Verdict::Keep("within the time")
        }
        () if backup.is_needed => Verdict::Keep("needed by the recovery window"),
        // Newer than every good one: it may be all there is of the last days.
        () if !backup.record.is_good() && is_newest => Verdict::Keep("newer than the last good one"),
        () if !backup.record.is_good() => Verdict::Forget,
        () if is_newest => Verdict::Keep("newest good one"),
        () => rule.map_or(Verdict::Forget, Verdict::Keep),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn reach_is_what_the_longest_rule_keeps() {
        let (day, hour) = (SignedDuration::from_hours(24), SignedDuration::from_hours(1));
        let daily = |keep| Policy { calendar: vec![(Every::Day, keep)], ..Policy::default() };
        assert_eq!(daily(30).reach(hour), day * 30);
        // Slots that have no backup are not counted: a weekly one reaches further.
        assert_eq!(daily(30).reach(day * 7), day * 210);
        assert_eq!(Policy { keep_last: Some(48), ..daily(1) }.reach(hour), day * 2);
        assert_eq!(Policy { keep_within: Some(day * 40), ..daily(1) }.reach(hour), day * 40);
        let tier = |younger_than, every, keep| Tier { younger_than, every, keep };
        let tiers = vec![tier(Some(day), None, 6), tier(None, Some(Every::Day), 5)];
        assert_eq!(Policy { tiers, ..Policy::default() }.reach(hour), day * 6);
        assert_eq!(Policy::default().reach(hour), SignedDuration::MAX);
        assert!(daily(0).keeps_nothing() && !daily(1).keeps_nothing());
    }

    use std::cmp::Reverse;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::backup::{Engine, Verification};

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
    fn kept(policy: &Policy, records: &[BackupRecord], now_hour: i64) -> Vec<i64> {
        let received = records.iter().map(|record| (record.clone(), record.created_at));
        kept_of(policy, &received.collect::<Vec<_>>(), now_hour)
    }

    /// Claimed hours of those that stay.
    fn kept_of(policy: &Policy, records: &[(BackupRecord, Timestamp)], now_hour: i64) -> Vec<i64> {
        let backups: Vec<_> =
            records.iter().map(|(record, at)| Received { record, at: *at, is_needed: false }).collect();
        let verdicts = plan_forget(policy, &backups, hour(now_hour));
        let kept = records.iter().zip(verdicts).filter(|(_, verdict)| *verdict != Verdict::Forget);
        kept.map(|((record, _), _)| record.created_at.as_second() / 3600).collect()
    }

    #[test]
    fn two_of_one_moment_of_a_cluster_take_one_place() {
        let link = |hour| record(hour, |record| record.start_lsn = format!("0/{hour}000028"));
        let consolidated = BackupRecord { id: "t-s-3-full".parse().unwrap(), ..link(3) };
        let records = [link(1), link(2), link(3), consolidated];
        let last = |count| Policy { keep_last: Some(count), ..Policy::default() };
        assert_eq!(kept(&last(1), &records, 9), [3, 3]);
        assert_eq!(kept(&last(2), &records, 9), [2, 3, 3]);
        // Others are two, whatever time they claim.
        assert_eq!(kept(&last(1), &[record(3, |_| ()), record(3, |_| ())], 9), [3]);
    }

    #[test]
    fn no_policy_keeps_everything() {
        let records = [record(1, |_| ()), record(2, |_| ())];
        assert_eq!(kept(&Policy::default(), &records, 9), [1, 2]);
    }

    #[test]
    fn keep_last_counts_good_ones_only_pitfall_21() {
        let bad = |record: &mut BackupRecord| record.incomplete = true;
        let records =
            [record(1, |_| ()), record(2, |_| ()), record(3, bad), record(4, bad), record(5, |_| ())];
        let policy = Policy { keep_last: Some(2), ..Policy::default() };
        assert_eq!(kept(&policy, &records, 9), [2, 5]);
    }

    #[test]
    fn the_last_good_one_and_holds_never_go() {
        let records = [record(1, |r| r.hold = true), record(2, |_| ()), record(3, |_| ())];
        let policy = Policy { keep_last: Some(0), ..Policy::default() };
        assert_eq!(kept(&policy, &records, 9_000), [1, 3]);
    }

    #[test]
    fn keep_within_is_by_age() {
        let records = [record(1, |_| ()), record(8, |_| ()), record(9, |_| ())];
        let policy = Policy { keep_within: Some(SignedDuration::from_hours(2)), ..Policy::default() };
        assert_eq!(kept(&policy, &records, 9), [8, 9]);
    }

    #[test]
    fn what_the_recovery_window_rests_on_stays_and_of_others_it_says_nothing() {
        let cluster = |record: &mut BackupRecord| record.kind = BackupKind::Cluster;
        let records = [record(1, cluster), record(3, cluster), record(5, cluster), record(7, cluster)];
        let window = Policy { keep_wal_within: Some(SignedDuration::from_hours(5)), ..Policy::default() };
        let planned = |policy: &Policy, records: &[BackupRecord]| {
            let received = records.iter().map(|record| Received {
                record,
                at: record.created_at,
                is_needed: record.created_at == hour(3),
            });
            plan_forget(policy, &received.collect::<Vec<_>>(), hour(9))
        };
        let needed = Verdict::Keep("needed by the recovery window");
        let newest = Verdict::Keep("newest good one");
        assert_eq!(planned(&window, &records), [Verdict::Forget, needed, Verdict::Forget, newest]);
        // Beside other rules it takes nothing away.
        let both = Policy { keep_last: Some(2), ..window.clone() };
        assert_eq!(
            planned(&both, &records),
            [Verdict::Forget, needed, Verdict::Keep("among the last"), newest]
        );
        // A dump has no WAL: a policy that speaks of WAL alone says nothing of it.
        let dumps = [record(1, |_| ()), record(7, |_| ())];
        assert_eq!(planned(&window, &dumps), [Verdict::Keep("no policy"); 2]);
        assert!(!window.is_empty() && !window.keeps_nothing());
        assert_eq!(both.to_string(), "{ keep_last = 2, keep_wal_within = \"5h\" }");
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
            let kept = kept_of(&last(7), &all, 201);
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
        assert_eq!(kept_of(&last(2), &all, 5), [3, 4]);
    }

    #[test]
    fn a_repository_that_came_by_another_way_keeps_the_newest() {
        // Mirrored by another tool: all were received today, in any order.
        let all: Vec<_> = [5, 3, 8, 1, 7].map(|n| (record(n * 24, |_| ()), hour(1_000 + n % 3))).to_vec();
        let kept = kept_of(&last(2), &all, 1_001);
        assert!(kept.contains(&(8 * 24)) && kept.contains(&(7 * 24)), "{kept:?}");
    }

    #[test]
    fn one_that_was_undeleted_is_not_forgotten_at_once() {
        let real = |n: i64| (record(n, |_| ()), hour(n));
        let mut all = vec![(record(1, |_| ()), hour(50)), real(2), real(3), real(4)];
        assert_eq!(kept_of(&last(1), &all, 60), [1, 4]);
        all.push(real(61));
        assert_eq!(kept_of(&last(1), &all, 62), [61]);
    }

    /// N4, as the original has it where it is right.
    fn three_tiers() -> Policy {
        let tier = |younger_than: Option<i64>, every, keep| Tier {
            younger_than: younger_than.map(SignedDuration::from_hours),
            every,
            keep,
        };
        let tiers = vec![
            tier(Some(12), None, 6),
            tier(Some(48), Every::hours(12), 4),
            tier(None, Some(Every::Day), 5),
        ];
        Policy { tiers, ..Policy::default() }
    }

    /// What N4 says, in its own words, of hours at which backups were made: an oracle that shares nothing.
    fn three_tiers_by_the_book(made: &[i64], now: i64) -> Vec<i64> {
        let newest_first: BTreeSet<_> = made.iter().map(|hour| Reverse(*hour)).collect();
        let mut kept = BTreeSet::new();
        let (mut hourly, mut halves, mut days) = (0, BTreeSet::new(), BTreeSet::new());
        for Reverse(hour) in newest_first {
            let stays = match now - hour {
                ..12 => {
                    hourly += 1;
                    hourly <= 6
                }
                12..48 => halves.insert(hour.div_euclid(12)) && halves.len() <= 4,
                _ => days.insert(hour.div_euclid(24)) && days.len() <= 5,
            };
            if stays || kept.is_empty() {
                kept.insert(hour);
            }
        }
        kept.into_iter().collect()
    }

    #[test]
    fn n4_tiers_over_a_virtual_year_are_what_the_book_says_and_n5_never_more_than_fifteen() {
        let mut there: Vec<i64> = vec![];
        for now in 0..24 * 365 {
            // Every two hours; nothing for four days; by hand in between; twice a day only.
            let is_made = match now / 24 % 50 {
                10..14 => false,
                20..25 => now % 12 == 5,
                30 => true,
                _ => now % 2 == 0,
            };
            if is_made {
                there.push(now);
            }
            let records: Vec<_> = there.iter().map(|hour| record(*hour, |_| ())).collect();
            let kept = kept(&three_tiers(), &records, now);
            assert_eq!(kept, three_tiers_by_the_book(&there, now), "hour {now}");
            assert!(kept.len() <= 15, "hour {now}: {kept:?}");
            there = kept;
        }
        assert!(there.len() >= 12, "{there:?}");
    }

    #[test]
    fn daily_and_monthly_over_two_virtual_years_are_steady() {
        let zone = TimeZone::get("Europe/Vienna").unwrap();
        let calendar = vec![(Every::Day, 30), (Every::Month, 12)];
        let policy = Policy { calendar, zone: Some(zone.clone()), ..Policy::default() };
        let mut there: Vec<i64> = vec![];
        // Every six hours, from the first of January 2025 on.
        let begin = 482_136;
        for now in (begin..begin + 2 * 365 * 24).step_by(6) {
            there.push(now);
            let records: Vec<_> = there.iter().map(|hour| record(*hour, |_| ())).collect();
            there = kept(&policy, &records, now);
        }
        let slots = |every: Every| {
            there.iter().map(|one| every.slot(hour(*one), &zone)).collect::<BTreeSet<_>>().len()
        };
        assert_eq!((slots(Every::Month), there.len()), (12, 30 + 11), "{there:?}");
        let of_a_day = there.iter().rev().take(30).map(|one| Every::Day.slot(hour(*one), &zone));
        assert_eq!(of_a_day.collect::<BTreeSet<_>>().len(), 30);
    }

    #[test]
    fn a_failed_verification_never_counts_and_pushes_none_out_pitfall_21() {
        let failed = |record: &mut BackupRecord| {
            record.last_verification = Some(Verification { at: hour(0), result: "failed".into() });
        };
        let records = [record(1, |_| ()), record(2, |_| ()), record(3, failed), record(4, failed)];
        assert_eq!(kept(&last(1), &records, 9), [2, 3, 4]);
        let policy = Policy { calendar: vec![(Every::Day, 1)], ..Policy::default() };
        let records = [record(1, |_| ()), record(2, failed), record(30, |_| ())];
        assert_eq!(kept(&policy, &records, 40), [30]);
        assert_eq!(kept(&policy, &records[..2], 40), [1, 2]);
    }

    proptest! {
        /// Gaps, extras, clocks that are set: what is good and newest stays, whatever else is there.
        #[test]
        fn the_newest_good_one_stays_whatever_clocks_say(
            hours in proptest::collection::vec((0..20_000i64, -3..30i64, any::<bool>()), 1..60),
            hourly in 0..5usize, daily in 0..5usize, yearly in 0..3usize, tiers in any::<bool>(),
        ) {
            let mut all: Vec<_> = hours
                .into_iter()
                .map(|(at, off, incomplete)| (record(at - off, |record| record.incomplete = incomplete), hour(at)))
                .collect();
            all.sort_by_key(|(_, at)| *at);
            let calendar = vec![(Every::Hours(1), hourly), (Every::Day, daily), (Every::Year, yearly)];
            let tiers = if tiers { three_tiers().tiers } else { vec![] };
            let policy = Policy { calendar, tiers, ..Policy::default() };
            let now = 20_001;
            let kept = kept_of(&policy, &all, now);
            let good = all.iter().rev().find(|(record, at)| {
                !record.incomplete && record.created_at.duration_since(*at) <= AHEAD_MAX
            });
            if let Some((newest, _)) = good {
                // By the order of receipt; one that claims to be older than others may stand behind them.
                let newer = all.iter().any(|(other, _)| !other.incomplete && other.created_at > newest.created_at);
                let hour = newest.created_at.as_second() / 3600;
                prop_assert!(newer || kept.contains(&hour), "{hour} of {kept:?}");
            }
        }

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
            let keep_within = within.map(SignedDuration::from_hours);
            let policy = Policy { keep_last: Some(keep), keep_within, ..Policy::default() };
            let now = days * 24 + 20;
            let before = kept_of(&policy, &all, now);
            for (received, is_future, off) in decoys {
                let received = received % now;
                // Of what came in the same hour nobody knows which was first, so that one does not count as here.
                let newest_real = (received - 3) / 24 * 24;
                // What lies within the overlap of the newest one looks like a backup of today, and no rule tells it.
                let claimed = if is_future { received + 2 + off } else { newest_real - 25 - off };
                all.push((record(claimed, |_| ()), hour(received)));
            }
            let after = kept_of(&policy, &all, now);
            for real in before {
                prop_assert!(after.contains(&real), "{real} of {after:?}");
            }
        }
    }
}
