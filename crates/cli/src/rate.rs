//! Amounts on the command line: bytes, and moments. Rates as users of restic and rclone write them: a bare number means KiB.

use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::size::ByteSize;
use repo::budget::Budget;
use store::limit::Gate;

/// What `--limit-upload` and `--limit-download` take; `None` for no limit.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let text = text.trim().to_lowercase();
    if text == "off" {
        return Ok(Rate(None));
    }
    let bytes = amount(text.strip_suffix("/s").unwrap_or(&text))?;
    if !(0.0..1e15).contains(&bytes) {
        return Err("is no possible speed".into());
    }
    Ok(Rate(NonZeroU64::new(bytes as u64)))
}

/// What `--max-requests` takes: one door for the whole process, whoever opens stores in it.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn gate(text: &str) -> Result<Gate, String> {
    text.trim().parse().map(Gate::new).map_err(|error: std::num::ParseIntError| error.to_string())
}

/// What `--memory` takes.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn memory(text: &str) -> Result<Budget, String> {
    let text = text.trim().to_lowercase();
    if text == "low" {
        return Ok(Budget::LOW);
    }
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        return Err("write a unit, as in 256M".into());
    }
    Budget::of(amount(&text)? as u64).ok_or_else(|| "less than 32M does not work".into())
}

/// What a limit of stored bytes takes: an amount with a unit.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn stored(text: &str) -> Result<ByteSize, String> {
    let text = text.trim().to_lowercase();
    match amount(&text)? {
        bytes if (1.0..1e18).contains(&bytes) && !text.ends_with(|c: char| c.is_ascii_digit()) => {
            Ok(ByteSize(bytes as u64))
        }
        _ => Err("write an amount with a unit, as in 500G".into()),
    }
}

/// What `--at` takes: a time in RFC 3339, never without its zone.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    text.trim()
        .parse()
        .map_err(|_| "write a time with its zone, as in 2026-11-21T03:00:00Z or …T04:00:00+01:00".into())
}

/// What `--timeout` takes: a span like 90s or 5m.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span = model::span::parse_span(text).and_then(|span| Duration::try_from(span).ok());
    span.ok_or_else(|| "write a span of time, as in 90s, 5min or 2h".to_owned())
}

/// What `--time-zone` takes.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "no such time zone; write it like Europe/Vienna".to_owned())
}

fn amount(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[number.len()..] {
        "b" => 0,
        "" | "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        unit => return Err(format!("{unit:?} is no unit; write B, K, M, G or T, in powers of 1024")),
    };
    let number: f64 = number.trim().parse().map_err(|_| "write a number, as in 500K or 10M")?;
    Ok(number * (1u64 << shift) as f64)
}

/// A speed, or none to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<NonZeroU64>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_kib_as_in_restic_and_rclone() {
        let table = [
            ("500", 500 << 10),
            ("1.5M", 3 << 19),
            ("10m", 10 << 20),
            ("2GiB/s", 2 << 30),
            ("64 KiB", 64 << 10),
            ("100b", 100),
        ];
        for (text, bytes) in table {
            assert_eq!(rate(text), Ok(Rate(NonZeroU64::new(bytes))), "{text}");
        }
        assert_eq!((rate("0"), rate("off")), (Ok(Rate(None)), Ok(Rate(None))));
        for text in ["", "x", "-1", "10 furlongs", "NaN", "inf", "1e300"] {
            assert!(rate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_time_without_zone_is_no_moment() {
        let right = ["2026-11-21T03:00:00Z", "2026-11-21 04:00:00+01:00", "2026-11-21t03:00:00.000z"];
        for text in right {
            assert_eq!(moment(text), Ok("2026-11-21T03:00:00Z".parse().unwrap()), "{text}");
        }
        for text in ["", "2026-11-21", "2026-11-21T03:00:00", "yesterday", "3h"] {
            assert!(moment(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn memory_is_an_amount_with_a_unit() {
        assert_eq!(memory("256M"), Ok(Budget::of(256 << 20).unwrap()));
        assert_eq!((memory("1g"), memory("low")), (Ok(Budget::of(1 << 30).unwrap()), Ok(Budget::LOW)));
        for text in ["", "256", "31M", "-1G", "much", "NaNG"] {
            assert!(memory(text).is_err(), "{text:?}");
        }
    }
}
