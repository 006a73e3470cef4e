//! The truth about a backup of a cluster, kept in the same snapshot, and the names of what lies in its tree.
//!
//! Form: `manifest.json` in the root of the tree beside `chain/`; in there one directory for each link, `00` for the full
//! backup and one more for each increment, the last one being this backup. Earlier links are the subtrees of earlier
//! snapshots, so that a chain is whole wherever one of its links is.

use jiff::Timestamp;
use model::backup::{BackupRecord, decimal};
use model::lsn::{Lsn, SystemId, Timeline};
use model::name::BackupId;
use model::wal_name::SegmentSize;
use pg::backup_mode::Tablespace;
use pg::version::Version;
use serde::{Deserialize, Serialize};

/// The directory of the links.
pub const CHAIN: &str = "chain";
/// The tag of a snapshot that was made out of a chain: it names the backup that the chain ended with.
pub const CONSOLIDATED: &str = "consolidated";
/// The file without which nothing starts, relative to the data directory.
pub const PG_CONTROL: &str = "global/pg_control";

/// What `manifest.json` of a cluster holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterManifest {
    /// Of this form: 1.
    pub manifest_version: u32,
    /// The record, as it was at commit.
    pub record: BackupRecord,
    /// Version of the server.
    pub server_version: Version,
    /// The cluster's number.
    pub system_id: SystemId,
    /// The timeline that it was on.
    pub timeline: Timeline,
    /// Recovery begins here.
    pub start_lsn: Lsn,
    /// From here on it is consistent.
    pub stop_lsn: Lsn,
    /// When that was: what was committed later can be recovered to; unknown of the first backups of this form.
    #[serde(default)]
    pub stopped_at: Option<Timestamp>,
    /// Bytes of a segment of WAL.
    #[serde(with = "decimal")]
    pub segment_size: u64,
    /// Whether pages have checksums.
    pub has_checksums: bool,
    /// Whether a standby was read.
    pub is_standby: bool,
    /// Where the files were; empty where the server did not tell.
    pub data_directory: String,
    /// Tablespaces, and where they were.
    pub tablespaces: Vec<Tablespace>,
    /// The backups whose links come before this one, the full one first; empty for a full one.
    pub earlier: Vec<EarlierLink>,
    /// Of a full one that was made out of a chain: the backups whose links it was made of, the full one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_of: Vec<BackupId>,
    /// What the data directory was marked with when it had been read: an increment against this backup needs a directory
    /// that has the mark still, and so this history behind it.
    #[serde(default)]
    pub marker: Option<String>,
    /// What is wrong with it, in words: pages that do not fit their checksums.
    pub problems: Vec<String>,
}

/// A link that came before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierLink {
    /// The backup of which it was the newest link.
    pub id: BackupId,
    /// When that was.
    pub created_at: Timestamp,
    /// Where its recovery begins.
    pub start_lsn: Lsn,
}

/// The form that this build writes.
pub const MANIFEST_VERSION: u32 = 1;

impl ClusterManifest {
    /// Bytes of a segment of WAL.
    pub fn segment_size(&self) -> SegmentSize {
        SegmentSize::new(self.segment_size).unwrap_or(SegmentSize::DEFAULT)
    }

    /// The name of this backup's own link.
    pub fn link_name(&self) -> String {
        link_name(self.earlier.len())
    }
}

/// The name of a link: two digits, so that they sort.
pub fn link_name(position: usize) -> String {
    format!("{position:02}")
}
