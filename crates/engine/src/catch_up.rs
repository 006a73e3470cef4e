//! Several places for the backups of one source: each gets what another has and it missed.
//!
//! Missed is what is newer than its own newest backup was before this run. So a place that was down for some nights gets
//! those nights, a new one gets everything, and what its own policy has forgotten does not come back.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::name::{SourceName, TenantName};
use model::progress::Progress;
use repo::Repository;
use repo::lease::Identity;

use crate::catalog;
use crate::copy::{CopyReport, copy};
use crate::error::Result;

/// Whose backups: a tenant's source, and what they are of, since a database and a cluster may bear one name.
pub type Whose = (TenantName, SourceName, BackupKind);

/// When the newest backup of each source was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest(HashMap<Whose, Timestamp>);

impl Newest {
    /// What a repository has now.
    ///
    /// # Errors
    /// What the store says. A backup that cannot be read hides no other.
    pub fn of(repository: &Repository) -> Result<Self> {
        Ok(Self::among(&catalog::list_readable(repository)?.records))
    }

    fn among(records: &[BackupRecord]) -> Self {
        let mut newest = HashMap::new();
        for record in records {
            let at = newest.entry(whose(record)).or_insert(record.created_at);
            *at = record.created_at.max(*at);
        }
        Self(newest)
    }

    /// Whether a place with this had missed `record`.
    pub fn is_missed(&self, record: &BackupRecord) -> bool {
        self.0.get(&whose(record)).is_none_or(|newest| record.created_at > *newest)
    }
}

/// Whose backup it is.
pub fn whose(record: &BackupRecord) -> Whose {
    (record.tenant.clone(), record.source.clone(), record.kind)
}

/// Copy what `to` missed of these sources and `from` has; `before` is what `to` had before this run.
///
/// # Errors
/// As [`copy`].
pub fn catch_up(
    from: &Arc<Repository>,
    to: &Arc<Repository>,
    before: &Newest,
    sources: &[Whose],
    identity: &Identity,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<CopyReport> {
    let mut records = catalog::list_readable(from)?.records;
    records.retain(|record| sources.contains(&whose(record)) && before.is_missed(record));
    match records.is_empty() {
        true => Ok(CopyReport::default()),
        false => copy(from, to, &records, identity, progress, cancel),
    }
}

#[cfg(test)]
mod tests {
    use model::digest::Digest;
    use repo::snapshot_file::SnapshotFile;

    use super::*;

    fn record(source: &str, second: i64) -> BackupRecord {
        let (tenant, source): (TenantName, SourceName) = ("acme".parse().unwrap(), source.parse().unwrap());
        let time = Timestamp::from_second(second).unwrap();
        let json = serde_json::json!({ "time": time, "tree": "00".repeat(32) });
        let snapshot: SnapshotFile = serde_json::from_value(json).unwrap();
        let record = catalog::from_tags(&Digest([1; 32]), &snapshot);
        BackupRecord { tenant, source, created_at: time, ..record }
    }

    #[test]
    fn missed_is_what_is_newer_than_the_newest_before() {
        let before = Newest::among(&[record("app", 20), record("app", 30), record("app", 10)]);
        for (source, second, missed) in
            [("app", 31, true), ("app", 30, false), ("app", 5, false), ("other", 5, true)]
        {
            assert_eq!(before.is_missed(&record(source, second)), missed, "{source} {second}");
        }
    }

    #[test]
    fn a_dump_of_the_same_name_says_nothing_of_a_cluster() {
        let of = |kind, second| BackupRecord { kind, ..record("main", second) };
        let before = Newest::among(&[of(BackupKind::Dump, 30), of(BackupKind::Cluster, 10)]);
        assert!(before.is_missed(&of(BackupKind::Cluster, 20)));
        assert!(!before.is_missed(&of(BackupKind::Dump, 20)));
    }
}
