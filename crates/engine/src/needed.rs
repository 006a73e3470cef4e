//! Which objects the backups rest on: what a locker has to keep locked.
//!
//! Deduplication lets the backup of today rest on packs of last year. Invariant: a pack counts as soon as it holds a
//! copy of anything that a visible snapshot reaches. Where something cannot be read, that is said, and every pack counts that
//! an index names: nobody knows what lies behind. WAL counts from the oldest base backup of its cluster on, that could come
//! back too; a recovery window may let some of it go earlier, and is not asked: a lock too much costs a little.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::cancel::CancelToken;
use model::digest::Digest;
use repo::index::Index;
use repo::repository::FileKind;
use repo::wal_object::StoredWal;
use repo::{RepoError, Repository, reachable};
use store::Key;

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::expire_wal::{Needs, all_needs, plan_expire};

/// What was found.
#[derive(Debug, Default)]
pub struct Needed {
    /// Every object that some backup needs, as far as that could be read.
    pub objects: BTreeSet<Key>,
    /// Snapshots that were deleted and can come back: a tombstone of ours tells of each.
    pub deleted: BTreeSet<Digest>,
    /// What could not be read.
    pub damage: Vec<String>,
}

/// Follow every snapshot. Changes nothing.
///
/// # Errors
/// When the store cannot list or read; damage is in the result.
pub fn find(repository: &Repository, cancel: &CancelToken) -> Result<Needed> {
    let mut needed = Needed::default();
    let mut roots = vec![];
    // Snapshots first: what one that is listed needs was indexed before.
    for listed in repository.list(FileKind::Snapshot)? {
        needed.objects.insert(FileKind::Snapshot.object(&listed.id));
        match repository.load_snapshot(&listed.id) {
            Ok(snapshot) => roots.push((listed.id, snapshot.tree)),
            Err(error) => needed.note(error)?,
        }
    }
    // A broken tombstone tells of nothing, and hides nothing either.
    needed.deleted = repository.examine_deleted()?.0.into_iter().map(|deleted| deleted.id).collect();
    // What a snapshot needs that somebody removed is not to be seen any more; that somebody did is.
    let missing = catalog::list_readable(repository)?.missing;
    needed.damage.extend(missing.into_iter().map(|record| EngineError::Disappeared(record.id).to_string()));
    let (mut index, mut packs) = (Index::default(), vec![]);
    for (id, file) in repository.try_load_index_files()? {
        needed.objects.insert(FileKind::Index.object(&id));
        match file {
            Ok(listed) => packs.extend(listed),
            Err(error) => needed.note(error)?,
        }
    }
    index.add(&packs, |_| false);
    let (reached, broken) = reachable::collect(repository, &index, &roots, cancel)?;
    for broken in broken {
        needed.note(broken.error)?;
    }
    let is_whole = needed.damage.is_empty();
    let rests_on = packs
        .iter()
        .filter(|pack| !is_whole || pack.blobs.iter().any(|blob| reached.has(blob.kind, &blob.id)));
    needed.objects.extend(rests_on.map(|pack| FileKind::Pack.object(&pack.id)));
    let keys = repository.list(FileKind::Key)?;
    needed.objects.extend(keys.iter().map(|listed| FileKind::Key.object(&listed.id)));
    needed.objects.extend("config".parse::<Key>());
    needed.add_wal(repository)?;
    Ok(needed)
}

impl Needed {
    fn add_wal(&mut self, repository: &Repository) -> Result<()> {
        let mut clusters: BTreeMap<u64, Vec<StoredWal>> = BTreeMap::new();
        for one in repository.list_all_wal()? {
            clusters.entry(one.file.system_id.0).or_default().push(one);
        }
        if clusters.is_empty() {
            return Ok(());
        }
        let needs = match all_needs(repository) {
            Ok(needs) => needs,
            // Nobody knows what is needed: all of it is.
            Err(EngineError::Repository(error)) => {
                self.note(error)?;
                Needs::new()
            }
            Err(error) => return Err(error),
        };
        for (system_id, stored) in &clusters {
            let needs = needs.get(system_id).map_or(&[][..], Vec::as_slice);
            let idle = plan_expire(stored, needs, Timestamp::MAX);
            let idle: BTreeSet<_> = idle.into_iter().map(|one| one.file.object()).collect();
            let all = stored.iter().map(|one| one.file.object());
            self.objects.extend(all.filter(|object| !idle.contains(object)));
        }
        Ok(())
    }

    /// Damage, or something that was deleted under our eyes; everything else ends the search.
    fn note(&mut self, error: RepoError) -> Result<()> {
        let is_gone = matches!(&error, RepoError::Store(error) if error.is_not_found());
        match error.is_damage() || is_gone {
            true => self.damage.push(error.to_string()),
            false => return Err(error.into()),
        }
        Ok(())
    }
}
