//! What a repository has of a cluster: its WAL, where its timelines came from, and its base backups.
//!
//! All of it is read in the repository: the server may be dead.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::backup::{BackupKind, BackupRecord};
use model::lsn::{SystemId, Timeline};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use pg::timeline_history::TimelineHistory;
use repo::wal_object::StoredWal;
use repo::{RepoError, Repository};

use crate::catalog;
use crate::error::Result;
use crate::wal_status::{BaseBackup, ClusterStatus, Facts, plan_status};

/// What is younger may still be completed: several segments are uploaded at one time.
const YOUNG: SignedDuration = SignedDuration::from_mins(2);

/// What was found of one cluster.
#[derive(Clone, Debug)]
pub struct SurveyedWal {
    /// What it is worth.
    pub status: ClusterStatus,
    /// Bytes of its segments.
    pub size: SegmentSize,
    /// Where its timelines came from.
    pub histories: BTreeMap<Timeline, TimelineHistory>,
    /// Its base backups.
    pub bases: Vec<BaseBackup>,
    /// How many files of its log are stored.
    pub files: usize,
}

/// Look what there is of the cluster `system_id`; its base backups are among `records`, and those that are incomplete are none.
///
/// # Errors
/// When the store cannot list or read, or what is read is damaged.
pub fn survey_wal(
    repository: &Repository,
    system_id: SystemId,
    records: &[BackupRecord],
    now: Timestamp,
) -> Result<SurveyedWal> {
    let stored = repository.list_wal(system_id, None)?;
    let (bases, said) = bases(repository, system_id, records)?;
    let size = match said {
        Some(size) => size,
        None => segment_size(repository, &stored)?,
    };
    let histories = histories(repository, &stored)?;
    let facts = Facts { size, histories: &histories, bases: &bases, now };
    Ok(SurveyedWal {
        status: plan_status(system_id, &stored, &facts),
        size,
        histories,
        bases,
        files: stored.len(),
    })
}

/// Of which cluster a base backup is.
///
/// # Errors
/// Damage to its snapshot.
pub fn cluster_of(repository: &Repository, record: &BackupRecord) -> Result<Option<SystemId>> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    Ok(snapshot.tag("system").and_then(|text| text.parse().ok()))
}

/// The base backups of a cluster that can be relied on, and the size of segments that they say.
fn bases(
    repository: &Repository,
    system_id: SystemId,
    records: &[BackupRecord],
) -> Result<(Vec<BaseBackup>, Option<SegmentSize>)> {
    let (mut bases, mut size) = (vec![], None);
    for record in records.iter().filter(|one| one.kind == BackupKind::Cluster && !one.incomplete) {
        let snapshot = catalog::load_snapshot(repository, record)?;
        if snapshot.tag("system") != Some(system_id.to_string().as_str()) {
            continue;
        }
        let said = || SegmentSize::new(snapshot.tag("segment")?.parse().ok()?);
        size = size.or_else(said);
        let (start, stop) = (record.start_lsn.parse(), record.stop_lsn.parse());
        if let (Ok(start), Ok(stop), Ok(timeline)) = (start, stop, record.timeline.parse()) {
            let (id, at) = (record.id.to_string(), record.created_at);
            bases.push(BaseBackup { id, timeline: Timeline(timeline), start, stop, at });
        }
    }
    Ok((bases, size))
}

/// As one of the segments says.
fn segment_size(repository: &Repository, stored: &[StoredWal]) -> Result<SegmentSize> {
    let is_segment = |stored: &&StoredWal| matches!(stored.file.name, WalName::Segment(_));
    let Some(one) = stored.iter().find(is_segment) else { return Ok(SegmentSize::DEFAULT) };
    let sealed = read(repository, one)?;
    let header = one.file.header(repository.sealer(), &sealed)?;
    Ok(header.segment_size.and_then(SegmentSize::new).unwrap_or(SegmentSize::DEFAULT))
}

fn histories(repository: &Repository, stored: &[StoredWal]) -> Result<BTreeMap<Timeline, TimelineHistory>> {
    let mut histories = BTreeMap::new();
    for one in stored.iter().filter(|one| matches!(one.file.name, WalName::History(_))) {
        let timeline = one.file.name.timeline();
        let (_, text) = one.file.open(repository.sealer(), &read(repository, one)?, 1)?;
        let parsed = TimelineHistory::parse(timeline, &text);
        let parsed = parsed.map_err(|error| RepoError::damaged(one.file.object(), error))?;
        histories.insert(timeline, parsed);
    }
    Ok(histories)
}

fn read(repository: &Repository, stored: &StoredWal) -> Result<Vec<u8>> {
    Ok(store::store::read(repository.store(), &stored.file.object()).map_err(RepoError::from)?)
}

impl SurveyedWal {
    /// The name of a segment.
    pub fn name(&self, timeline: Timeline, number: SegmentNo) -> SegmentName {
        SegmentName::new(timeline, number, self.size)
    }

    /// Timelines with WAL to which no recovery from an earlier timeline finds its way: their history is not there. Where a base
    /// backup begins on one of them or later, it has the history with it.
    pub fn without_history(&self) -> Vec<Timeline> {
        let newest_base = self.bases.iter().map(|base| base.timeline).max();
        let used = || self.status.timelines.iter().filter(|one| !one.ranges.is_empty());
        let first = used().map(|one| one.timeline).chain(self.bases.iter().map(|base| base.timeline)).min();
        let is_lost = |timeline: &Timeline| {
            Some(*timeline) > first && newest_base < Some(*timeline) && !self.histories.contains_key(timeline)
        };
        used().map(|one| one.timeline).filter(is_lost).collect()
    }

    /// Whether the log ends before this base backup does.
    pub fn is_behind(&self, base: &str) -> bool {
        let Some(base) = self.bases.iter().find(|one| one.id == base) else { return false };
        let needed = self.size.segment_before(base.stop);
        let later = self.status.timelines.iter().filter(|one| one.timeline >= base.timeline);
        let mut ends = later.filter_map(|one| one.ranges.last());
        !ends.any(|range| range.last >= needed)
    }

    /// When the end of the log was stored on the timeline that this base backup leads to, and not on one that somebody else
    /// still writes; where it leads nowhere, on those that it could lead to.
    pub fn end_stored_after(&self, base: &str) -> Option<Timestamp> {
        let status = &self.status;
        if let Some((last, _)) = status.ends.get(base) {
            return status.end_stored_of(|timeline| timeline == *last);
        }
        let first = self.bases.iter().find(|one| one.id == base).map(|one| one.timeline);
        status.end_stored_of(|timeline| Some(timeline) >= first)
    }

    /// Whether what is missing will stay so: what is behind it was there for a while.
    pub fn is_settled(&self, now: Timestamp) -> bool {
        let is_young = |time: Timestamp| now.duration_since(time) < YOUNG;
        let gaps = self.status.list_open_gaps().any(|(_, gap)| is_young(gap.since));
        let bases =
            self.bases.iter().any(|base| !self.status.ends.contains_key(&base.id) && is_young(base.at));
        !gaps && !bases
    }
}
