//! The repository's configuration: which format it is, and its identity.
//!
//! Form: the envelope of *uncompressed* JSON `{version,id,chunker_polynomial}` under the name `config`. That of the hot
//! part of a repository on two stores is the cold one's with `is_hot`, as rustic writes it, and the cold one's address.

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
    /// This is only a copy of what is read every day.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_hot: bool,
    /// Of a hot part: where the cold one was when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<String>,
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
        Ok(Self { version: VERSION_WRITTEN, id: Digest(id), chunker_polynomial, is_hot: false, cold: None })
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

    /// The JSON of the hot part's configuration, from the JSON of the cold one's: what others wrote there stays.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] for JSON that is no object.
    pub fn of_hot(cold_json: &[u8], cold: &str) -> Result<Vec<u8>> {
        let broken = |error: serde_json::Error| RepoError::damaged("config", error);
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(cold_json).map_err(broken)?;
        fields.insert("is_hot".to_owned(), true.into());
        fields.insert("cold".to_owned(), cold.into());
        serde_json::to_vec(&fields).map_err(broken)
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

    #[test]
    fn the_hot_parts_is_the_cold_ones_and_says_so() {
        let config = Config::random().unwrap();
        let json = serde_json::to_vec(&config).unwrap();
        assert!(!String::from_utf8(json.clone()).unwrap().contains("hot"));
        let with_more = [&json[..json.len() - 1], br#","compression":7}"#].concat();
        let hot = Config::of_hot(&with_more, "s3://cold").unwrap();
        assert!(String::from_utf8(hot.clone()).unwrap().contains(r#""compression":7"#));
        let want = Config { is_hot: true, cold: Some("s3://cold".into()), ..config };
        assert_eq!(Config::parse(&hot, "p").unwrap(), want);
    }
}
