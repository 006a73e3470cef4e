//! Names of tenants and sources, and the ids of backups.
//!
//! Form of an id: `<tenant>-<source>-<YYYYMMDDTHHMMSSZ>`, with `-2`, `-3` … behind it when several begin in one
//! second. Names may contain hyphens, so an id is a handle, not a record: who asks which tenant a backup belongs
//! to reads the record. Invariant: no name can leave a directory or a column: no `/`, `\`, `..`, white space or
//! control character, and it never begins with `-` or `.`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes of a name at most; with a time behind it an id still fits one file name.
const NAME_LEN_MAX: usize = 100;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name {name:?} {reason}")]
pub struct BadName {
    name: String,
    reason: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// An owner of backups.
    TenantName
);
name_type!(
    /// One thing that is backed up, within its tenant.
    SourceName
);
name_type!(
    /// The handle of one backup.
    BackupId
);

fn check(text: &str) -> Result<(), BadName> {
    let reason = match () {
        () if text.is_empty() => "is empty",
        () if text.len() > NAME_LEN_MAX * 2 + 24 => "is too long",
        () if text.contains(['/', '\\']) => "contains a slash",
        () if text.contains("..") => "contains '..'",
        () if text.starts_with(['-', '.']) => "begins with '-' or '.'",
        () if text.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            "contains white space or control characters"
        }
        () => return Ok(()),
    };
    Err(BadName { name: text.chars().take(NAME_LEN_MAX).collect(), reason })
}

impl SourceName {
    /// The source name of a database or directory called `original`: itself where that is a legal name, otherwise
    /// with every refused character replaced and eight digits of a hash behind it, so that two never become one.
    pub fn derived_from(original: &str) -> Self {
        if original.len() <= NAME_LEN_MAX && check(original).is_ok() {
            return Self(original.to_owned());
        }
        let refused = |c: char| c.is_control() || c.is_whitespace() || "/\\.-".contains(c);
        let mut text: String = original.chars().map(|c| if refused(c) { '_' } else { c }).collect();
        while text.len() > NAME_LEN_MAX - 9 {
            text.pop();
        }
        if text.is_empty() {
            text.push('_');
        }
        Self(format!("{text}-{:08x}", fnv1a(original.as_bytes()) as u32))
    }
}

/// FNV-1a, 64 bit: keeps derived names apart; nothing secret depends on it.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

impl BackupId {
    /// The id of the `nth` backup (from 1) of this source that began in the second of `time`.
    pub fn new(tenant: &TenantName, source: &SourceName, time: Timestamp, nth: u32) -> Self {
        let time = time.strftime("%Y%m%dT%H%M%SZ");
        match nth {
            0 | 1 => Self(format!("{tenant}-{source}-{time}")),
            _ => Self(format!("{tenant}-{source}-{time}-{nth}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_escape_or_break_columns_are_refused() {
        for text in ["", "a/b", "a\\b", "..", "a..b", "a b", "a\nb", "-a", ".a", &"x".repeat(300)] {
            assert!(text.parse::<TenantName>().is_err(), "{text:?}");
        }
        for text in ["acme", "a-b", "ünï", "a.b", "A_1"] {
            assert!(text.parse::<TenantName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn an_id_names_tenant_source_and_second() {
        let time: Timestamp = "2026-11-20T14:40:05.9Z".parse().unwrap();
        let id =
            |nth| BackupId::new(&"acme".parse().unwrap(), &"app".parse().unwrap(), time, nth).to_string();
        assert_eq!(id(1), "acme-app-20261120T144005Z");
        assert_eq!(id(2), "acme-app-20261120T144005Z-2");
    }

    proptest::proptest! {
        #[test]
        fn every_database_name_gives_a_legal_source_name(name in "\\PC{0,80}|[\\x00-\\x7f]{0,80}") {
            let source = SourceName::derived_from(&name);
            proptest::prop_assert!(source.as_str().parse::<SourceName>().is_ok(), "{source}");
        }
    }

    #[test]
    fn different_odd_names_stay_different() {
        let names = ["a b", "a/b", "a\nb", "a_b"].map(SourceName::derived_from);
        for (i, one) in names.iter().enumerate() {
            assert!(names[i + 1..].iter().all(|other| other != one), "{names:?}");
        }
    }
}
