//! The name of an object: parts joined by `/`, each a plain name, so that no key can leave its store.

use std::fmt;
use std::str::FromStr;

/// A checked object name, like `data/ab/ab12…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// Text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object name: {0:?}")]
pub struct BadKey(String);

/// Bytes of a key at most: S3 allows 1,024, and a prefix must still fit in front.
const KEY_LEN_MAX: usize = 700;

impl Key {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let is_plain =
            |part: &str| model::entry::is_plain_name(part.as_bytes()) && !part.contains(char::is_control);
        if text.len() <= KEY_LEN_MAX && text.split('/').all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadKey(text.chars().take(KEY_LEN_MAX).collect()))
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_store() {
        for text in ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\nb", &"x".repeat(701)] {
            assert!(text.parse::<Key>().is_err(), "{text:?}");
        }
        assert_eq!("data/ab/ab12".parse::<Key>().unwrap().name(), "ab12");
    }
}
