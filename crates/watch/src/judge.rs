//! What is wrong with what is there.

use std::fmt;

use config::schedule::Cron;
use jiff::{SignedDuration, Timestamp};
use model::size::ByteSize;
use model::span::show_span;
use serde::{Deserialize, Serialize};

/// Good backups whose sizes the newest one is compared with.
const COMPARED_WITH: usize = 7;
/// How far ahead of ours the clock of whoever made a backup may be.
pub(crate) const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);

/// What should be there.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Of what, such as `acme/app`.
    pub name: String,
    /// How old the newest good backup may be.
    pub max_age: Option<SignedDuration>,
    /// When it is made; two times without a good backup are too many, where nobody says how old it may be.
    pub schedule: Option<(Cron, SignedDuration)>,
    /// By how many per cent it may be smaller than those before it.
    pub shrunk_percent: u8,
}

/// A backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// When it was made.
    pub time: Timestamp,
    /// Its bytes.
    pub size: u64,
    /// Whether it is whole and no verification of it failed.
    pub is_good: bool,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// There is none.
    Missing,
    /// The newest good one is too old.
    Late,
    /// The newest one is not good.
    Failed,
    /// The newest one is much smaller than those before it.
    Shrunk,
    /// Of the log between backups something is missing.
    Gap,
    /// It bears a time that has not come yet.
    Future,
    /// Nobody can look.
    Unreadable,
    /// What was deleted waits for prune for too long.
    Prune,
    /// No backup was verified for too long.
    Verify,
    /// It is another repository than before, or other keys open it.
    Keys,
    /// Somebody who should hear of alarms could not be told.
    Untold,
}

/// Something that somebody must hear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Of what.
    pub name: String,
    /// What kind.
    pub fault: Fault,
    /// In words.
    pub words: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.name, self.words)
    }
}

/// What is wrong with `backups`, in any order, at `now`.
pub fn judge(expected: &Expected, backups: &[Backup], now: Timestamp) -> Vec<Alarm> {
    let alarm = |fault, words: String| Alarm { name: expected.name.clone(), fault, words };
    let (mut known, future): (Vec<_>, Vec<_>) =
        backups.iter().copied().partition(|backup| backup.time.duration_since(now) <= AHEAD_MAX);
    known.sort_by_key(|backup| std::cmp::Reverse(backup.time));
    let mut alarms = vec![];
    if let Some(first) = future.first() {
        // It must not pass for the newest one for years.
        alarms.push(alarm(
            Fault::Future,
            format!("a backup bears the time {:.0}, which has not come yet", first.time),
        ));
    }
    let good: Vec<_> = known.iter().copied().filter(|backup| backup.is_good).collect();
    let Some(newest) = good.first() else {
        alarms.push(alarm(Fault::Missing, "there is no good backup".to_owned()));
        return alarms;
    };
    let age = now.duration_since(newest.time);
    if let Some(words) = too_old(expected, newest.time, age, now) {
        alarms.push(alarm(Fault::Late, words));
    }
    if known.first().is_some_and(|backup| !backup.is_good) {
        let words = format!("the newest backup is not good; the last good one is of {:.0}", newest.time);
        alarms.push(alarm(Fault::Failed, words));
    }
    alarms.extend(shrunk(expected.shrunk_percent, &good).map(|words| alarm(Fault::Shrunk, words)));
    alarms
}

fn too_old(expected: &Expected, newest: Timestamp, age: SignedDuration, now: Timestamp) -> Option<String> {
    let words = |why: String| format!("the newest good backup is of {newest:.0}, {why}");
    match (&expected.max_age, &expected.schedule) {
        (Some(max), _) => (age > *max).then(|| words(format!("older than {}", show_span(*max)))),
        (None, Some((cron, delay))) => {
            // It may be under way; of the time before there must be one.
            let second = cron.next_after(cron.next_after(newest)?)?.checked_add(*delay).ok()?;
            (now > second).then(|| words("and two times of its schedule have passed since".to_owned()))
        }
        (None, None) => None,
    }
}

/// Compared with the median of those before it.
fn shrunk(percent: u8, good: &[Backup]) -> Option<String> {
    let (newest, before) = good.split_first()?;
    let mut sizes: Vec<_> = before.iter().take(COMPARED_WITH).map(|backup| backup.size).collect();
    sizes.sort_unstable();
    let usual = *sizes.get(sizes.len() / 2)?;
    let least = u128::from(usual) * u128::from(100 - percent.min(100)) / 100;
    let is_shrunk = u128::from(newest.size) < least;
    is_shrunk.then(|| {
        format!("the newest backup has {}, those before it had {}", ByteSize(newest.size), ByteSize(usual))
    })
}

#[cfg(test)]
mod tests {
    use config::schedule::Schedule;
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    fn backup(time: &str, size: u64, is_good: bool) -> Backup {
        Backup { time: at(time), size, is_good }
    }

    fn faults(expected: &Expected, backups: &[Backup], now: &str) -> Vec<Fault> {
        judge(expected, backups, at(now)).into_iter().map(|alarm| alarm.fault).collect()
    }

    fn expected(max_age: Option<SignedDuration>, schedule: &str) -> Expected {
        let cron = Schedule::parse(schedule, &TimeZone::UTC).unwrap().cron().cloned();
        let schedule = cron.map(|cron| (cron, SignedDuration::ZERO));
        Expected { name: "acme/app".to_owned(), max_age, schedule, shrunk_percent: 50 }
    }

    #[test]
    fn u3_missing_late_failed_shrunk_and_from_the_future_are_each_said() {
        let day = expected(Some(SignedDuration::from_hours(26)), "@daily");
        let good = [backup("20T00:10:00", 100, true), backup("19T00:10:00", 100, true)];
        let table: [(&[Backup], &str, &[Fault]); 7] = [
            (&good, "21T02:00:00", &[]),
            (&[], "21T02:00:00", &[Fault::Missing]),
            (&[backup("20T00:10:00", 100, false)], "20T02:00:00", &[Fault::Missing]),
            (&good, "21T02:11:00", &[Fault::Late]),
            (&[backup("20T01:00:00", 100, false), good[0]], "20T02:00:00", &[Fault::Failed]),
            (&[backup("20T01:00:00", 49, true), good[0], good[1]], "20T02:00:00", &[Fault::Shrunk]),
            // A back-up of the year 2030 does not hide that today's is missing.
            (
                &[
                    Backup { time: "2030-01-01T00:00:00Z".parse().unwrap(), size: 100, is_good: true },
                    good[0],
                ],
                "22T00:00:00",
                &[Fault::Future, Fault::Late],
            ),
        ];
        for (backups, now, wanted) in table {
            assert_eq!(faults(&day, backups, now), wanted, "{backups:?} at {now}");
        }
    }

    #[test]
    fn without_a_limit_two_times_of_the_schedule_are_too_many() {
        let hourly = expected(None, "@hourly");
        let made = [backup("20T00:05:00", 100, true)];
        assert_eq!(faults(&hourly, &made, "20T01:59:00"), []);
        assert_eq!(faults(&hourly, &made, "20T02:01:00"), [Fault::Late]);
        // What runs by hand is expected to be there, and no more.
        assert_eq!(faults(&expected(None, "manual"), &made, "30T00:00:00"), []);
    }

    #[test]
    fn a_single_small_backup_long_ago_does_not_hide_that_it_shrank() {
        let sizes = [40, 100, 3, 100, 100];
        let backups: Vec<_> = (0..)
            .zip(sizes)
            .map(|(hour, size)| backup(&format!("20T{:02}:00:00", 10 - hour), size, true))
            .collect();
        assert_eq!(faults(&expected(None, "manual"), &backups, "20T11:00:00"), [Fault::Shrunk]);
        assert_eq!(
            faults(&Expected { shrunk_percent: 100, ..expected(None, "manual") }, &backups, "20T11:00:00"),
            []
        );
    }
}
