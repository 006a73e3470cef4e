//! A repository that was given up for another one: whoever would still back up into it is told.
//!
//! Form: the note `x/retired/to`. Invariants: it is written while nobody else makes backups in the repository, after everything
//! was seen to be in the other one; so what is backed up is either there too, or was refused. Who archives WAL announces
//! himself to nobody, and looks for the note behind each object that he has put: what he was told is archived was there
//! before the note, and whoever wrote that looks for such objects once more.

use jiff::Timestamp;
use repo::{RepoError, Repository};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};

/// In a folder of its own: that it is not there is asked for behind each segment, and costs a pair of stores a listing.
const NAME: &str = "retired/to";

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// When.
    pub at: Timestamp,
    /// Address of the repository that has everything.
    pub to: String,
}

/// The note, where there is one.
///
/// # Errors
/// What the store says.
pub fn load(repository: &Repository) -> Result<Option<Retired>> {
    match repository.load_note(NAME) {
        Ok(retired) => Ok(Some(retired)),
        Err(RepoError::Store(error)) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Nothing is to be added to a repository that was given up.
///
/// # Errors
/// [`EngineError::Retired`] where it was.
pub fn refuse(repository: &Repository) -> Result<()> {
    match load(repository)? {
        None => Ok(()),
        Some(Retired { at, to }) => {
            Err(EngineError::Retired { place: repository.store().location(), at, to })
        }
    }
}

/// Write the note; false where there is one.
pub(crate) fn save(repository: &Repository, to: String, at: Timestamp) -> Result<bool> {
    Ok(repository.put_note(NAME, &Retired { at, to })?)
}

/// Take it into use again.
pub(crate) fn clear(repository: &Repository) -> Result<()> {
    match load(repository)? {
        Some(_) => Ok(repository.delete_note(NAME)?),
        None => Ok(()),
    }
}
