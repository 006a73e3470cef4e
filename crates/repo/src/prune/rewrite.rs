//! Moving needed blobs out of packs that go, and index files that no longer name those packs.
//!
//! Invariant: both only add. What they replace is removed by the caller, when everything new is stored.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;

use crate::blob::{BlobKind, PackedBlob};
use crate::error::{RepoError, Result};
use crate::index::{self, FILE_BLOBS_MAX, Index, IndexedPack};
use crate::packer::{Failure, Guard, Packer};
use crate::prune::usage::join_blobs;
use crate::reader::Wanted;
use crate::repository::{FileKind, Repository};

/// Index files with fewer blobs are put together when the index is written anyway.
const FILE_BLOBS_FEW: usize = FILE_BLOBS_MAX / 4;
/// So many of those are worth writing the index for: each costs everybody who opens the repository a request.
const SMALL_FILES: usize = 64;

/// Store the blobs of `packs` once more, each envelope as it is after it was opened and compared with its name.
///
/// # Errors
/// The first blob that is not sound; nothing was changed then.
pub fn repack(
    repository: &Arc<Repository>,
    packs: &[IndexedPack],
    guard: &Guard,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let mut index = Index::default();
    index.add(packs, |_| false);
    let mut wanted = wanted_of(packs, &index)?;
    progress.begin("repacking", wanted.iter().map(|(_, one)| u64::from(one.place.length)).sum());
    let failure = Arc::new(Failure::default());
    let (packer, uploads) = Packer::start(repository, &failure, guard);
    let outcome = BlobKind::ALL.into_iter().try_for_each(|kind| {
        let mut of_kind: Vec<_> =
            wanted.extract_if(.., |(other, _)| *other == kind).map(|(_, one)| one).collect();
        repository.read_packed_sealed(&index, &mut of_kind, cancel, |one, opened| {
            let sealed = opened?.sealed;
            let raw_length = one.place.compressed_from();
            packer.add(
                PackedBlob { id: one.id, kind, offset: 0, length: one.place.length, raw_length },
                sealed,
            )?;
            progress.advance(sealed.len() as u64);
            progress.item();
            Ok::<(), RepoError>(())
        })
    });
    let outcome = outcome.and_then(|()| packer.flush());
    drop(packer);
    // When storing failed, that is the reason; what `outcome` says then only follows from it.
    uploads.finish().and(outcome)
}

/// Where the blobs of `packs` are.
///
/// # Errors
/// When `index` does not have one of them.
pub(super) fn wanted_of(packs: &[IndexedPack], index: &Index) -> Result<Vec<(BlobKind, Wanted)>> {
    let blobs = packs.iter().flat_map(|pack| &pack.blobs);
    let wanted = blobs.map(|blob| {
        let place = index.require(blob.kind, &blob.id)?;
        Ok((blob.kind, Wanted { id: blob.id, place, tag: 0 }))
    });
    wanted.collect()
}

/// The files that are written anew: those that name packs that are `gone`, and small ones, if there are such or many of
/// these.
pub fn replaced<'a>(
    files: &'a [(Digest, Vec<IndexedPack>)],
    gone: &HashSet<Digest>,
) -> Vec<&'a (Digest, Vec<IndexedPack>)> {
    let names_gone = |packs: &[IndexedPack]| packs.iter().any(|pack| gone.contains(&pack.id));
    let is_small =
        |packs: &[IndexedPack]| packs.iter().map(|pack| pack.blobs.len()).sum::<usize>() < FILE_BLOBS_FEW;
    let is_worth_it = files.iter().filter(|(_, packs)| is_small(packs)).count() >= SMALL_FILES
        || files.iter().any(|(_, packs)| names_gone(packs));
    let replaced = files.iter().filter(|(_, packs)| is_worth_it && (names_gone(packs) || is_small(packs)));
    replaced.collect()
}

/// Write the index anew as far as it names packs that are `gone`, and put small files together. Returns the files that
/// are replaced and can be removed.
///
/// # Errors
/// When the store does not take a file.
pub fn save_index_without(
    repository: &Repository,
    files: &[(Digest, Vec<IndexedPack>)],
    gone: &HashSet<Digest>,
) -> Result<Vec<Digest>> {
    let replaced = replaced(files, gone);
    let mut stay: BTreeMap<Digest, Vec<PackedBlob>> = BTreeMap::new();
    for pack in replaced.iter().flat_map(|(_, packs)| packs).filter(|pack| !gone.contains(&pack.id)) {
        join_blobs(stay.entry(pack.id).or_default(), &pack.blobs);
    }
    let packs: Vec<_> = stay.into_iter().map(|(id, blobs)| IndexedPack { id, blobs }).collect();
    for batch in batches(&packs) {
        repository.save_file(FileKind::Index, &index::encode_file(batch))?;
    }
    Ok(replaced.iter().map(|(id, _)| *id).collect())
}

/// Cut `packs` into the contents of index files.
pub(crate) fn batches(packs: &[IndexedPack]) -> impl Iterator<Item = &[IndexedPack]> {
    let mut blobs = 0;
    packs.chunk_by(move |pack, next| {
        blobs += pack.blobs.len();
        let goes_on = blobs + next.blobs.len() <= FILE_BLOBS_MAX;
        blobs = if goes_on { blobs } else { 0 };
        goes_on
    })
}
