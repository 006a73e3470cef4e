//! Whether a chain can be rested on: an increment holds the pages of its own link alone, so that a backup before whose
//! verification failed would be in everything that comes behind it.

use std::collections::HashSet;

use jiff::Timestamp;
use model::backup::Verification;
use model::digest::Digest;
use model::name::BackupId;
use repo::deleted::Deleted;
use repo::index::Index;
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

/// Whether nothing below `root` is known to be damaged. What prune has marked may be below it: the packs that a snapshot
/// needs are moved, not lost, and this backup is one more that needs them.
///
/// # Errors
/// [`RepoError::Cancelled`].
pub(super) fn is_whole(
    writing: &Writing,
    sound: &Index,
    (snapshot, root): (Digest, Digest),
    order: &Order,
) -> Result<bool> {
    if writing.broken.is_empty() {
        return Ok(true);
    }
    let (_, broken) = reachable::collect(&writing.repository, sound, &[(snapshot, root)], &order.cancel)?;
    Ok(broken.is_empty())
}

/// When that was, by the name of the note.
fn verified_at(note: &str) -> Option<Timestamp> {
    Timestamp::from_nanosecond(note.rsplit('/').next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use model::backup::BackupKind;
    use model::cancel::CancelToken;
    use model::progress::Progress;
    use model::secret::Secret;
    use repo::broken::{self, BrokenPacks, Why};
    use repo::lease::Identity;
    use repo::marks::{self, Marks};
    use std::sync::Arc;
    use store::memory::MemoryStore;

    use super::*;
    use crate::manifest::MANIFEST_NAME;
    use crate::writing::{FileCounts, Outcome, save_small_file, save_tree};

    fn order(second: i64) -> Order {
        Order {
            tenant: "acme".parse().unwrap(),
            source: "data".parse().unwrap(),
            label: String::new(),
            hold: false,
            identity: Identity { hostname: "h".into(), username: "u".into(), uid: 0, gid: 0, pid: 1 },
            now: Timestamp::from_second(second).unwrap(),
            level: None,
            cancel: CancelToken::new(),
            progress: Progress::new(),
        }
    }

    fn repository() -> Arc<Repository> {
        let password = Secret::new("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01");
        Arc::new(Repository::init(Arc::new(MemoryStore::new()), &password, "u", "h").unwrap())
    }

    /// A backup of a cluster that is nothing but its manifest. -> its snapshot and root
    fn back_up(repository: &Arc<Repository>, second: i64) -> (Digest, Digest) {
        let order = order(second);
        let writing = Writing::begin(repository, &order).unwrap();
        let outcome = Outcome {
            kind: BackupKind::Cluster,
            database: String::new(),
            size_bytes: 0,
            sha256: None,
            relation_count: 0,
            positions: None,
            paths: vec![],
            excludes: vec![],
            parent: None,
            tags: vec![],
            incomplete: false,
            files: FileCounts::default(),
        };
        let manifest = serde_json::json!({
            "manifestVersion": 1,
            "record": writing.record(&outcome),
            "serverVersion": 150_000,
            "systemId": "1",
            "timeline": 1,
            "startLsn": "0/1000000",
            "stopLsn": "0/2000000",
            "segmentSize": "16777216",
            "hasChecksums": true,
            "isStandby": false,
            "dataDirectory": "",
            "tablespaces": [],
            "earlier": [],
            "marker": null,
            "problems": [],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let file = save_small_file(&writing.saver, MANIFEST_NAME, &manifest, &order).unwrap();
        let root = save_tree(&writing.saver, &mut [file]).unwrap();
        (writing.commit(root, &outcome).unwrap().snapshot.unwrap(), root)
    }

    #[test]
    fn packs_that_are_marked_can_be_rested_on_and_broken_ones_cannot() {
        let repository = repository();
        let saved = back_up(&repository, 1_000_000_000);
        let files = repository.load_index_files().unwrap();
        let packs: Vec<Digest> =
            files.iter().flat_map(|(_, packs)| packs.iter().map(|pack| pack.id)).collect();
        let since = Timestamp::from_second(1_000_000_000).unwrap();
        marks::save(&repository, &packs.iter().map(|pack| (*pack, since)).collect::<Marks>()).unwrap();
        let order = order(1_000_000_100);
        let is_whole = || {
            let writing = Writing::begin(&repository, &order).unwrap();
            let is_whole = is_whole(&writing, &writing.load_sound().unwrap(), saved, &order).unwrap();
            writing.saver.finish().unwrap();
            is_whole
        };
        let note = |pack| {
            let mut packs = BrokenPacks::default();
            packs.add(pack, Why::Damaged);
            broken::note(&repository, &packs).unwrap();
        };
        assert!(is_whole());
        // Of something else.
        note(Digest([1; 32]));
        assert!(is_whole(), "what prune has marked is no damage");
        note(packs[0]);
        assert!(!is_whole());
    }
}
