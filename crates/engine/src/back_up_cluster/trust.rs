//! Whether a chain can be rested on: an increment holds the pages of its own link alone, so that a backup before whose
//! verification failed would be in everything that comes behind it.

use std::collections::HashSet;

use jiff::Timestamp;
use model::backup::Verification;
use model::digest::Digest;
use model::name::BackupId;
use repo::deleted::Deleted;
use repo::threads::map_waiting;
use repo::{RepoError, Repository, reachable};

use crate::catalog;
use crate::cluster_manifest::ClusterManifest;
use crate::error::Result;
use crate::writing::{Order, Writing};

/// The backup of the chain that ends with `manifest`, whose snapshot is `newest`, of which the newest verification failed.
///
/// # Errors
/// When the store cannot list or read.
pub(super) fn failed_of(
    repository: &Repository,
    newest: Digest,
    manifest: &ClusterManifest,
) -> Result<Option<BackupId>> {
    let own = &manifest.record;
    let began = manifest.earlier.first().map_or(own.created_at, |first| first.created_at);
    let verified: Vec<(Digest, String)> = catalog::newest_verifications(repository)?
        .into_iter()
        // None of the chain was verified before there was one.
        .filter(|(_, note)| verified_at(note).is_none_or(|at| at >= began))
        .filter_map(|(snapshot, note)| Some((snapshot.parse().ok()?, note)))
        .collect();
    let failed = map_waiting(&verified, |(snapshot, note)| {
        // What cannot be read says nothing, as in a list.
        let verification = repository.load_note::<Verification>(note).ok()?;
        (verification.result == "failed").then_some(*snapshot)
    })?;
    let chain: HashSet<&str> = manifest.earlier.iter().map(|link| link.id.as_str()).collect();
    let mut deleted = None;
    for snapshot in failed.into_iter().flatten() {
        if snapshot == newest {
            return Ok(Some(own.id.clone()));
        }
        let found = match repository.load_snapshot(&snapshot) {
            Ok(found) => found,
            // Deleted because of that, as one does; its links are in what came later.
            Err(RepoError::Store(error)) if error.is_not_found() => {
                let deleted = match &deleted {
                    Some(deleted) => deleted,
                    None => deleted.insert(repository.examine_deleted()?.0),
                };
                let found = deleted.iter().find(|one: &&Deleted| one.id == snapshot);
                // Where prune has taken that too, the next verification of what has its links tells.
                let Some(found) = found else { continue };
                found.snapshot.clone()
            }
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(id) = found.tag("id").filter(|id| chain.contains(id)) {
            return Ok(manifest
                .earlier
                .iter()
                .find(|link| link.id.as_str() == id)
                .map(|link| link.id.clone()));
        }
    }
    Ok(None)
}

/// Whether anything below `root` is known to be damaged, or lies where it may go.
///
/// # Errors
/// [`RepoError::Cancelled`].
pub(super) fn is_whole(writing: &Writing, snapshot: Digest, root: Digest, order: &Order) -> Result<bool> {
    if writing.broken.is_empty() {
        return Ok(true);
    }
    let (_, broken) =
        reachable::collect(&writing.repository, &writing.index, &[(snapshot, root)], &order.cancel)?;
    Ok(broken.is_empty())
}

/// When that was, by the name of the note.
fn verified_at(note: &str) -> Option<Timestamp> {
    Timestamp::from_nanosecond(note.rsplit('/').next()?.parse().ok()?).ok()
}
