//! Which base backups of a repository a recovery window rests on: what WAL and histories say goes into the decision of
//! [`model::recovery_window`].
//!
//! Invariants: where a base backup begins and ends is what the tags of its snapshot say, and when it had ended, what the store
//! says of its arrival: a clock that is wrong makes a backup younger at most. Of whose place in the log nothing is known is needed.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use model::backup::{BackupKind, BackupRecord};
use model::digest::Digest;
use model::lsn::{Lsn, SystemId, Timeline};
use model::recovery_window::{BaseBackup, Road, plan_window};
use model::wal_name::{SegmentName, SegmentSize, WalName};
use pg::timeline_history::TimelineHistory;
use repo::snapshot_file::SnapshotFile;
use repo::wal_object::StoredWal;
use repo::{RepoError, Repository};

use crate::error::Result;
use crate::fetch_wal::load_exactly;
use crate::restore_cluster::reach::{Line, look_ahead};
use crate::wal_error::WalError;

/// Where a base backup is in the log of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its timeline.
    pub timeline: Timeline,
    /// First byte of WAL that it needs.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// Bytes of a segment of its cluster.
    pub size: SegmentSize,
}

/// The cluster of which a snapshot is a base backup, and where in its log, if its tags tell; `None`: it is none.
pub fn position(snapshot: &SnapshotFile) -> Option<(SystemId, Option<Position>)> {
    let tag = |name| snapshot.tag(name);
    let system_id =
        tag("system").filter(|_| tag("kind") == Some(BackupKind::Cluster.as_str()))?.parse().ok()?;
    let position = || {
        Some(Position {
            timeline: Timeline(tag("timeline")?.parse().ok()?),
            start: tag("start")?.parse().ok()?,
            stop: tag("stop")?.parse().ok()?,
            size: SegmentSize::new(tag("segment")?.parse().ok()?)?,
        })
    };
    Some((system_id, position()))
}

/// The archived log of one cluster.
pub struct Log {
    system_id: SystemId,
    archived: BTreeMap<SegmentName, Timestamp>,
    /// To each timeline.
    lines: Vec<Line>,
}

impl Log {
    /// Read what tells where WAL leads to; `stored` is all that there is of the cluster.
    ///
    /// # Errors
    /// Damage to a history, or what the store says.
    pub fn load(repository: &Repository, system_id: SystemId, stored: &[StoredWal]) -> Result<Self> {
        let (mut archived, mut histories, mut timelines) =
            (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for one in stored {
            timelines.insert(one.file.name.timeline());
            match one.file.name {
                WalName::Segment(name) => {
                    let at = Timestamp::try_from(one.modified).unwrap_or(Timestamp::MAX);
                    archived.insert(name, at);
                }
                WalName::History(timeline) => {
                    let text = load_exactly(repository, &one.file, 1)?.unwrap_or_default();
                    let path = one.file.object().to_string().into();
                    let parsed = TimelineHistory::parse(timeline, &text);
                    histories.insert(timeline, parsed.map_err(|cause| WalError::History { path, cause })?);
                }
                WalName::Partial(_) | WalName::Backup(..) => {}
            }
        }
        let line = |timeline: Timeline| {
            let history = histories.get(&timeline).map_or(&[][..], |history| &history.ancestors);
            Line::new(history.iter().map(|one| (one.timeline, one.end)).collect(), timeline)
        };
        Ok(Self { system_id, archived, lines: timelines.into_iter().map(line).collect() })
    }

    /// That of one timeline, and nothing before it.
    #[cfg(test)]
    pub(crate) fn of_segments(system_id: SystemId, stored: &[StoredWal]) -> Self {
        let segment = |one: &StoredWal| match one.file.name {
            WalName::Segment(name) => Some((name, Timestamp::try_from(one.modified).ok()?)),
            _ => None,
        };
        let archived = stored.iter().filter_map(segment).collect();
        Self { system_id, archived, lines: vec![] }
    }

    /// A base backup that had ended by then, and everywhere it leads to.
    pub fn lead(&self, position: &Position, ended: Timestamp) -> BaseBackup {
        let own = Line::new(vec![], position.timeline);
        let is_known = self.lines.iter().any(|line| line.last() == position.timeline);
        let lines = self.lines.iter().chain(Some(&own).filter(|_| !is_known));
        let road = |line: &Line| {
            let ahead = look_ahead(&self.archived, line, position.stop, position.size);
            let until = ahead.until.map_or(ended, |until| until.max(ended));
            Road { line: line.last(), end: ahead.end, until }
        };
        let roads = lines.filter(|line| line.has(position.timeline, position.stop)).map(road).collect();
        BaseBackup { cluster: self.system_id.0, stop: position.stop, ended, roads }
    }
}

/// The snapshots among `records` on which the window from `begin` on rests, source by source.
///
/// # Errors
/// Damage to a snapshot or a history, or what the store says: then nobody knows what is needed.
pub fn needed(
    repository: &Repository,
    records: &[BackupRecord],
    ended: impl Fn(&BackupRecord) -> Timestamp,
    begin: Timestamp,
) -> Result<HashSet<Digest>> {
    let (mut logs, mut needed) = (HashMap::new(), HashSet::new());
    let mut sources: BTreeMap<_, Vec<(Digest, BaseBackup, bool)>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind == BackupKind::Cluster) {
        let Some(id) = record.snapshot else { continue };
        let snapshot = match repository.load_snapshot(&id) {
            Err(RepoError::Store(error)) if error.is_not_found() => continue,
            loaded => loaded?,
        };
        let Some((system_id, Some(position))) = position(&snapshot) else {
            needed.insert(id);
            continue;
        };
        let log = match logs.entry(system_id.0) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let stored = repository.list_wal(system_id, None)?;
                unknown.insert(Log::load(repository, system_id, &stored)?)
            }
        };
        let source = (record.tenant.to_string(), record.source.to_string());
        let lead = log.lead(&position, ended(record));
        sources.entry(source).or_default().push((id, lead, record.is_good()));
    }
    for of_one in sources.into_values() {
        // The good ones by themselves, and with the bad ones: where those alone lead, they are what there is.
        for with_bad in [false, true] {
            let chosen = of_one.iter().filter(|(_, _, is_good)| with_bad || *is_good);
            let (ids, bases): (Vec<_>, Vec<_>) = chosen.map(|(id, base, _)| (*id, base.clone())).unzip();
            let planned = ids.into_iter().zip(plan_window(&bases, begin));
            needed.extend(planned.filter(|(_, is_needed)| *is_needed).map(|(id, _)| id));
        }
    }
    Ok(needed)
}
