//! Everything that prune must know before it decides: who needs what, and what lies where.
//!
//! Invariant: it is complete or an error. A snapshot that cannot be read whole might need anything, so nothing may
//! be deleted beside it.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use model::cancel::CancelToken;
use model::digest::Digest;

use crate::blob::{BlobId, PackedBlob};
use crate::deleted::Deleted;
use crate::error::{RepoError, Result};
use crate::index::{Index, IndexedPack};
use crate::marks::{self, Marks};
use crate::pack;
use crate::prune::usage::{IndexFile, Keepers, Needed, Pack, PackUse, join_files};
use crate::reachable::{self, Reachable};
use crate::repository::{FileKind, Repository};

/// What was found.
pub struct Survey {
    /// Marks of earlier runs.
    pub marks: Marks,
    /// Packs that are known to be damaged.
    pub broken: HashSet<Digest>,
    /// Every pack that is stored or indexed.
    pub packs: Vec<Pack>,
    /// How much of each is needed.
    pub uses: Vec<PackUse>,
    /// Which copy of a blob counts.
    pub keepers: Keepers,
    /// The files that the index stands in.
    pub index_files: Vec<IndexFile>,
    /// Snapshots that everybody sees.
    pub live: HashSet<Digest>,
    /// Deleted snapshots that may still come back.
    pub cooling: Vec<Deleted>,
    /// Deleted snapshots whose time is over.
    pub over: Vec<Deleted>,
}

/// Look at everything.
///
/// # Errors
/// Any damage that a live or cooling snapshot suffers, naming the snapshot; or when something cannot be read.
pub fn survey(
    repository: &Repository,
    now: Timestamp,
    cooling_off: SignedDuration,
    cancel: &CancelToken,
) -> Result<Survey> {
    let (marks, broken) = marks::load_with_broken(repository)?;
    // Snapshots first: what one that is listed needs was indexed before.
    let snapshots = repository.load_snapshots()?;
    // Stores count in whole seconds, and whoever deletes by a clock of his own: a little later than now is now.
    let age = |deleted: &Deleted| now.duration_since(deleted.deleted_at).max(SignedDuration::ZERO);
    let is_over = |deleted: &Deleted| age(deleted) >= cooling_off;
    let (over, cooling): (Vec<_>, Vec<_>) = repository.deleted_snapshots()?.into_iter().partition(is_over);
    let stored = repository.list(FileKind::Pack)?;
    let (index_files, blobs) = join_files(repository.load_index_files()?);
    let packs = join(blobs, stored.iter().map(|listed| (listed.id, listed.size)));
    let mut index = Index::default();
    // The first copy counts: one in a pack that is damaged only where there is no other.
    for is_broken in [false, true] {
        for pack in packs.iter().filter(|pack| pack.is_whole && broken.contains(&pack.id) == is_broken) {
            index.add_pack(pack.id, &pack.blobs);
        }
    }
    let roots: Vec<_> = snapshots.iter().map(|(id, snapshot)| (*id, snapshot.tree)).collect();
    let root = |deleted: &&Deleted| (deleted.id, deleted.snapshot.tree);
    let (replaced, whole): (Vec<_>, Vec<_>) =
        cooling.iter().partition(|deleted| deleted.is_replaced(&snapshots));
    let whole: Vec<_> = whole.iter().map(root).collect();
    let replaced: Vec<_> = replaced.iter().map(root).collect();
    let live = collect_whole(repository, &index, &roots, cancel)?;
    let mut cooling_needs = collect_whole(repository, &index, &whole, cancel)?;
    // Of what a repair replaced as much can come back as is left. What nobody can say that it needs is marked at most,
    // and its own time is over before a mark's is.
    let (left, _) = reachable::collect(repository, &index, &replaced, cancel)?;
    cooling_needs.data.extend(left.data);
    cooling_needs.trees.extend(left.trees);
    let needed = Needed { live, cooling: cooling_needs };
    drop(index);
    let keepers = Keepers::choose(&packs, &needed, |pack| (broken.contains(pack), marks.contains_key(pack)));
    let mut uses = keepers.measure(&packs, &needed.live, repository.store().has_cold_packs());
    uses.iter_mut().for_each(|pack| pack.is_broken = broken.contains(&pack.id));
    let live = snapshots.into_iter().map(|(id, _)| id).collect();
    Ok(Survey { marks, broken, packs, uses, keepers, index_files, live, cooling, over })
}

fn collect_whole(
    repository: &Repository,
    index: &Index,
    roots: &[(Digest, BlobId)],
    cancel: &CancelToken,
) -> Result<Reachable> {
    let (found, broken) = reachable::collect(repository, index, roots, cancel)?;
    match broken.into_iter().next() {
        None => Ok(found),
        Some(first) => {
            let what = format!("snapshot {}", first.snapshot.short());
            let path = first.path.trim_start_matches('/');
            let reason = format!("/{path}: {}; nothing is pruned beside it", first.error);
            Err(RepoError::damaged(what, reason))
        }
    }
}

/// Index and listing put together.
fn join(
    mut blobs: BTreeMap<Digest, Vec<PackedBlob>>,
    stored: impl Iterator<Item = (Digest, u64)>,
) -> Vec<Pack> {
    let mut packs = vec![];
    for (id, size) in stored {
        let blobs = blobs.remove(&id).unwrap_or_default();
        packs.push(Pack { id, size, is_whole: size >= pack::len_of(&blobs), blobs });
    }
    packs.extend(blobs.into_iter().map(|(id, blobs)| Pack { id, size: 0, is_whole: false, blobs }));
    packs
}

impl Survey {
    /// The blobs of the packs `ids` that count, without those that nobody needs.
    pub fn kept_blobs(&self, ids: &HashSet<Digest>) -> Vec<IndexedPack> {
        let chosen = self.packs.iter().enumerate().filter(|(_, pack)| ids.contains(&pack.id));
        let kept = chosen.map(|(number, pack)| {
            let blobs = pack.blobs.iter().filter(|blob| self.keepers.is_kept(number, blob));
            IndexedPack { id: pack.id, blobs: blobs.copied().collect() }
        });
        kept.collect()
    }

    /// Of the blobs that somebody needs and that packs in `gone` hold as well: the copies that count, where their packs
    /// stay.
    pub fn copies_that_stay(&self, gone: &HashSet<Digest>) -> Vec<IndexedPack> {
        let blobs = |of_gone: bool| {
            let packs =
                self.packs.iter().enumerate().filter(move |(_, pack)| gone.contains(&pack.id) == of_gone);
            packs.flat_map(|(number, pack)| pack.blobs.iter().map(move |blob| (number, blob)))
        };
        let is_double = |(number, blob): &(usize, &PackedBlob)| {
            self.keepers.has(blob) && !self.keepers.is_kept(*number, blob)
        };
        let doubles: HashSet<_> =
            blobs(true).filter(is_double).map(|(_, blob)| (blob.kind, blob.id)).collect();
        let mut stay: BTreeMap<usize, Vec<PackedBlob>> = BTreeMap::new();
        for (number, blob) in blobs(false) {
            if self.keepers.is_kept(number, blob) && doubles.contains(&(blob.kind, blob.id)) {
                stay.entry(number).or_default().push(*blob);
            }
        }
        stay.into_iter().map(|(number, blobs)| IndexedPack { id: self.packs[number].id, blobs }).collect()
    }

    /// Stored bytes of all packs.
    pub fn stored_bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.size).sum()
    }
}
