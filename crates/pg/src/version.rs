//! A PostgreSQL version as one number, the way servers report it in `server_version_num`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 150014 is 15.14, 90624 is 9.6.24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u32);

impl Version {
    /// Version `major`.`minor`, for 10 and later.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self(major * 10_000 + minor)
    }

    /// The number that names incompatible releases: 15 for 15.14, 906 for 9.6.24. Ordered like the releases are,
    /// except that 9.x must be compared with [`Version::same_major`].
    pub const fn major(self) -> u32 {
        if self.0 >= 100_000 { self.0 / 10_000 } else { self.0 / 100 }
    }

    /// Whether both belong to one major release.
    pub const fn same_major(self, other: Self) -> bool {
        self.major() == other.major()
    }

    /// The first release of the same major version: what release rules are about.
    pub const fn release(self) -> Self {
        if self.0 >= 100_000 { Self(self.0 / 10_000 * 10_000) } else { Self(self.0 / 100 * 100) }
    }

    /// Find the version in what `--version` prints, or in a server's own words: the first number with what follows
    /// it, as in `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `18beta1` or `9.6.24`.
    pub fn find(text: &str) -> Option<Self> {
        let word = text.split([' ', '(', ')']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let mut numbers = word.split('.').map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u32>().ok().filter(|number| *number < 10_000)
        });
        let first = numbers.next()??;
        let second = numbers.next().flatten().unwrap_or(0);
        if first >= 10 {
            return Some(Self::new(first, second));
        }
        let third = numbers.next().flatten().unwrap_or(0);
        Some(Self(first * 10_000 + second * 100 + third))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 100_000 {
            write!(out, "{}.{}", self.0 / 10_000, self.0 % 10_000)
        } else {
            write!(out, "{}.{}.{}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_the_words_of_programs() {
        let cases = [
            ("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some(Version::new(15, 14))),
            ("pg_dump (PostgreSQL) 18beta1", Some(Version::new(18, 0))),
            ("psql (PostgreSQL) 9.6.24", Some(Version(90_624))),
            ("17.6", Some(Version::new(17, 6))),
            ("no version here", None),
            ("99999999999", None),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text), version, "{text}");
        }
        assert_eq!(Version::new(15, 14).to_string(), "15.14");
        assert_eq!(Version(90_624).to_string(), "9.6.24");
        assert_eq!(Version(90_624).release(), Version(90_600));
    }
}
