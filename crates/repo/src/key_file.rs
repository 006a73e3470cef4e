//! A key file: the repository's key, sealed under a password.
//!
//! Form: plain JSON `{created,username,hostname,kdf:"scrypt",N,r,p,salt,data}`; `data` is the envelope of the
//! key's JSON under scrypt(password, salt). Source: restic's design document, "Keys, Encryption and MAC".
//! Invariant: parameters are checked against limits before any memory is spent on them.

use jiff::Timestamp;
use model::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::crypto::Key;
use crate::error::{RepoError, Result};

/// 2^15 · r 8 needs 32 MiB: within a small machine's reach, and restic's own default.
const LOG_N: u8 = 15;
const R: u32 = 8;
/// One pass for a password that cannot be guessed anyway; several for what a person made up.
const P_STRONG: u32 = 1;
const P_WEAK: u32 = 5;
/// What a hostile key file may make us spend: 1 GiB, some seconds.
const MEMORY_MAX: u64 = 1 << 30;
const P_MAX: u32 = 64;

/// The JSON of a key file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made; rustic does not say.
    #[serde(default)]
    pub created: Timestamp,
    /// By whom.
    #[serde(default)]
    pub username: String,
    /// Where.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    #[serde(with = "base64_bytes")]
    salt: Vec<u8>,
    #[serde(with = "base64_bytes")]
    data: Vec<u8>,
}

impl KeyFile {
    /// Seal `key` under `password`.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn seal(key: &Key, password: &Secret, username: &str, hostname: &str) -> Result<Self> {
        let mut salt = vec![0; 64];
        getrandom::fill(&mut salt)?;
        let mut file = Self {
            created: Timestamp::now(),
            username: username.to_owned(),
            hostname: hostname.to_owned(),
            kdf: "scrypt".to_owned(),
            n: 1 << LOG_N,
            r: R,
            p: if password.weakness().is_some() { P_WEAK } else { P_STRONG },
            salt,
            data: vec![],
        };
        let mut json = key.to_json();
        file.derive(password, "new key")?.sealer().seal(&json, &mut file.data)?;
        json.zeroize();
        Ok(file)
    }

    /// The repository's key, or `None` where the password is not the one.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] for parameters that no sound key file has.
    pub fn open(&self, password: &Secret, what: &str) -> Result<Option<Key>> {
        let mut json = vec![];
        let key = match self.derive(password, what)?.sealer().open(&self.data, &mut json, &what) {
            Ok(()) => Some(
                Key::from_json(&json).ok_or_else(|| RepoError::damaged(what, "opens, but holds no key"))?,
            ),
            Err(_) => None,
        };
        json.zeroize();
        Ok(key)
    }

    fn derive(&self, password: &Secret, what: &str) -> Result<Key> {
        let wrong = |reason: &str| Err(RepoError::damaged(what, reason));
        if self.kdf != "scrypt" {
            return wrong("its key derivation is not scrypt");
        }
        if !self.n.is_power_of_two()
            || self.p > P_MAX
            || self.n.saturating_mul(u64::from(self.r)) > MEMORY_MAX / 128
        {
            return wrong("its scrypt parameters are out of bounds");
        }
        let log_n = self.n.trailing_zeros() as u8;
        let Ok(params) = scrypt::Params::new(log_n, self.r, self.p) else {
            return wrong("its scrypt parameters are out of bounds");
        };
        let mut bytes = [0; 64];
        scrypt::scrypt(password.expose().as_bytes(), &self.salt, &params, &mut bytes)
            .map_err(|error| RepoError::System(error.to_string()))?;
        let key = Key::from_bytes(&bytes);
        bytes.zeroize();
        Ok(key)
    }
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_opens_and_another_does_not() {
        let key = Key::random().unwrap();
        let password = Secret::generate().unwrap();
        let file = KeyFile::seal(&key, &password, "u", "h").unwrap();
        assert_eq!(file.open(&password, "key").unwrap().unwrap().to_json(), key.to_json());
        assert!(file.open(&Secret::new("other"), "key").unwrap().is_none());
    }

    #[test]
    fn a_password_of_a_person_costs_more_to_guess() {
        let key = Key::random().unwrap();
        let cost = |password| KeyFile::seal(&key, &password, "u", "h").unwrap().p;
        assert!(cost(Secret::new("hunter2")) > cost(Secret::generate().unwrap()));
    }

    #[test]
    fn absurd_parameters_are_refused_before_they_cost_anything() {
        let key = Key::random().unwrap();
        let sound = KeyFile::seal(&key, &Secret::generate().unwrap(), "u", "h").unwrap();
        let absurd: [fn(&mut KeyFile); 5] = [
            |file| file.n = 1 << 40,
            |file| file.n = 12_345,
            |file| file.r = u32::MAX,
            |file| file.p = 1_000_000,
            |file| file.kdf = "md5".into(),
        ];
        for change in absurd {
            let mut file = sound.clone();
            change(&mut file);
            assert!(file.open(&Secret::new("x"), "key").err().unwrap().is_damage());
        }
    }
}
