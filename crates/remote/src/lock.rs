//! Locks on objects, as `?object-lock=compliance:30d` asks for them.
//!
//! A lock in COMPLIANCE mode is one that nobody takes away before its day, the account's owner included. GOVERNANCE is
//! not offered: whoever has one more right walks through it.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Unit};
use store::{Key, StoreError};

use crate::address::Address;
use crate::settings::Settings;

/// The one mode.
pub(crate) const MODE: &str = "COMPLIANCE";
/// A lock cannot be taken back: no slip of a finger is to cost more than ten years of storage.
pub const LOCK_DAYS_MAX: u32 = 3650;
/// What stays as long as any backup needs it. Leases, locks, tombstones and marks are to go soon, and what else lies below
/// `x/` are copies.
const LOCKED: [&str; 6] = ["data/", "index/", "snapshots/", "keys/", "wal/", "config"];

/// How long what is written now stays locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term(Duration);

impl Term {
    /// What the address asks for, if it does.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] for another mode, or days that cannot be.
    pub(crate) fn of(address: &Address, settings: &Settings) -> Result<Option<Self>, StoreError> {
        let Some(text) = address.option("object-lock", settings) else { return Ok(None) };
        let refuse = |reason: String| Err(address.refused(reason));
        if address.scheme != "s3" {
            return refuse("object-lock is for s3:// alone".to_owned());
        }
        let (mode, term) = text.split_once(':').unwrap_or((text, ""));
        if mode.eq_ignore_ascii_case("governance") {
            return refuse(
                "a governance lock is none, whoever has the right to bypass it does: write compliance"
                    .to_owned(),
            );
        }
        let days = term.strip_suffix('d').and_then(|days| days.parse().ok());
        match days
            .filter(|days| (1..=LOCK_DAYS_MAX).contains(days) && mode.eq_ignore_ascii_case("compliance"))
        {
            Some(days) => Ok(Some(Self(Duration::from_secs(u64::from(days) * 86_400)))),
            None => refuse(format!(
                "object-lock is compliance:DAYSd, as in compliance:30d, 1 to {LOCK_DAYS_MAX} days; not {text:?}"
            )),
        }
    }

    /// The headers of an object that is written `now`. A clock that is wrong by more than minutes locks nothing for
    /// years: S3 refuses the request.
    pub(crate) fn headers(self, now: SystemTime) -> [(&'static str, String); 2] {
        [
            ("x-amz-object-lock-mode", MODE.to_owned()),
            ("x-amz-object-lock-retain-until-date", day(now + self.0)),
        ]
    }
}

/// Whether the address `url` asks for locks, well or not.
pub fn is_asked(url: &str) -> bool {
    let address = Address::parse(url).and_then(Result::ok);
    address.is_some_and(|address| address.option("object-lock", &Settings::default()).is_some())
}

/// Whether an object is one that locks are for.
pub(crate) fn is_for(key: &Key) -> bool {
    LOCKED.iter().any(|kind| key.as_str().starts_with(kind))
}

/// A moment in whole seconds, the next one where it is between two.
pub(crate) fn day(moment: SystemTime) -> String {
    let moment = Timestamp::try_from(moment).unwrap_or(Timestamp::MAX);
    let whole = moment.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Ceil));
    whole.unwrap_or(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(value: &str) -> Result<Option<Term>, StoreError> {
        let address = Address::parse(&format!("s3://b/p?object-lock={value}")).unwrap().unwrap();
        Term::of(&address, &Settings::default())
    }

    #[test]
    fn only_a_lock_that_holds_is_taken() {
        let days = |days: u64| Ok::<_, ()>(Some(Term(Duration::from_secs(days * 86_400))));
        assert_eq!(term("compliance:30d").map_err(drop), days(30));
        assert_eq!(term("COMPLIANCE:1d").map_err(drop), days(1));
        for wrong in [
            "governance:30d",
            "compliance",
            "compliance:",
            "compliance:30",
            "compliance:0d",
            "compliance:3651d",
            "30d",
        ] {
            assert!(term(wrong).is_err(), "{wrong}");
        }
        let google = Address::parse("gs://b/p?object-lock=compliance:30d").unwrap().unwrap();
        assert!(Term::of(&google, &Settings::default()).is_err());
    }

    #[test]
    fn what_is_to_go_soon_is_not_locked() {
        let is_for = |name: &str| is_for(&name.parse().unwrap());
        for name in ["config", "data/ab/abcd", "index/ab", "snapshots/ab", "keys/ab", "wal/1/2/3"] {
            assert!(is_for(name), "{name}");
        }
        for name in
            ["locks/ab", "x/lease/ab/1", "x/deleted/ab/1", "x/mark/1", "x/probe/1/ranged", "x/record/ab"]
        {
            assert!(!is_for(name), "{name}");
        }
    }

    #[test]
    fn a_day_is_never_earlier_than_asked_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let [mode, day] = Term(Duration::from_secs(86_400)).headers(now);
        assert_eq!((mode.1.as_str(), day.1.as_str()), ("COMPLIANCE", "1970-01-02T00:00:02Z"));
    }
}
