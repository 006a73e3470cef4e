//! Getting a damaged repository to give what it still has: the index from the packs, sound blobs from bad packs.
//!
//! Invariants: no pack is removed here (what no index names any more is left to prune); an old index file goes only
//! when everything that it says, as far as it is true, stands in new ones; what was lost is noted with its lengths
//! before the index forgets it.

use std::sync::Arc;

use crate::error::Result;
use crate::lease::{Identity, Lease};
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

pub mod lost;
pub mod reindex;
pub mod salvage;
