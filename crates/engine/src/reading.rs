//! The frame of everything that reads a backup: nobody prunes meanwhile.

use std::sync::Arc;

use repo::lease::{Identity, Lease};
use repo::{RepoError, Repository};
use store::{Refusal, StoreError};

use crate::error::Result;

/// A lease for as long as the value lives. A place that cannot be written cannot be pruned from here either, and a
/// restore from it must work: then there is no lease.
///
/// # Errors
/// [`RepoError::InUse`] while somebody prunes.
pub fn begin(repository: &Arc<Repository>, verb: &str, identity: &Identity) -> Result<Option<Lease>> {
    match Lease::reading(repository, verb, identity) {
        Ok(lease) => Ok(Some(lease)),
        Err(RepoError::Store(
            StoreError::Io { action: "write", .. }
            | StoreError::Refused { action: "write", why: Refusal::Denied(_) | Refusal::Past, .. },
        )) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
