//! Stretches of the calendar, of each of which a policy keeps one backup.
//!
//! A slot is what clocks on the wall and calendars say in a time zone: where an hour comes twice, when clocks are put
//! back, both are one slot; where one is left out there is none.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How long a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// So many hours from midnight on; a divisor of 24. With 12, the halves of a day: 0 to 11 and 12 to 23.
    Hours(u8),
    /// A day.
    Day,
    /// Monday to Sunday (ISO 8601).
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Every {
    /// So many hours, where they divide a day.
    pub fn hours(hours: u8) -> Option<Self> {
        (hours > 0 && hours <= 24 && 24 % hours == 0).then_some(Self::Hours(hours))
    }

    /// How long the shortest of such slots is, clocks that are put forward left aside.
    pub fn length_min(self) -> SignedDuration {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        match self {
            Self::Hours(hours) => SignedDuration::from_hours(hours.into()),
            Self::Day => days(1),
            Self::Week => days(7),
            Self::Month => days(28),
            Self::Year => days(365),
        }
    }

    /// The number of the slot that `time` is in; later slots have higher numbers.
    pub fn slot(self, time: Timestamp, zone: &TimeZone) -> i64 {
        let civil = time.to_zoned(zone.clone()).datetime();
        let (date, week) = (civil.date(), civil.date().iso_week_date());
        let day = || i64::from(date.since(jiff::civil::Date::ZERO).map_or(0, |span| span.get_days()));
        match self {
            Self::Hours(hours) => day() * 24 / i64::from(hours) + i64::from(civil.hour()) / i64::from(hours),
            Self::Day => day(),
            Self::Week => i64::from(week.year()) * 54 + i64::from(week.week()),
            Self::Month => i64::from(date.year()) * 12 + i64::from(date.month()),
            Self::Year => i64::from(date.year()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn slots_are_those_of_clocks_on_the_wall() {
        let vienna = TimeZone::get("Europe/Vienna").unwrap();
        let same = |every: Every, one: &str, other: &str| {
            every.slot(at(one), &vienna) == every.slot(at(other), &vienna)
        };
        // 00:30 on the second of January there.
        assert!(same(Every::Day, "2026-01-01T23:30:00Z", "2026-01-02T10:00:00Z"));
        assert!(!same(Every::Day, "2026-01-01T22:30:00Z", "2026-01-01T23:30:00Z"));
        assert!(same(Every::Hours(12), "2026-01-02T10:59:59Z", "2026-01-01T23:00:00Z"));
        assert!(!same(Every::Hours(12), "2026-01-02T10:59:59Z", "2026-01-02T11:00:00Z"));
        // Clocks are put back at 01:00 UTC: two o'clock comes twice, and the day has 25 hours.
        assert!(same(Every::Hours(1), "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"));
        assert!(same(Every::Day, "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"));
        // Put forward: from 01:59 to 03:00.
        assert!(!same(Every::Hours(1), "2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z"));
        // A week over the new year.
        assert!(same(Every::Week, "2025-12-29T12:00:00Z", "2026-01-04T12:00:00Z"));
        assert!(!same(Every::Week, "2026-01-04T12:00:00Z", "2026-01-05T12:00:00Z"));
        assert!(!same(Every::Month, "2026-01-31T22:59:59Z", "2026-01-31T23:00:00Z"));
        assert!(!same(Every::Year, "2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z"));
    }

    #[test]
    fn later_slots_have_higher_numbers() {
        let zone = TimeZone::get("America/Sao_Paulo").unwrap();
        for every in [Every::Hours(1), Every::Hours(12), Every::Day, Every::Week, Every::Month, Every::Year] {
            let slots: Vec<_> = (0..20_000)
                .map(|step| every.slot(Timestamp::from_second(1_500_000_000 + step * 7_000).unwrap(), &zone))
                .collect();
            assert!(slots.is_sorted(), "{every:?}");
        }
    }

    #[test]
    fn only_what_divides_a_day_makes_slots() {
        assert_eq!([0, 5, 7, 25].map(Every::hours), [None; 4]);
        assert_eq!([1, 8, 12, 24].map(Every::hours), [1, 8, 12, 24].map(|n| Some(Every::Hours(n))));
    }
}
