//! A snapshot: the immutable record that gives a tree a time, a place and tags.
//!
//! Form: restic's snapshot JSON under `snapshots/<SHA-256 of the stored bytes>`. What mainstay must find again
//! stands in the tags (they survive `restic tag` and `restic rewrite`), the whole truth in a file of the tree.

use jiff::Timestamp;
use model::digest::Digest;
use serde::{Deserialize, Serialize};

/// Tag of a snapshot that was mended.
pub const REPAIRED: &str = "repaired";

/// The JSON of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// When the backup began.
    pub time: Timestamp,
    /// The snapshot it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// Root of the tree.
    pub tree: Digest,
    /// What was backed up.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where.
    #[serde(default)]
    pub hostname: String,
    /// By whom.
    #[serde(default)]
    pub username: String,
    /// By whom.
    #[serde(default)]
    pub uid: u32,
    /// By whom.
    #[serde(default)]
    pub gid: u32,
    /// Patterns that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The snapshot of which this is a rewritten form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Digest>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// Figures of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// Figures of a backup, named as restic names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When it began.
    pub backup_start: Timestamp,
    /// When it ended.
    pub backup_end: Timestamp,
    /// Files that the parent did not have.
    #[serde(default)]
    pub files_new: u64,
    /// Files that differ from the parent's.
    #[serde(default)]
    pub files_changed: u64,
    /// Files that do not.
    #[serde(default)]
    pub files_unmodified: u64,
    /// New blobs.
    #[serde(default)]
    pub data_blobs: i64,
    /// New trees.
    #[serde(default)]
    pub tree_blobs: i64,
    /// Plaintext bytes of what was new.
    #[serde(default)]
    pub data_added: u64,
    /// Stored bytes of what was new.
    #[serde(default)]
    pub data_added_packed: u64,
    /// Files in all.
    #[serde(default)]
    pub total_files_processed: u64,
    /// Bytes in all.
    #[serde(default)]
    pub total_bytes_processed: u64,
}

impl SnapshotFile {
    /// The value of the tag `name=value`.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether a repair made it of what `other`, whose id is `id`, still had.
    pub fn is_repair_of(&self, id: &Digest, other: &Self) -> bool {
        let original = self.original.filter(|_| self.tags.iter().any(|tag| tag == REPAIRED));
        original.is_some() && (original == Some(*id) || original == other.original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_written_by_restic_is_read() {
        let json = r#"{"time":"2022-09-01T10:00:00.123456789+02:00","tree":"2222222222222222222222222222222222222222222222222222222222222222",
            "paths":["/srv"],"hostname":"h","username":"root","tags":["mainstay","id=a-b"],"future":{"x":1}}"#;
        let snapshot: SnapshotFile = serde_json::from_str(json).unwrap();
        assert_eq!(snapshot.time.to_string(), "2022-09-01T08:00:00.123456789Z");
        assert_eq!((snapshot.tag("id"), snapshot.tag("i")), (Some("a-b"), None));
        assert_eq!(snapshot.parent, None);
    }
}
