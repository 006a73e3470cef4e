//! The repository's configuration: which format it is, and its identity.
//!
//! Form: the envelope of *uncompressed* JSON `{version,id,chunker_polynomial}` under the name `config`.

use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{RepoError, Result};
use crate::polynomial;

/// The format that we write: version 2 has compression.
const VERSION_WRITTEN: u64 = 2;

/// What `config` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// 1 or 2.
    pub version: u64,
    /// Identity: 64 random digits.
    pub id: Digest,
    /// For restic's chunker; hexadecimal.
    pub chunker_polynomial: String,
}

impl Config {
    /// A new repository's.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self> {
        let mut id = [0; 32];
        getrandom::fill(&mut id)?;
        let chunker_polynomial = format!("{:x}", polynomial::random()?);
        Ok(Self { version: VERSION_WRITTEN, id: Digest(id), chunker_polynomial })
    }

    /// Read the decrypted JSON.
    ///
    /// # Errors
    /// [`RepoError::Version`] for another format, [`RepoError::Damaged`] for no configuration at all.
    pub fn parse(json: &[u8], place: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Probe {
            version: u64,
        }
        let broken = |error: serde_json::Error| RepoError::damaged("config", error);
        let probe: Probe = serde_json::from_slice(json).map_err(broken)?;
        if !(1..=VERSION_WRITTEN).contains(&probe.version) {
            return Err(RepoError::Version { found: probe.version, place: place.to_owned() });
        }
        serde_json::from_slice(json).map_err(broken)
    }

    /// Whether blobs and files may be compressed.
    pub fn has_compression(&self) -> bool {
        self.version >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_versions_are_refused_by_number() {
        let json = br#"{"version":3,"something":"new"}"#;
        assert!(matches!(Config::parse(json, "p"), Err(RepoError::Version { found: 3, .. })));
        assert!(Config::parse(b"{}", "p").unwrap_err().is_damage());
    }

    #[test]
    fn a_new_one_is_read_back() {
        let config = Config::random().unwrap();
        assert_eq!(Config::parse(&serde_json::to_vec(&config).unwrap(), "p").unwrap(), config);
        assert!(config.has_compression());
    }
}
