//! A password or key that cannot be printed and is wiped from memory when dropped.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Secret text. `Debug` shows a placeholder, there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

/// Letters and digits: what `key generate` draws from, safe in every configuration file (H8).
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Length of a generated password: 64 alphanumerics hold 381 bits.
pub const GENERATED_LEN: usize = 64;

impl Secret {
    /// Take `text` into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; the caller must not log it, print it or put it on a command line.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// 64 random alphanumerics from the operating system's generator.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = String::with_capacity(GENERATED_LEN);
        let mut random = [0u8; 128];
        while text.len() < GENERATED_LEN {
            getrandom::fill(&mut random)?;
            // 248 = 4 × 62: bytes above it would favour the first letters.
            let letters =
                random.iter().filter(|byte| **byte < 248).map(|byte| ALPHABET[usize::from(*byte) % 62]);
            text.extend(letters.take(GENERATED_LEN - text.len()).map(char::from));
        }
        random.zeroize();
        Ok(Self(text))
    }

    /// Why this password is easier to guess than a generated one; `None` for one as good as generated.
    pub fn weakness(&self) -> Option<&'static str> {
        let mut seen: Vec<char> = self.0.chars().collect();
        let length = seen.len();
        seen.sort_unstable();
        seen.dedup();
        match () {
            () if length < GENERATED_LEN => Some("shorter than 64 characters"),
            () if seen.len() < 16 => Some("fewer than 16 different characters"),
            () => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_is_64_alphanumerics_and_never_twice_the_same() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(one.expose().len(), 64);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, other);
        assert_eq!(one.weakness(), None);
    }

    #[test]
    fn sixty_three_characters_are_weak() {
        let mut text = Secret::generate().unwrap().expose().to_owned();
        text.pop();
        assert_eq!(Secret::new(text).weakness(), Some("shorter than 64 characters"));
        assert!(Secret::new("a".repeat(64)).weakness().is_some());
    }

    #[test]
    fn debug_hides_the_text() {
        assert!(!format!("{:?}", Secret::new("canary")).contains("canary"));
    }
}
