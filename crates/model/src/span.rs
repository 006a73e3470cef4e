//! Spans of time as people write them: `90s`, `15min`, `12h`, `30d`, `2w`, `1y`.
//!
//! A day has 24 hours and a year 365 days: a span is an amount, and no calendar is asked.

use jiff::SignedDuration;

/// Seconds of each unit.
const UNITS: [(&str, i64); 7] =
    [("s", 1), ("m", 60), ("min", 60), ("h", 3600), ("d", 86_400), ("w", 7 * 86_400), ("y", 365 * 86_400)];

/// The span that `text` means: a whole number and a unit, with or without a space between them. `None` for anything
/// else, also for what is negative or too long to count.
pub fn parse_span(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<i64>().ok()?.checked_mul(*seconds).map(SignedDuration::from_secs)
}

/// The same span in its largest whole unit, as [`parse_span`] reads it.
pub fn show_span(span: SignedDuration) -> String {
    let seconds = span.as_secs();
    let fits = |(_, length): &&(&str, i64)| seconds % length == 0 && seconds >= *length;
    let largest = UNITS.iter().filter(|(name, _)| *name != "min").rev().find(fits);
    largest.map_or_else(|| format!("{seconds}s"), |(name, length)| format!("{}{name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let cases =
            [("90s", 90), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600), ("0h", 0), ("5 min", 300)];
        for (text, seconds) in cases {
            assert_eq!(parse_span(text), Some(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "12", "12 parsecs", "-1h", "99999999999999999999d", "1h30m"] {
            assert_eq!(parse_span(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for text in ["0s", "90s", "90m", "5h", "26h", "30d", "2w", "1y"] {
            assert_eq!(parse_span(&show_span(parse_span(text).unwrap())), parse_span(text), "{text}");
        }
        assert_eq!(show_span(SignedDuration::from_hours(26)), "26h");
    }
}
