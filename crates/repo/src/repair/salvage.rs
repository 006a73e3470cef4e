//! What damaged packs still hold, moved to new ones.
//!
//! The order is that of every move: new packs → their index → the index without the bad packs. The bad packs stay in
//! the store, named by no index, until prune clears them away.

use std::collections::HashSet;
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use serde::Serialize;

use crate::blob::PackedBlob;
use crate::broken;
use crate::error::Result;
use crate::examine::examine_all;
use crate::index::IndexedPack;
use crate::lease::Identity;
use crate::parity::heal;
use crate::prune::rewrite::{repack, save_index_without};
use crate::prune::usage::join_files;
use crate::repair::{alone, lost};
use crate::repository::{FileKind, Repository};

/// What the packs gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SalvageReport {
    /// Packs of which every byte was looked at.
    pub packs_read: usize,
    /// Damaged packs that parity made whole (or, before it is tried, may make whole).
    pub healed_packs: Vec<Digest>,
    /// Packs that hold damage.
    pub bad_packs: Vec<Digest>,
    /// Sound blobs in them, which move to new packs.
    pub saved_blobs: usize,
    /// Blobs of which no sound copy is left anywhere.
    pub lost_blobs: usize,
}

/// Read every indexed pack, and bring what is sound in damaged ones to safety.
///
/// # Errors
/// [`crate::RepoError::InUse`] while anybody is at work; damage to an index file (`repair index` comes first); what the
/// store says.
pub fn repair_packs(
    repository: &Arc<Repository>,
    identity: &Identity,
    dry_run: bool,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<SalvageReport> {
    let lease = alone(repository, identity, dry_run)?;
    let (files, packs) = join_files(repository.load_index_files()?);
    let packs: Vec<_> = packs.into_iter().map(|(id, blobs)| IndexedPack { id, blobs }).collect();
    progress.begin("reading data", packs.iter().map(IndexedPack::blobs_len).sum());
    let examined = examine_all(repository, &packs.iter().collect::<Vec<_>>(), progress, cancel)?;
    let (mut sound, mut bad) = (vec![], vec![]);
    for (pack, examined) in packs.iter().zip(examined) {
        // A store that fails says nothing of the pack: only damage makes it a bad one.
        let examined = examined?;
        match examined.problem {
            None => sound.push(pack),
            Some(_) => bad.push((pack, examined.unsound)),
        }
    }
    let damaged = bad.iter().map(|(pack, _)| pack.id).collect();
    let healed_packs = match lease.is_some() {
        true => heal::heal(repository, &damaged, progress)?,
        false => heal::healable(repository, &damaged)?,
    };
    let healed = bad.extract_if(.., |(pack, _)| healed_packs.contains(&pack.id));
    sound.extend(healed.map(|(pack, _)| pack));
    if lease.is_some() {
        let known = broken::list(repository)?;
        broken::forget(repository, sound.iter().map(|pack| &pack.id).filter(|pack| known.contains(pack)))?;
    }
    let rescue = plan_rescue(&sound, &bad);
    let report = SalvageReport {
        packs_read: packs.len(),
        healed_packs,
        bad_packs: bad.iter().map(|(pack, _)| pack.id).collect(),
        saved_blobs: rescue.saved.iter().map(|pack| pack.blobs.len()).sum(),
        lost_blobs: rescue.lost,
    };
    let Some(lease) = lease.filter(|_| !bad.is_empty()) else { return Ok(report) };
    repack(repository, &rescue.saved, rescue.saved.len(), &lease.guard(), progress, cancel)?;
    bad.iter().try_for_each(|(pack, _)| lost::save(repository, &pack.id, &pack.blobs))?;
    lease.check()?;
    let replaced = {
        let packs = packs.iter().map(|pack| (&pack.id, &pack.blobs));
        save_index_without(repository, &files, packs, &report.bad_packs.iter().copied().collect())?
    };
    for file in replaced {
        lease.check()?;
        repository.store().delete(&FileKind::Index.object(&file))?;
    }
    Ok(report)
}

/// What to move out of bad packs.
struct Rescue {
    /// The bad packs, each with the blobs that are sound in it and in no sound pack.
    saved: Vec<IndexedPack>,
    /// Blobs that are sound nowhere.
    lost: usize,
}

fn plan_rescue(sound: &[&IndexedPack], bad: &[(&IndexedPack, Vec<PackedBlob>)]) -> Rescue {
    let name = |blob: &PackedBlob| (blob.kind, blob.id);
    let mut wanted: HashSet<_> = bad.iter().flat_map(|(pack, _)| &pack.blobs).map(name).collect();
    for blob in sound.iter().flat_map(|pack| &pack.blobs) {
        wanted.remove(&name(blob));
    }
    let mut saved = vec![];
    for (pack, unsound) in bad {
        let unsound: HashSet<u32> = unsound.iter().map(|blob| blob.offset).collect();
        let is_saved = |blob: &&PackedBlob| !unsound.contains(&blob.offset) && wanted.remove(&name(blob));
        let blobs = pack.blobs.iter().filter(is_saved).copied().collect();
        saved.push(IndexedPack { id: pack.id, blobs });
    }
    Rescue { saved, lost: wanted.len() }
}
