//! The index made true again: what the packs' own headers say, without packs that are gone.

use std::collections::HashMap;
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use serde::Serialize;
use store::Range;

use crate::blob::PackedBlob;
use crate::error::{RepoError, Result};
use crate::index::{self, IndexedPack};
use crate::lease::Identity;
use crate::pack;
use crate::parity::heal;
use crate::prune::rewrite::{batches, save_index_without};
use crate::prune::usage::join_files;
use crate::repair::{alone, lost};
use crate::repository::{FileKind, Listed, Repository};
use crate::threads;

/// What was wrong with the index, and is right now (or would be).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReindexReport {
    /// Index files that do not open.
    pub unreadable_files: Vec<Digest>,
    /// Packs that no readable index file named, or not with what they hold.
    pub added_packs: Vec<Digest>,
    /// Packs that were gone and that parity brought back (or, before it is tried, may bring back).
    pub healed_packs: Vec<Digest>,
    /// Packs that the index named and that are gone.
    pub lost_packs: Vec<Digest>,
    /// Packs in no index whose header does not open: nobody can say what they hold.
    pub unreadable_packs: Vec<Digest>,
    /// Packs that are in no index, and too cold to be looked into.
    pub cold_packs: Vec<Digest>,
}

impl ReindexReport {
    /// Whether anything was to be done.
    pub fn has_work(&self) -> bool {
        !(self.unreadable_files.is_empty() && self.added_packs.is_empty() && self.lost_packs.is_empty())
    }
}

/// Compare the index with the packs that are stored, and write what differs.
///
/// # Errors
/// [`RepoError::InUse`] while anybody is at work; what the store says. Damage is in the report.
pub fn repair_index(
    repository: &Arc<Repository>,
    identity: &Identity,
    dry_run: bool,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<ReindexReport> {
    let lease = alone(repository, identity, dry_run)?;
    progress.begin("comparing index and packs", 0);
    let mut report = ReindexReport::default();
    let mut files = vec![];
    for (id, packs) in repository.try_load_index_files()? {
        match packs {
            Ok(packs) => files.push((id, packs)),
            Err(error) if error.is_damage() => report.unreadable_files.push(id),
            Err(error) => return Err(error),
        }
    }
    let (files, indexed) = join_files(files);
    let stored: HashMap<Digest, Listed> =
        repository.list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed)).collect();
    // A pack of another length than its entry says is read anew; where its header does not open the entry stays, for
    // `repair packs` may find sound blobs by it.
    let is_unknown =
        |listed: &&Listed| indexed.get(&listed.id).is_none_or(|blobs| listed.size != pack::len_of(blobs));
    let unknown: Vec<_> = stored.values().filter(is_unknown).cloned().collect();
    let added = read_headers(repository, &unknown, &mut report, progress, cancel)?;
    report.added_packs = added.iter().map(|pack| pack.id).collect();
    let mut lost: Vec<_> = indexed.iter().filter(|(id, _)| !stored.contains_key(id)).collect();
    lost.sort_unstable_by_key(|(id, _)| **id);
    let gone = lost.iter().map(|(id, _)| **id).collect();
    report.healed_packs = match lease.is_some() {
        true => heal::heal(repository, &gone, progress)?,
        false => heal::healable(repository, &gone)?,
    };
    lost.retain(|(id, _)| !report.healed_packs.contains(id));
    report.lost_packs = lost.iter().map(|(id, _)| **id).collect();
    report.unreadable_packs.retain(|id| !indexed.contains_key(id));
    let ReindexReport { unreadable_files, added_packs, unreadable_packs, cold_packs, .. } = &mut report;
    for list in [unreadable_files, added_packs, unreadable_packs, cold_packs] {
        list.sort_unstable();
    }
    let Some(lease) = lease.filter(|_| report.has_work()) else { return Ok(report) };
    lost.iter().try_for_each(|(id, blobs)| lost::save(repository, id, blobs))?;
    for batch in batches(&added) {
        repository.save_file(FileKind::Index, &index::encode_file(batch))?;
    }
    // An entry that was wrong goes like one of a pack that is gone: the right one has just been written.
    let gone = report.lost_packs.iter().chain(&report.added_packs).copied().collect();
    let mut replaced = save_index_without(repository, &files, indexed.iter(), &gone)?;
    // What nobody can read may name what nobody could look into: gone, it would let those packs pass for unneeded.
    if report.cold_packs.is_empty() {
        replaced.extend(&report.unreadable_files);
    }
    for file in replaced {
        lease.check()?;
        repository.store().delete(&FileKind::Index.object(&file))?;
    }
    Ok(report)
}

fn read_headers(
    repository: &Repository,
    unknown: &[Listed],
    report: &mut ReindexReport,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<IndexedPack>> {
    progress.begin("reading headers of packs", 0);
    let read = threads::map(unknown, |listed| {
        cancel.check()?;
        progress.item();
        Ok(IndexedPack { id: listed.id, blobs: read_header(repository, listed)? })
    })?;
    let mut packs = vec![];
    for (listed, read) in unknown.iter().zip(read) {
        match read {
            Ok(pack) => packs.push(pack),
            Err(RepoError::Damaged { .. } | RepoError::PackGone { .. }) => {
                report.unreadable_packs.push(listed.id)
            }
            Err(error) if error.is_too_cold() => report.cold_packs.push(listed.id),
            Err(error) => return Err(error),
        }
    }
    packs.sort_by_key(|pack| pack.id);
    Ok(packs)
}

/// The blobs of one pack, from its end; two reads, whatever its size.
fn read_header(repository: &Repository, listed: &Listed) -> Result<Vec<PackedBlob>> {
    let what = format!("pack {}", listed.id);
    let object = FileKind::Pack.object(&listed.id);
    let trailer_len = pack::TRAILER_LEN as u64;
    let mut end = vec![];
    let Some(offset) = listed.size.checked_sub(trailer_len) else {
        return Err(RepoError::damaged(what, "too short"));
    };
    repository.read_pack(&object, Range::Bytes { offset, len: trailer_len }, &mut end)?;
    let header_len = end.first_chunk::<4>().map_or(0, |len| u64::from(u32::from_le_bytes(*len)));
    let Some(offset) = offset.checked_sub(header_len).filter(|_| header_len <= pack::HEADER_LEN_MAX as u64)
    else {
        return Err(RepoError::damaged(what, "its header length is out of bounds"));
    };
    repository.read_pack(&object, Range::Bytes { offset, len: header_len }, &mut end)?;
    let mut header = vec![];
    repository.sealer().open(&end, &mut header, &format!("header of {what}"))?;
    pack::decode_header(&header, offset)
        .ok_or_else(|| RepoError::damaged(what, "its header lists other blobs than it has"))
}
