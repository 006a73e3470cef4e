//! Delete one backup, and bring it back as long as prune has not taken it for good.
//!
//! Invariant: a backup on hold is never deleted.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use model::backup::BackupRecord;
use repo::Repository;
use repo::lease::{Identity, Lease};
use repo::repository::FileKind;
use serde::Serialize;

use crate::catalog;
use crate::error::{EngineError, Result};

/// A backup that can still come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedBackup {
    /// What is known of it.
    #[serde(flatten)]
    pub record: BackupRecord,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// Take a backup out of sight.
///
/// # Errors
/// [`EngineError::Refused`] for a backup on hold; [`EngineError::NoBackup`] where its snapshot is gone already.
pub fn delete(
    repository: &Arc<Repository>,
    record: &BackupRecord,
    identity: &Identity,
    now: Timestamp,
) -> Result<()> {
    let lease = Lease::beside(repository, "delete", identity)?;
    if is_held(repository, record)? {
        return Err(EngineError::Refused(format!("backup {} is on hold", record.id)));
    }
    let gone = || EngineError::NoBackup(record.id.to_string());
    let id = record.snapshot.ok_or_else(gone)?;
    match repository.delete_snapshot(&id, now, &lease.guard()) {
        Err(repo::RepoError::Store(error)) if error.is_not_found() => Err(gone()),
        outcome => {
            drop(lease);
            Ok(outcome?)
        }
    }
}

/// Whether a backup is on hold now, whatever an older record says.
///
/// # Errors
/// When the store cannot list.
pub(crate) fn is_held(repository: &Repository, record: &BackupRecord) -> Result<bool> {
    let Some(id) = record.snapshot else { return Ok(record.hold) };
    let name = id.to_hex();
    Ok(repository.list_notes("hold")?.iter().any(|(held, _)| *held == name))
}

/// Every backup that can still come back, the last deleted first. What is broken hides no other; check names it.
///
/// # Errors
/// When the store cannot list or read.
pub fn list_deleted(repository: &Repository) -> Result<Vec<DeletedBackup>> {
    let mut backups = vec![];
    // Snapshots afterwards: what comes back meanwhile is in both.
    let (deleted, _) = repository.examine_deleted()?;
    let seen: HashSet<_> = match deleted.is_empty() {
        true => HashSet::new(),
        false => repository.list(FileKind::Snapshot)?.into_iter().map(|listed| listed.id).collect(),
    };
    for deleted in deleted.into_iter().filter(|deleted| !seen.contains(&deleted.id)) {
        let mut record = match repository.load_note(&format!("record/{}", deleted.id)) {
            Err(repo::RepoError::Store(error)) if error.is_not_found() => {
                catalog::from_tags(&deleted.id, &deleted.snapshot)
            }
            // A copy, and no more.
            Err(error) if error.is_damage() => catalog::from_tags(&deleted.id, &deleted.snapshot),
            other => other?,
        };
        record.snapshot = Some(deleted.id);
        record.hold = false;
        record.found_at(repository.store().location());
        backups.push(DeletedBackup { record, deleted_at: deleted.deleted_at });
    }
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.deleted_at));
    Ok(backups)
}

/// Bring back the deleted backup whose id, or whose snapshot's, begins with `prefix`.
///
/// # Errors
/// [`EngineError::NoBackup`] where none that can come back is called so; [`EngineError::Ambiguous`].
pub fn undelete(repository: &Arc<Repository>, prefix: &str, identity: &Identity) -> Result<BackupRecord> {
    // Prune works alone, so nothing is taken for good between the look and the deed.
    let lease = Lease::beside(repository, "undelete", identity)?;
    let deleted = list_deleted(repository)?.into_iter().map(|backup| backup.record).collect();
    let record = catalog::choose(deleted, prefix)?;
    let id = record.snapshot.ok_or_else(|| EngineError::NoBackup(prefix.to_owned()))?;
    repository.undelete_snapshot(&id, &lease.guard())?;
    drop(lease);
    Ok(record)
}
