//! Moving needed blobs out of packs that go, and index files that no longer name those packs.
//!
//! Invariant: both only add. What they replace is removed by the caller, when everything new is stored.

use std::collections::HashSet;
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;

use crate::blob::{BlobKind, PackedBlob};
use crate::error::{RepoError, Result};
use crate::index::{self, FILE_BLOBS_MAX, Index, IndexedPack};
use crate::packer::{Failure, Guard, Packer};
use crate::prune::usage::IndexFile;
use crate::reader::Wanted;
use crate::repository::{FileKind, Repository};

/// Index files with fewer blobs are put together when the index is written anyway.
const FILE_BLOBS_FEW: usize = FILE_BLOBS_MAX / 4;
/// So many of those are worth writing the index for: each costs everybody who opens the repository a request.
const SMALL_FILES: usize = 64;

/// Store the blobs of `packs`, which are some of `packs_all`, once more, each envelope as it is after it was opened and
/// compared with its name. Returns the packs that they stand in now.
///
/// # Errors
/// The first blob that is not sound; nothing was changed then.
pub fn repack(
    repository: &Arc<Repository>,
    packs: &[IndexedPack],
    packs_all: usize,
    guard: &Guard,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<Digest>> {
    let mut index = Index::default();
    index.add(packs, |_| false);
    let mut wanted = wanted_of(packs, &index)?;
    progress.begin("repacking", wanted.iter().map(|(_, one)| u64::from(one.place.length)).sum());
    let failure = Arc::new(Failure::default());
    let (packer, uploads) =
        Packer::start(repository, repository.budget().pack_len(packs_all), &failure, guard);
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
    uploads.finish().and_then(|stored| outcome.map(|()| stored))
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
pub fn replaced<'a>(files: &'a [IndexFile], gone: &HashSet<Digest>) -> Vec<&'a IndexFile> {
    let names_gone = |file: &IndexFile| file.packs.iter().any(|pack| gone.contains(pack));
    let is_small = |file: &IndexFile| file.blobs < FILE_BLOBS_FEW;
    let is_worth_it =
        files.iter().filter(|file| is_small(file)).count() >= SMALL_FILES || files.iter().any(names_gone);
    files.iter().filter(|file| is_worth_it && (names_gone(file) || is_small(file))).collect()
}

/// Write the index anew as far as it names packs that are `gone`, and put small files together: `packs` are those that
/// any of the `files` names, with all their blobs. Returns the files that are replaced and can be removed.
///
/// # Errors
/// When the store does not take a file.
pub fn save_index_without<'a>(
    repository: &Repository,
    files: &[IndexFile],
    packs: impl Iterator<Item = (&'a Digest, &'a Vec<PackedBlob>)>,
    gone: &HashSet<Digest>,
) -> Result<Vec<Digest>> {
    let replaced = replaced(files, gone);
    let named: HashSet<_> = replaced.iter().flat_map(|file| &file.packs).collect();
    // One file's worth stands in memory once more.
    let mut batch: Vec<IndexedPack> = vec![];
    let mut blobs_of_batch = 0;
    let save = |batch: Vec<IndexedPack>| match batch.is_empty() {
        true => Ok(()),
        false => repository.save_file(FileKind::Index, &index::encode_file(&batch)).map(drop),
    };
    for (id, blobs) in packs.filter(|(id, _)| named.contains(id) && !gone.contains(id)) {
        if blobs_of_batch + blobs.len() > FILE_BLOBS_MAX {
            save(std::mem::take(&mut batch))?;
            blobs_of_batch = 0;
        }
        blobs_of_batch += blobs.len();
        batch.push(IndexedPack { id: *id, blobs: blobs.clone() });
    }
    save(batch)?;
    Ok(replaced.iter().map(|file| file.id).collect())
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
