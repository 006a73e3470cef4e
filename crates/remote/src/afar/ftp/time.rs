//! Times as FTP writes them.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// A time that is told in steps: when it was at the earliest, and how long the step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coarse {
    pub(super) begin: Timestamp,
    pub(super) step: SignedDuration,
}

/// `20261121153000` or `20261121153000.123`, in UTC: RFC 3659.
pub(super) fn exact(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() != 14
        || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        || fraction.len() > 9
    {
        return None;
    }
    let part = |from: usize, to: usize| digits[from..to].parse::<i8>().ok();
    let nanoseconds = match fraction {
        "" => 0,
        _ => format!("{fraction:0<9}").parse().ok()?,
    };
    // A leap second is the second before it.
    let second = part(12, 14)?.min(59);
    let time = DateTime::new(
        digits[..4].parse().ok()?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        second,
        nanoseconds,
    );
    utc(time.ok()?)
}

fn utc(time: DateTime) -> Option<Timestamp> {
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// `Nov 21 15:30`, in the year that makes it the past of `now`; or `Nov 21 2024`.
pub(super) fn of_ls(month: &str, day: &str, last: &str, now: Timestamp) -> Option<Coarse> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as i8 + 1;
    let day: i8 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let Some((hour, minute)) = last.split_once(':') else {
        let year: i16 = last.parse().ok().filter(|year| (1900..=9999).contains(year))?;
        let begin = utc(DateTime::new(year, month, day, 0, 0, 0, 0).ok()?)?;
        return Some(Coarse { begin, step: SignedDuration::from_hours(24) });
    };
    let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
    let this_year = now.to_zoned(TimeZone::UTC).year();
    // Zones are up to 14 hours apart, and clocks may be wrong as well.
    let latest = now + SignedDuration::from_hours(24);
    let begin = (0..8).find_map(|ago| {
        let time = utc(DateTime::new(this_year + 1 - ago, month, day, hour, minute, 0, 0).ok()?)?;
        (time <= latest).then_some(time)
    })?;
    Some(Coarse { begin, step: SignedDuration::from_mins(1) })
}

/// `2026-11-21` and `15:30`.
pub(super) fn of_long_iso(date: &str, time: &str) -> Option<Coarse> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let (hour, minute) = time.split_once(':')?;
    let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
    let begin = utc(DateTime::new(date.year(), date.month(), date.day(), hour, minute, 0, 0).ok()?)?;
    Some(Coarse { begin, step: SignedDuration::from_mins(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn exact_times_are_utc_with_or_without_a_fraction() {
        assert_eq!(exact(b"20261121153005"), Some(at("2026-11-21T15:30:05Z")));
        assert_eq!(exact(b"20261121153005.12"), Some(at("2026-11-21T15:30:05.12Z")));
        assert_eq!(exact(b"20161231235960"), Some(at("2016-12-31T23:59:59Z")));
        for wrong in [
            &b""[..],
            b"2026112115300",
            b"20261321153005",
            b"191261121153005",
            b"2026112115300x",
            b"2026.1121",
        ] {
            assert_eq!(exact(wrong), None);
        }
    }

    #[test]
    fn a_time_without_a_year_is_in_the_past() {
        let now = at("2026-03-01T12:00:00Z");
        let told = |month, day, last| of_ls(month, day, last, now).unwrap();
        assert_eq!(told("Feb", "28", "23:59").begin, at("2026-02-28T23:59:00Z"));
        assert_eq!(told("Mar", "1", "20:00").begin, at("2026-03-01T20:00:00Z"), "another zone");
        assert_eq!(told("Nov", "21", "15:30").begin, at("2025-11-21T15:30:00Z"));
        assert_eq!(told("Feb", "29", "00:00").begin, at("2024-02-29T00:00:00Z"));
        assert_eq!(
            told("nov", "21", "2024"),
            Coarse { begin: at("2024-11-21T00:00:00Z"), step: SignedDuration::from_hours(24) }
        );
        let new_year = at("2026-12-31T23:30:00Z");
        assert_eq!(of_ls("Jan", "1", "00:10", new_year).unwrap().begin, at("2027-01-01T00:10:00Z"));
        for (month, day, last) in
            [("Foo", "1", "00:00"), ("Jan", "32", "00:00"), ("Jan", "1", "x"), ("Jan", "1", "25:00")]
        {
            assert_eq!(of_ls(month, day, last, now), None, "{month} {day} {last}");
        }
        assert_eq!(of_long_iso("2026-11-21", "15:30").unwrap().begin, at("2026-11-21T15:30:00Z"));
    }
}
