//! Amounts of bytes on the command line. Rates as users of restic and rclone write them: a bare number means KiB.

use std::num::NonZeroU64;

use repo::budget::Budget;

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

fn amount(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[number.len()..] {
        "b" => 0,
        "" | "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        unit => return Err(format!("{unit:?} is no unit; write B, K, M or G, in powers of 1024")),
    };
    let number: f64 = number.trim().parse().map_err(|_| "write a number, as in 500K or 10M")?;
    Ok(number * f64::from(1u32 << shift))
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
    fn memory_is_an_amount_with_a_unit() {
        assert_eq!(memory("256M"), Ok(Budget::of(256 << 20).unwrap()));
        assert_eq!((memory("1g"), memory("low")), (Ok(Budget::of(1 << 30).unwrap()), Ok(Budget::LOW)));
        for text in ["", "256", "31M", "-1G", "much", "NaNG"] {
            assert!(memory(text).is_err(), "{text:?}");
        }
    }
}
