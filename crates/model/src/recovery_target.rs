//! Where the recovery of a cluster ends: the words of a point in time (PostgreSQL manual, 20.5.6).
//!
//! Invariant: a value here is one that PostgreSQL takes. A time has its zone, so that it means one moment everywhere.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::lsn::{Lsn, Timeline};

/// Bytes of a restore point's name at most (`MAXFNAMELEN` of PostgreSQL, without its end).
const NAME_LEN_MAX: usize = 63;

/// The first number that a transaction can have; those before it mean something else.
const FIRST_XID: u64 = 3;

/// Where recovery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// At the end of all WAL that there is.
    Latest,
    /// As soon as the backup is consistent.
    Immediate,
    /// At the last commit up to this moment.
    Time(Timestamp),
    /// At this position.
    Lsn(Lsn),
    /// At the end of this transaction.
    Xid(Xid),
    /// At a restore point, as `pg_create_restore_point` made it.
    Name(RestorePoint),
}

/// The number of a transaction, with or without its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xid(u64);

/// The name of a restore point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint(String);

/// Which history recovery follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TargetTimeline {
    /// The newest one that there is in the archive when recovery begins.
    #[default]
    Latest,
    /// The one that the backup was taken on.
    Current,
    /// This one.
    Number(Timeline),
}

/// What the server does at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TargetAction {
    /// It can be looked at, and waits for a word.
    #[default]
    Pause,
    /// It is opened for writing, on a timeline of its own.
    Promote,
    /// It is shut down.
    Shutdown,
}

/// A text that says none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {reason}")]
pub struct BadTarget {
    text: String,
    reason: &'static str,
}

fn bad(text: &str, reason: &'static str) -> BadTarget {
    BadTarget { text: text.to_owned(), reason }
}

impl Xid {
    /// The number, as it was given.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for Xid {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number =
            text.parse::<u64>().ok().filter(|number| is_plain && u64::from(*number as u32) >= FIRST_XID);
        number.map(Self).ok_or_else(|| bad(text, "is no number of a transaction"))
    }
}

impl RestorePoint {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RestorePoint {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        match () {
            () if text.is_empty() => Err(bad(text, "is no name of a restore point")),
            () if text.len() > NAME_LEN_MAX => {
                Err(bad(text, "is longer than 63 bytes, which no restore point is"))
            }
            () if text.contains(char::is_control) => Err(bad(text, "contains control characters")),
            () => Ok(Self(text.to_owned())),
        }
    }
}

impl FromStr for TargetTimeline {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        match text {
            "latest" => Ok(Self::Latest),
            "current" => Ok(Self::Current),
            _ => match text.parse() {
                Ok(number) if number > 0 && !text.starts_with('+') => Ok(Self::Number(Timeline(number))),
                _ => Err(bad(text, "is no timeline: write latest, current or a number")),
            },
        }
    }
}

impl fmt::Display for TargetTimeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => out.write_str("latest"),
            Self::Current => out.write_str("current"),
            Self::Number(timeline) => timeline.fmt(out),
        }
    }
}

impl TargetAction {
    /// PostgreSQL's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Shutdown => "shutdown",
        }
    }
}

impl FromStr for TargetAction {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let all = [Self::Pause, Self::Promote, Self::Shutdown];
        let found = all.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| bad(text, "is no action: write pause, promote or shutdown"))
    }
}

/// For people, as a part of a sentence.
impl fmt::Display for RecoveryTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => out.write_str("the end of the archived WAL"),
            Self::Immediate => out.write_str("the end of the backup"),
            Self::Time(time) => write!(out, "{time}"),
            Self::Lsn(lsn) => write!(out, "LSN {lsn}"),
            Self::Xid(Xid(number)) => write!(out, "transaction {number}"),
            Self::Name(RestorePoint(name)) => write!(out, "restore point {name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_would_not_take_is_refused() {
        for text in ["", "0", "2", "-3", "+3", "0x10", "4294967296", "18446744073709551616", "x"] {
            assert!(text.parse::<Xid>().is_err(), "{text:?}");
        }
        assert_eq!("0747".parse::<Xid>().map(Xid::number), Ok(747), "decimal, also with a zero in front");
        assert_eq!("4294967299".parse::<Xid>().map(Xid::number), Ok(4_294_967_299), "with its epoch");
        for text in ["", "a\nb", &"x".repeat(64)] {
            assert!(text.parse::<RestorePoint>().is_err(), "{text:?}");
        }
        assert!("it's before \\ 'the' release".parse::<RestorePoint>().is_ok());
        for text in ["", "0", "-1", "+1", "newest", "1.5"] {
            assert!(text.parse::<TargetTimeline>().is_err(), "{text:?}");
        }
        for text in ["latest", "current", "12"] {
            assert_eq!(text.parse::<TargetTimeline>().unwrap().to_string(), text);
        }
        assert_eq!("promote".parse(), Ok(TargetAction::Promote));
        assert!("PROMOTE".parse::<TargetAction>().is_err());
    }
}
