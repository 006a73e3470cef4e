//! WAL that no base backup needs any more: what lies before the oldest one that is there or can come back.
//!
//! Invariants: without a base backup of a cluster none of its WAL goes, since the first one may still be under way
//! (pitfall 19); histories of timelines never go, they are what recovery finds its way by; a base backup whose position is
//! not known keeps everything of its cluster.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::cancel::CancelToken;
use model::lsn::{Lsn, SystemId};
use model::wal_name::{SegmentSize, WalName};
use repo::snapshot_file::SnapshotFile;
use repo::wal_object::StoredWal;
use repo::{RepoError, Repository};
use serde::Serialize;

use crate::error::Result;

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiredWal {
    /// Objects.
    pub files: usize,
    /// Their stored bytes.
    pub bytes: u64,
    /// Objects that stay.
    pub kept: usize,
}

/// From where on a base backup needs WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// First byte; nothing where that is not known.
    pub start: Option<Lsn>,
    /// Bytes of a segment of its cluster.
    pub size: Option<SegmentSize>,
}

impl Need {
    /// What the snapshot of a cluster says, by its tags.
    fn of(snapshot: &SnapshotFile) -> Option<(SystemId, Self)> {
        let tag = |name| snapshot.tag(name);
        let system_id = tag("system").filter(|_| tag("kind") == Some("cluster"))?.parse().ok()?;
        let size = tag("segment").and_then(|text| text.parse().ok()).and_then(SegmentSize::new);
        Some((system_id, Self { start: tag("start").and_then(|text| text.parse().ok()), size }))
    }
}

/// Which of the objects `stored` of one cluster, of which these are the base backups, nothing needs; only what was stored
/// before `until`, so that nobody loses what he has just been promised.
pub fn plan_expire<'a>(stored: &'a [StoredWal], needs: &[Need], until: Timestamp) -> Vec<&'a StoredWal> {
    let firsts = needs.iter().map(|need| Some((need.start?, need.size?)));
    let Some(firsts) = firsts.collect::<Option<Vec<_>>>().filter(|firsts| !firsts.is_empty()) else {
        return vec![];
    };
    let Some((oldest, size)) = firsts.into_iter().min_by_key(|(start, _)| *start) else { return vec![] };
    let first = size.segment_of(oldest);
    let is_needless = |one: &&StoredWal| {
        let name = match &one.file.name {
            WalName::Segment(name) | WalName::Partial(name) | WalName::Backup(name, _) => *name,
            WalName::History(_) => return false,
        };
        let is_old = Timestamp::try_from(one.modified).is_ok_and(|modified| modified < until);
        is_old && name.number(size).is_some_and(|number| number < first)
    };
    stored.iter().filter(is_needless).collect()
}

/// Remove what nothing needs of any cluster in the repository.
///
/// # Errors
/// When the store fails, or a snapshot cannot be read: then nobody knows what is needed, and nothing goes.
pub fn expire_wal(
    repository: &Repository,
    until: Timestamp,
    dry_run: bool,
    cancel: &CancelToken,
) -> Result<ExpiredWal> {
    let clusters = repository.list_wal_clusters()?;
    let mut expired = ExpiredWal::default();
    if clusters.is_empty() {
        return Ok(expired);
    }
    let needs = needs(repository)?;
    for system_id in clusters {
        let stored = repository.list_wal(system_id, None)?;
        let none = vec![];
        let plan = plan_expire(&stored, needs.get(&system_id.0).unwrap_or(&none), until);
        expired.kept += stored.len() - plan.len();
        for one in plan {
            cancel.check()?;
            if !dry_run {
                repository.store().delete(&one.file.object()).map_err(RepoError::from)?;
            }
            expired.files += 1;
            expired.bytes += one.size;
        }
    }
    Ok(expired)
}

/// What each cluster's base backups need, those that can come back among them.
fn needs(repository: &Repository) -> Result<BTreeMap<u64, Vec<Need>>> {
    // Who is deleted or comes back meanwhile is in one of the three.
    let deleted = || Ok::<_, RepoError>(repository.deleted_snapshots()?.into_iter().map(|one| one.snapshot));
    let before = deleted()?;
    let live = repository.load_snapshots()?.into_iter().map(|(_, snapshot)| snapshot);
    let all = before.chain(live).chain(deleted()?);
    let mut needs: BTreeMap<u64, Vec<Need>> = BTreeMap::new();
    for (system_id, need) in all.filter_map(|snapshot| Need::of(&snapshot)) {
        needs.entry(system_id.0).or_default().push(need);
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use repo::wal_object::WalFile;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn stored(name: &str, hours_ago: u32) -> StoredWal {
        let file = WalFile { system_id: SystemId(7), name: name.parse().unwrap() };
        StoredWal { file, size: 10, modified: SystemTime::now() - HOUR * hours_ago }
    }

    fn names(stored: &[StoredWal], starts: &[Option<u64>]) -> Vec<String> {
        let size = Some(SegmentSize::DEFAULT);
        let needs: Vec<_> = starts.iter().map(|start| Need { start: start.map(Lsn), size }).collect();
        let until = Timestamp::try_from(SystemTime::now() - HOUR * 72).unwrap();
        let plan = plan_expire(stored, &needs, until);
        plan.into_iter().map(|one| one.file.name.to_string()).collect()
    }

    #[test]
    fn pitfall_19_only_what_lies_before_every_base_backup_goes() {
        let all = [
            stored("000000010000000000000001", 100),
            stored("000000010000000000000002", 100),
            stored("000000010000000000000003.00000028.backup", 100),
            stored("000000010000000000000003", 100),
            stored("000000020000000000000002.partial", 100),
            stored("00000002.history", 100),
            stored("000000020000000000000004", 100),
        ];
        let at = |segment: u64| Some((segment << 24) + 40);
        assert!(names(&all, &[]).is_empty(), "without a base backup everything stays");
        let before_3 =
            ["000000010000000000000001", "000000010000000000000002", "000000020000000000000002.partial"];
        assert_eq!(names(&all, &[at(3), at(4)]), before_3);
        assert_eq!(names(&all, &[at(4), at(3)]), before_3);
        assert!(names(&all, &[at(1), at(4)]).is_empty());
        assert!(names(&all, &[at(4), None]).is_empty(), "a position that is not known keeps everything");
    }

    #[test]
    fn what_was_stored_lately_stays() {
        let all = [stored("000000010000000000000001", 71), stored("000000010000000000000002", 73)];
        assert_eq!(names(&all, &[Some(9 << 24)]), ["000000010000000000000002"]);
    }
}
