//! The record of one backup: what `backup list` and `backup get` show.
//!
//! JSON form: lowerCamelCase names, 64-bit numbers as strings, empty fields present (the protobuf JSON mapping).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::name::{BackupId, SourceName, TenantName};

/// What kind of source a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupKind {
    /// One logical database, dumped with pg_dump.
    Dump,
    /// A directory tree.
    Directory,
    /// A whole PostgreSQL cluster.
    Cluster,
    /// Archived WAL.
    Wal,
}

impl BackupKind {
    /// The word used in JSON, columns and tags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Directory => "directory",
            Self::Cluster => "cluster",
            Self::Wal => "wal",
        }
    }
}

/// Which program made the contents. An engine that this build does not know is listed and never restored (C28).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Engine(pub String);

impl Engine {
    /// A PostgreSQL dump or cluster.
    pub const POSTGRES: &'static str = "postgres";
    /// Plain files.
    pub const FILES: &'static str = "files";

    /// Whether this build can restore what that engine made.
    pub fn is_known(&self) -> bool {
        [Self::POSTGRES, Self::FILES].contains(&self.0.as_str())
    }
}

/// The outcome of comparing a backup with its hashes, or of restoring it in a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When it ended.
    pub at: Timestamp,
    /// `passed` or `failed`.
    pub result: String,
}

/// Everything that is known of one backup without reading its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRecord {
    /// Handle.
    pub id: BackupId,
    /// Owner.
    pub tenant: TenantName,
    /// What was backed up.
    pub source: SourceName,
    /// Kind of source.
    pub kind: BackupKind,
    /// The database's name as PostgreSQL has it; empty for other kinds.
    #[serde(default)]
    pub database: String,
    /// When the backup began.
    pub created_at: Timestamp,
    /// Bytes of the contents.
    #[serde(with = "decimal")]
    pub size_bytes: u64,
    /// Bytes that this backup added to the repository.
    #[serde(with = "decimal")]
    pub stored_bytes: u64,
    /// SHA-256 of the dump; empty for trees, whose every file has its own.
    #[serde(default, with = "digest_or_empty")]
    pub sha256: Option<Digest>,
    /// Kind of store: `local`, `s3`, `gcs`, `azure` or `sftp`.
    #[serde(default)]
    pub destination: String,
    /// Address of the repository.
    #[serde(default)]
    pub location: String,
    /// Which program made the contents.
    pub engine: Engine,
    /// Id of the snapshot in the repository, as restic knows it.
    #[serde(default, with = "digest_or_empty")]
    pub snapshot: Option<Digest>,
    /// The newest verification, if any.
    #[serde(default)]
    pub last_verification: Option<Verification>,
    /// Number of tables with data in the dump.
    #[serde(default, with = "decimal")]
    pub relation_count: u64,
    /// First LSN needed; clusters only.
    #[serde(default)]
    pub start_lsn: String,
    /// LSN at which it is consistent; clusters only.
    #[serde(default)]
    pub stop_lsn: String,
    /// Timeline; clusters only.
    #[serde(default)]
    pub timeline: String,
    /// Free text given with `--label`.
    #[serde(default)]
    pub label: String,
    /// Exempt from retention.
    #[serde(default)]
    pub hold: bool,
    /// Something could not be read: retention never counts it as good.
    #[serde(default)]
    pub incomplete: bool,
}

impl BackupRecord {
    /// Whether it counts where others are given up: nothing could not be read, and no verification failed.
    pub fn is_good(&self) -> bool {
        let verified = self.last_verification.as_ref();
        !self.incomplete && verified.is_none_or(|verified| verified.result != "failed")
    }

    /// The moment of a base backup, by its time and its place in the log: one that was consolidated is of the same one as what
    /// it was made of.
    pub fn moment(&self) -> Option<(Timestamp, &str, &str)> {
        (!self.start_lsn.is_empty()).then_some((self.created_at, &*self.timeline, &*self.start_lsn))
    }

    /// Say where the record was found: no stored record says it, for repositories are moved and copied.
    pub fn found_at(&mut self, location: String) {
        self.destination = kind_of_store(&location).to_owned();
        self.location = location;
    }
}

/// What `--dest` calls the kind of store at an address.
fn kind_of_store(location: &str) -> &'static str {
    match location.split_once("://") {
        Some(("s3", _)) => "s3",
        Some(("gs", _)) => "gcs",
        Some(("az", _)) => "azure",
        Some(("sftp", _)) => "sftp",
        _ => "local",
    }
}

/// A `u64` as a decimal string.
pub mod decimal {
    use serde::{Deserialize, Deserializer, Serializer};

    /// `42` → `"42"`.
    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    /// `"42"` → `42`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An optional digest whose absence is the empty string.
mod digest_or_empty {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::digest::Digest;

    pub(super) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => serializer.collect_str(digest),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_every_field_camel_case_and_numbers_as_strings() {
        let record = BackupRecord {
            id: "acme-app-20261120T144005Z".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            source: "app".parse().unwrap(),
            kind: BackupKind::Dump,
            database: "app".into(),
            created_at: "2026-11-20T14:40:05Z".parse().unwrap(),
            size_bytes: 9_007_199_254_740_993,
            stored_bytes: 7,
            sha256: None,
            destination: "local".into(),
            location: "/srv".into(),
            engine: Engine(Engine::POSTGRES.into()),
            snapshot: Some(Digest([1; 32])),
            last_verification: None,
            relation_count: 3,
            start_lsn: String::new(),
            stop_lsn: String::new(),
            timeline: String::new(),
            label: String::new(),
            hold: false,
            incomplete: false,
        };
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["sizeBytes"], "9007199254740993");
        assert_eq!(json["createdAt"], "2026-11-20T14:40:05Z");
        assert_eq!(json["sha256"], "");
        assert_eq!(json["lastVerification"], serde_json::Value::Null);
        assert_eq!(serde_json::from_value::<BackupRecord>(json).unwrap(), record);
    }

    #[test]
    fn an_address_says_the_kind_of_its_store() {
        let kinds = [
            ("/srv/backups", "local"),
            ("s3://acme/pg?endpoint=http://127.0.0.1:9000", "s3"),
            ("gs://acme/pg", "gcs"),
            ("az://account/container/pg", "azure"),
            ("sftp://backup@host:22/srv", "sftp"),
        ];
        for (location, kind) in kinds {
            assert_eq!(kind_of_store(location), kind, "{location}");
        }
    }
}
