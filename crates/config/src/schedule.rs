//! When a source is backed up: cron's five fields in a time zone, or when it changes, or when somebody says so.
//!
//! Fields and names are those of crontab(5); so are the days (where day of month and day of week are both said, either
//! of them is enough). What happens when clocks are put forward or back:
//! - Where the hours are said (`30 2 * * *`): a time that clocks jump over comes as much later as they jump, and one that
//!   comes twice counts the first time (RFC 5545, section 3.3.5). So a daily backup is made every day, and once.
//! - Where the field of hours begins with `*` (`*/15 * * * *`, `0 */2 * * *`): whatever clocks show counts, also when
//!   they show it twice; what they never show does not. So what runs every hour does so in the long night too.

use std::fmt;

use cronexpr::Crontab;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Names for usual times.
const NAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
const FIELDS: usize = 5;
/// Times whose distances are looked at: more than two years of a daily schedule, so that clocks are changed in between.
const GAPS_OF: usize = 800;

/// When to run.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At these times.
    Cron(Cron),
    /// When the source changes, and once a day.
    OnChange(Cron),
    /// When somebody says so.
    Manual,
}

/// Times of a calendar.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    table: Crontab,
    zone: TimeZone,
    follows_clocks: bool,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no schedule: {reason}")]
pub struct BadSchedule {
    text: String,
    reason: String,
}

impl Schedule {
    /// What `text` means in `zone`: five fields, a name such as `@daily`, `on-change` or `manual`.
    ///
    /// # Errors
    /// [`BadSchedule`], also for times that never come.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, BadSchedule> {
        match text.trim() {
            "manual" => Ok(Self::Manual),
            "on-change" => Ok(Self::OnChange(Cron::parse("@daily", zone)?)),
            text => Ok(Self::Cron(Cron::parse(text, zone)?)),
        }
    }

    /// The times, where there are any.
    pub fn cron(&self) -> Option<&Cron> {
        match self {
            Self::Cron(cron) | Self::OnChange(cron) => Some(cron),
            Self::Manual => None,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => out.write_str(&cron.text),
            Self::OnChange(_) => out.write_str("on-change"),
            Self::Manual => out.write_str("manual"),
        }
    }
}

impl Cron {
    fn parse(text: &str, zone: &TimeZone) -> Result<Self, BadSchedule> {
        let bad = |reason: &str| BadSchedule { text: text.to_owned(), reason: reason.to_owned() };
        let fields = NAMES.iter().find(|(name, _)| *name == text).map_or(text, |(_, fields)| fields);
        if fields.starts_with('@') {
            let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            return Err(bad(&format!("known names are {}", names.join(", "))));
        }
        // A sixth field would be taken for a time zone.
        let given: Vec<_> = fields.split_whitespace().collect();
        if given.len() != FIELDS {
            return Err(bad("it needs five fields: minute, hour, day of month, month, day of week"));
        }
        let follows_clocks = given[1].starts_with('*');
        // Only where clocks are followed does the table know the zone; see `next_after`.
        let known = if follows_clocks {
            zone.iana_name().ok_or_else(|| bad("the time zone has no name"))?
        } else {
            "UTC"
        };
        let table =
            cronexpr::parse_crontab(&format!("{fields} {known}")).map_err(|error| bad(&reason(&error)))?;
        let cron = Self { text: text.to_owned(), table, zone: zone.clone(), follows_clocks };
        match cron.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(cron),
            None => Err(bad("such a day never comes")),
        }
    }

    /// The shortest and the longest time between two of its next times.
    pub fn gaps(&self) -> (SignedDuration, SignedDuration) {
        let mut times = vec![];
        let mut time = Timestamp::UNIX_EPOCH;
        while times.len() < GAPS_OF
            && let Some(next) = self.next_after(time)
        {
            times.push(next);
            time = next;
        }
        let gaps = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        (gaps.clone().min().unwrap_or(SignedDuration::MAX), gaps.max().unwrap_or(SignedDuration::MAX))
    }

    /// What it says, and whose clocks it follows: the same for those that are the same.
    pub fn name(&self) -> String {
        format!("{} {}", self.text, self.zone.iana_name().unwrap_or_default())
    }

    /// The first time after `time`; none where there is none within four years.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = |time| Some(self.table.find_next(time).ok()?.timestamp());
        if self.follows_clocks {
            return next(time);
        }
        // What clocks show is handed to the table as if it were UTC; the zone says when they show it.
        let mut shown = self.zone.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp();
        loop {
            shown = next(shown)?;
            let moment = self.zone.to_timestamp(TimeZone::UTC.to_datetime(shown)).ok()?;
            // The second time that clocks show it, the first one has been.
            if moment > time {
                return Some(moment);
            }
        }
    }
}

/// The last line of the library's picture of what is wrong.
fn reason(error: &cronexpr::Error) -> String {
    let words = error.to_string();
    words.lines().last().unwrap_or("it cannot be read").trim_start_matches(['^', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let zone = TimeZone::get(zone).unwrap();
        let schedule = Schedule::parse(text, &zone).unwrap();
        let mut time: Timestamp = after.parse().unwrap();
        let mut next = || {
            time = schedule.cron().unwrap().next_after(time).unwrap();
            time.to_zoned(zone.clone()).strftime("%d %H:%M%:z").to_string()
        };
        (0..count).map(|_| next()).collect()
    }

    /// Clocks go from 02:00 to 03:00 on the 29th of March, and from 03:00 back to 02:00 on the 25th of October.
    #[test]
    fn what_is_daily_comes_every_day_and_once_when_clocks_are_changed() {
        let spring = times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
        assert_eq!(spring, ["28 02:30+01:00", "29 03:30+02:00", "30 02:30+02:00"]);
        let autumn = times("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", 3);
        assert_eq!(autumn, ["24 02:30+02:00", "25 02:30+02:00", "26 02:30+01:00"]);
        // Also for who asks in the hour that comes a second time.
        let second = times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1);
        assert_eq!(second, ["26 02:30+01:00"]);
        // Midnight itself is left out where clocks are changed at midnight.
        let midnight = times("@daily", "America/Santiago", "2026-09-05T12:00:00Z", 2);
        assert_eq!(midnight, ["06 01:00-03:00", "07 00:00-03:00"]);
    }

    #[test]
    fn what_is_hourly_follows_the_clocks() {
        let autumn = times("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:50:00Z", 6);
        let expected = [
            "25 02:00+02:00",
            "25 02:30+02:00",
            "25 02:00+01:00",
            "25 02:30+01:00",
            "25 03:00+01:00",
            "25 03:30+01:00",
        ];
        assert_eq!(autumn, expected);
        let spring = times("@hourly", "Europe/Berlin", "2026-03-28T23:30:00Z", 3);
        assert_eq!(spring, ["29 01:00+01:00", "29 03:00+02:00", "29 04:00+02:00"]);
    }

    #[test]
    fn fields_and_names_mean_what_crontab_says() {
        assert_eq!(times("@weekly", "UTC", "2026-11-21T00:00:00Z", 1), ["22 00:00+00:00"]);
        assert_eq!(times("0 4 * * 0", "UTC", "2026-11-21T00:00:00Z", 1), ["22 04:00+00:00"]);
        // Either day is enough.
        assert_eq!(
            times("0 0 25 * 1", "UTC", "2026-11-21T00:00:00Z", 3),
            ["23 00:00+00:00", "25 00:00+00:00", "30 00:00+00:00"]
        );
        assert_eq!(Schedule::parse("on-change", &TimeZone::UTC).unwrap().to_string(), "on-change");
        assert!(Schedule::parse("manual", &TimeZone::UTC).unwrap().cron().is_none());
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        let cases = [
            ("@dayly", "@daily"),
            ("0 0 31 2 *", "never comes"),
            ("0 0 * *", "five fields"),
            ("0 0 * * * UTC", "five fields"),
            ("61 0 * * *", ""),
            ("", "five fields"),
        ];
        for (text, reason) in cases {
            let words = Schedule::parse(text, &TimeZone::UTC).unwrap_err().to_string();
            assert!(words.contains(reason) && words.contains(text), "{words}");
        }
    }
}
