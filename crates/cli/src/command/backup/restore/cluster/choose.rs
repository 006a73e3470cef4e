//! Which backup of a cluster comes to the target, and what the archive has behind it.

use engine::EngineError;
use engine::catalog;
use engine::cluster_manifest::ClusterManifest;
use engine::restore_cluster::reach::{Ended, Line, Unreachable, WalAhead, verify_reach};
use model::backup::{BackupKind, BackupRecord};
use model::recovery_target::RecoveryTarget;
use repo::Repository;
use repo::index::Index;

use crate::arguments::Restore;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;

/// A backup, and the way from its end to the target.
pub(super) struct Chosen {
    pub(super) record: BackupRecord,
    pub(super) manifest: ClusterManifest,
    pub(super) line: Line,
    pub(super) ahead: WalAhead,
    inclusive: bool,
}

/// The backup that was named; or, where only a source was, its newest good one that comes to the target.
pub(super) fn choose(
    repository: &Repository,
    index: &Index,
    newest: &BackupRecord,
    order: &Restore,
    face: &Face,
) -> Result<Chosen> {
    if !order.id.contains('/') {
        return look(repository, index, newest, order);
    }
    let target = order.recovery.point();
    let mut records = catalog::list_readable(repository)?.records;
    records.retain(|record| {
        let is_of = (&record.tenant, &record.source) == (&newest.tenant, &newest.source);
        is_of && record.kind == BackupKind::Cluster && !record.incomplete
    });
    let mut without_history = None;
    for record in records {
        let chosen = match look(repository, index, &record, order) {
            Ok(chosen) => chosen,
            // A backup of that timeline itself needs none.
            Err(error) if error.kind == Kind::NotFound => {
                without_history.get_or_insert(error);
                continue;
            }
            Err(error) if error.kind == Kind::Damaged => {
                face.warn(&format!("{} is passed over: {}", record.id, error.message));
                continue;
            }
            Err(error) => return Err(error),
        };
        if chosen.verify(&target).is_ok() {
            return Ok(chosen);
        }
    }
    if let Some(error) = without_history {
        return Err(error);
    }
    let message = format!("no backup of {} comes to {target}", order.id);
    Err(CliError::new(Kind::NotFound, message)
        .hint(
            "`mainstay backup list` shows from when on there are backups, and `mainstay wal status` between which points \
             archived WAL leads on from them",
        ))
}

fn look(repository: &Repository, index: &Index, record: &BackupRecord, order: &Restore) -> Result<Chosen> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    let manifest = catalog::load_cluster_manifest(repository, index, &snapshot)?;
    let ended = ended(&manifest, record);
    let (line, ahead) = super::archive::ahead(
        repository,
        &manifest,
        order.recovery.target_timeline,
        (&order.recovery.point(), order.recovery.inclusive(), &ended),
    )?;
    let inclusive = order.recovery.inclusive();
    Ok(Chosen { record: record.clone(), manifest, line, ahead, inclusive })
}

/// What a backup says of its end.
fn ended(manifest: &ClusterManifest, record: &BackupRecord) -> Ended {
    let ClusterManifest { timeline, stop_lsn: stop, stopped_at, .. } = *manifest;
    Ended { timeline, stop, at: stopped_at.unwrap_or(record.created_at) }
}

impl Chosen {
    /// Whether it comes to the target.
    pub(super) fn verify(&self, target: &RecoveryTarget) -> Result<()> {
        let ended = ended(&self.manifest, &self.record);
        let reach = verify_reach(&ended, target, &self.line);
        let reach = reach.and_then(|()| self.ahead.verify_reach(target, self.inclusive, &ended));
        reach.map_err(|error| refused(&self.record, &error))
    }
}

fn refused(record: &BackupRecord, error: &Unreachable) -> CliError {
    let hint = match error {
        Unreachable::Later(_) => "take an earlier backup, or name TENANT/SOURCE to have it chosen",
        Unreachable::OtherHistory { .. } => {
            "take a backup of that history, or follow another one with --target-timeline"
        }
        Unreachable::Gap { .. } => {
            "`mainstay wal status` shows between which points the cluster can come back, and from which backup"
        }
        Unreachable::Beyond { .. } => {
            "recover to an earlier target, or to the end of what there is by naming none"
        }
    };
    CliError::from(EngineError::Refused(format!("{} cannot be restored to that: {error}", record.id)))
        .hint(hint)
}
