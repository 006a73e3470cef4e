//! Retention over virtual years, against what the book says of it (`docs/how-to/prune-safely.md`), told once more and in other
//! words: the oracle shares no code with what it judges, and takes calendars from what clocks on the wall show.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::backup::{BackupKind, BackupRecord, Engine};
use model::retention::{Every, Policy, Received, Tier, Verdict, plan_forget};
use proptest::prelude::*;

/// Clocks may be ahead by so much before a backup is said to be from the future.
const AHEAD_MINUTES: i64 = 60;
/// Two backups of one source may overlap by so much.
const OVERLAP_MINUTES: i64 = 24 * 60;
/// The lengths of slots that a policy can name.
const LENGTHS: [Every; 7] =
    [Every::Hours(1), Every::Hours(6), Every::Hours(12), Every::Day, Every::Week, Every::Month, Every::Year];

/// A backup that is there.
#[derive(Clone, Debug)]
struct There {
    record: BackupRecord,
    received: Timestamp,
    /// A recovery window rests on it.
    is_needed: bool,
    /// What clocks on the wall showed when it was made, as far as that is believed: one text for each length.
    shown: [String; LENGTHS.len()],
}

impl There {
    fn new(number: usize, received: Timestamp, claimed: Timestamp, step: &Step, zone: &TimeZone) -> Self {
        let record = BackupRecord {
            id: format!("t-s-{number}").parse().unwrap(),
            tenant: "t".parse().unwrap(),
            source: "s".parse().unwrap(),
            kind: BackupKind::Dump,
            database: String::new(),
            created_at: claimed,
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
            hold: step.is_held,
            incomplete: !step.is_good,
        };
        let mut made = Self { record, received, is_needed: step.is_needed, shown: Default::default() };
        let wall = made.time().to_zoned(zone.clone());
        let quarter = |hours: i8| format!("{} {}", wall.strftime("%F"), wall.hour() / hours);
        made.shown = [
            quarter(1),
            quarter(6),
            quarter(12),
            wall.strftime("%F").to_string(),
            wall.strftime("%G-%V").to_string(),
            wall.strftime("%Y-%m").to_string(),
            wall.strftime("%Y").to_string(),
        ];
        made
    }

    fn is_from_the_future(&self) -> bool {
        self.record.created_at.duration_since(self.received) > SignedDuration::from_mins(AHEAD_MINUTES)
    }

    /// A date in the future is not believed: then it is the moment at which the store took it.
    fn time(&self) -> Timestamp {
        if self.is_from_the_future() { self.received } else { self.record.created_at }
    }

    /// What the wall showed, in slots of a length; where none is said, each is alone.
    fn slot(&self, every: Option<Every>) -> String {
        match every.map(|every| LENGTHS.iter().position(|known| *known == every).unwrap()) {
            Some(length) => self.shown[length].clone(),
            None => self.record.id.to_string(),
        }
    }
}

/// Those that stay of `there`, which are in the order in which they were received.
fn by_the_book(policy: &Policy, there: &[There], now: Timestamp) -> BTreeSet<String> {
    // "Counts for nobody": incomplete, from the future, or from before another that was here first.
    let mut counting: Vec<(usize, &There)> = vec![];
    for (position, one) in there.iter().enumerate() {
        let overlap = SignedDuration::from_mins(OVERLAP_MINUTES);
        let is_before = |(_, other): &(usize, &There)| {
            other.record.created_at.duration_since(one.record.created_at) > overlap
        };
        if !one.record.incomplete && !one.is_from_the_future() && !counting.iter().any(is_before) {
            counting.push((position, one));
        }
    }
    let says_nothing = *policy == Policy { zone: policy.zone.clone(), ..Policy::default() };
    let stays = |(position, one): &(usize, &There)| {
        let is_newer = |(other_position, other): &&(usize, &There)| {
            let is_made_later = other.record.created_at >= one.record.created_at;
            other_position > position && (is_made_later || one.is_from_the_future())
        };
        let newer: Vec<_> = counting.iter().filter(is_newer).map(|(_, other)| *other).collect();
        let age = |one: &There| now.duration_since(one.time()).max(SignedDuration::ZERO);
        let is_young = |span: SignedDuration| {
            let claimed = now.duration_since(one.record.created_at) < span && !one.is_from_the_future();
            claimed || now.duration_since(one.received) < span
        };
        // "The newest of each of the last N slots that have one", among those of some ages.
        let is_asked_for = |keep: usize, every: Option<Every>, ages: std::ops::Range<SignedDuration>| {
            let others: BTreeSet<_> = newer
                .iter()
                .filter(|other| ages.contains(&age(other)))
                .map(|other| other.slot(every))
                .collect();
            ages.contains(&age(one)) && others.len() < keep && !others.contains(&one.slot(every))
        };
        let all = SignedDuration::ZERO..SignedDuration::MAX;
        let in_tiers = || {
            let mut from = SignedDuration::ZERO;
            policy.tiers.iter().any(|tier| {
                let until = tier.younger_than.unwrap_or(SignedDuration::MAX);
                is_asked_for(tier.keep, tier.every, std::mem::replace(&mut from, until)..until)
            })
        };
        says_nothing
            || one.record.hold
            || one.is_needed
            || policy.keep_within.is_some_and(is_young)
            || newer.is_empty()
            || !one.record.incomplete
                && (policy.keep_last.is_some_and(|keep| is_asked_for(keep, None, all.clone()))
                    || policy
                        .calendar
                        .iter()
                        .any(|(every, keep)| is_asked_for(*keep, Some(*every), all.clone()))
                    || in_tiers())
    };
    let all = there.iter().enumerate().filter(stays);
    all.map(|(_, one)| one.record.id.to_string()).collect()
}

/// The same by the code; it is handed them in another order.
fn by_the_code(policy: &Policy, there: &[There], now: Timestamp) -> BTreeSet<String> {
    let received: Vec<_> = there
        .iter()
        .rev()
        .map(|one| Received { record: &one.record, at: one.received, is_needed: one.is_needed })
        .collect();
    let kept = received.iter().zip(plan_forget(policy, &received, now));
    kept.filter(|(_, verdict)| *verdict != Verdict::Forget)
        .map(|(one, _)| one.record.id.to_string())
        .collect()
}

/// A backup, so long after the one before it.
#[derive(Clone, Debug)]
struct Step {
    gap_minutes: i64,
    /// From here on the client's clock is off by so much.
    clock_minutes: Option<i64>,
    is_good: bool,
    is_held: bool,
    is_needed: bool,
}

fn step() -> impl Strategy<Value = Step> {
    // By hand in between, several times a day, daily, and holes of weeks.
    let gap = prop_oneof![4 => 1..180i64, 6 => 300..900i64, 6 => 1380..1500i64, 1 => 10_000..90_000i64];
    // Right again, a little off, hours and years ahead, behind within a day and far behind.
    let clock = prop_oneof![
        3 => Just(0i64), 1 => -70..70i64, 1 => 100..2_000_000i64, 1 => -1500..-60i64, 1 => -100_000..-1500i64
    ];
    let clock = proptest::option::weighted(0.2, clock);
    let seldom = || proptest::bool::weighted(0.02);
    let odds = (proptest::bool::weighted(0.9), seldom(), seldom());
    (gap, clock, odds).prop_map(|(gap_minutes, clock_minutes, (is_good, is_held, is_needed))| Step {
        gap_minutes,
        clock_minutes,
        is_good,
        is_held,
        is_needed,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let slots =
        |every: Every| proptest::option::of(0..8usize).prop_map(move |keep| keep.map(|keep| (every, keep)));
    let calendar =
        Vec::from([Every::Hours(1), Every::Day, Every::Week, Every::Month, Every::Year].map(slots));
    let table = (
        proptest::option::of(0..6usize),
        proptest::option::of((0..2000i64).prop_map(SignedDuration::from_hours)),
        calendar,
    );
    let table = table.prop_map(|(keep_last, keep_within, calendar)| Policy {
        keep_last,
        keep_within,
        calendar: calendar.into_iter().flatten().collect(),
        ..Policy::default()
    });
    let tier = (1..1000i64, proptest::option::of(proptest::sample::select(LENGTHS.to_vec())), 0..6usize);
    let tiers = (proptest::collection::vec(tier, 1..4), any::<bool>()).prop_map(|(list, is_open)| {
        let count = list.len();
        let mut until = 0;
        let tiers = list.into_iter().enumerate().map(|(position, (more, every, keep))| {
            until += more;
            let younger_than = SignedDuration::from_hours(until);
            let is_last = position + 1 == count;
            Tier { younger_than: (!is_last || !is_open).then_some(younger_than), every, keep }
        });
        Policy { tiers: tiers.collect(), ..Policy::default() }
    });
    let zone = proptest::sample::select(vec!["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"]);
    (prop_oneof![table, tiers], zone).prop_map(|(policy, zone)| {
        let zone = TimeZone::get(zone).unwrap();
        Policy { zone: Some(zone), ..policy }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// About two years each: after every backup what the policy gives up goes, and what stays is what the book says, for
    /// clocks that jump, dates from the future and from the past, gaps, extras and summer time.
    #[test]
    fn what_stays_over_virtual_years_is_what_the_book_says(
        policy in policy(),
        steps in proptest::collection::vec(step(), 60..320),
    ) {
        let zone = policy.zone.clone().unwrap();
        let mut now: Timestamp = "2024-02-27T21:17:00Z".parse().unwrap();
        let mut off = 0;
        let mut there: Vec<There> = vec![];
        for (number, step) in steps.iter().enumerate() {
            now += SignedDuration::from_mins(step.gap_minutes);
            off = step.clock_minutes.unwrap_or(off);
            there.push(There::new(number, now, now + SignedDuration::from_mins(off), step, &zone));
            // Somebody looks a little later.
            let then = now + SignedDuration::from_secs(90);
            let expected = by_the_book(&policy, &there, then);
            prop_assert_eq!(&by_the_code(&policy, &there, then), &expected, "{:?} at {}", &policy, then);
            // What does not count changes nothing for those that do.
            let sound: Vec<_> =
                there.iter().filter(|one| !one.record.incomplete && !one.is_from_the_future()).cloned().collect();
            let alone = by_the_code(&policy, &sound, then);
            let among = sound.iter().map(|one| one.record.id.to_string()).filter(|id| expected.contains(id));
            prop_assert_eq!(alone, among.collect::<BTreeSet<_>>());
            there.retain(|one| expected.contains(one.record.id.as_str()));
        }
    }
}
