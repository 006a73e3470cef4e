//! What the archive of WAL says of the way from a backup to its target.
//!
//! The newest timeline is found as a server finds it: from that of the backup on, as long as the next one has a history.

use std::collections::{BTreeMap, BTreeSet};

use engine::cluster_manifest::ClusterManifest;
use engine::fetch_wal::load_wal;
use engine::last_end::last_end;
use engine::restore_cluster::reach::{Ended, Line, WalAhead, archived_before, look_ahead};
use jiff::Timestamp;
use model::lsn::{SystemId, Timeline};
use model::recovery_target::{RecoveryTarget, TargetTimeline};
use model::wal_name::WalName;
use pg::timeline_history::TimelineHistory;
use repo::wal_object::WalFile;
use repo::{RepoError, Repository};

use crate::error::{CliError, Kind, Result};

/// The timeline that every cluster begins with; it has no history.
const FIRST: Timeline = Timeline(1);

/// The line of timelines that a recovery will follow, and the WAL on it.
pub(super) fn ahead(
    repository: &Repository,
    manifest: &ClusterManifest,
    wanted: TargetTimeline,
    (target, inclusive, ended): (&RecoveryTarget, bool, &Ended),
) -> Result<(Line, WalAhead)> {
    let archived = repository.list_wal(manifest.system_id, None)?;
    let (mut segments, mut histories) = (BTreeMap::new(), BTreeSet::new());
    for stored in archived {
        match stored.file.name {
            WalName::Segment(name) => {
                let at = Timestamp::try_from(stored.modified).unwrap_or(Timestamp::MAX);
                segments.insert(name, at);
            }
            WalName::History(timeline) => _ = histories.insert(timeline),
            WalName::Partial(_) | WalName::Backup(..) => {}
        }
    }
    let last = match wanted {
        TargetTimeline::Current => manifest.timeline,
        TargetTimeline::Number(number) => number,
        TargetTimeline::Latest => {
            let newer = (manifest.timeline.0 + 1..).map(Timeline).take_while(|next| histories.contains(next));
            newer.last().unwrap_or(manifest.timeline)
        }
    };
    let line = match histories.contains(&last) {
        true => Line::new(ancestors(repository, manifest.system_id, last)?, last),
        // The first one comes from nowhere.
        false if last == manifest.timeline || last == FIRST => Line::new(vec![], last),
        false => {
            let message = format!("the archive has no history of timeline {last}");
            return Err(
                CliError::new(Kind::NotFound, message).hint("`mainstay wal status` shows what there is")
            );
        }
    };
    let (system_id, size) = (manifest.system_id, manifest.segment_size());
    let mut ahead = look_ahead(&segments, &line, manifest.stop_lsn, size);
    // Objects of a copy are of the day of the copy. Read only where that decides; what cannot be read decides nothing.
    let is_before = matches!(target, RecoveryTarget::Time(time) if *time >= ended.at);
    if ahead.gap.is_some() && is_before && ahead.verify_reach(target, inclusive, ended).is_ok() {
        let before = archived_before(&segments, &line, ahead.end, size).take(ahead.segments as usize);
        ahead.last_end = last_end(repository, system_id, before, size).unwrap_or_default();
    }
    Ok((line, ahead))
}

fn ancestors(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
) -> Result<Vec<(Timeline, model::lsn::Lsn)>> {
    let file = WalFile { system_id, name: WalName::History(timeline) };
    let bytes = load_wal(repository, &file, 1)?.unwrap_or_default();
    let history = TimelineHistory::parse(timeline, &bytes)
        .map_err(|error| RepoError::damaged(format!("the history of timeline {timeline}"), error))?;
    Ok(history.ancestors.iter().map(|ancestor| (ancestor.timeline, ancestor.end)).collect())
}
