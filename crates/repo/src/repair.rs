//! Getting a damaged repository to give what it still has: the index from the packs, sound blobs from bad packs.
//!
//! Invariants: no pack is removed here (what no index names any more is left to prune); an old index file goes only
//! when everything that it says, as far as it is true, stands in new ones; what was lost is noted with its lengths
//! before the index forgets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::digest::Digest;

use crate::blob::PackedBlob;
use crate::error::Result;
use crate::index::IndexedPack;
use crate::lease::{Identity, Lease};
use crate::prune::usage::join_blobs;
use crate::repository::Repository;

/// Name of the lease; there is one repair at a time.
const HOLDER: &str = "repair";

/// Work alone, unless nothing is changed anyway.
fn alone(repository: &Arc<Repository>, identity: &Identity, dry_run: bool) -> Result<Option<Lease>> {
    if dry_run {
        return Ok(None);
    }
    Lease::exclusive(repository, HOLDER, identity).map(Some)
}

/// Every pack of the index files, once, with all blobs that any of them names.
fn join_files(files: &[(Digest, Vec<IndexedPack>)]) -> Vec<IndexedPack> {
    let mut packs: BTreeMap<Digest, Vec<PackedBlob>> = BTreeMap::new();
    for pack in files.iter().flat_map(|(_, packs)| packs) {
        join_blobs(packs.entry(pack.id).or_default(), &pack.blobs);
    }
    packs.into_iter().map(|(id, blobs)| IndexedPack { id, blobs }).collect()
}

pub mod lost;
pub mod reindex;
pub mod salvage;
