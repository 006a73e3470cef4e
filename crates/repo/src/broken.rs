//! Packs that somebody has read and found damaged, or missing: nothing new may rest on them.
//!
//! Form: the note `x/mark/broken/<pack>`, beside prune's marks, so that one listing tells both; its name says that a pack
//! is broken, its value why. Invariants: a writer that begins afterwards stores anew what such a pack holds, which heals
//! whatever else needs the same bytes; readers lose nothing, and find the other copy by themselves. The name alone is
//! believed: at worst something is stored twice. What is only missing is whole again when it is listed again; of what was
//! damaged, only who reads all of it knows that.

use std::collections::HashSet;

use model::digest::Digest;

pub use crate::broken_packs::{BrokenPacks, Why};
use crate::error::{RepoError, Result};
use crate::repository::Repository;

/// Below the folder of marks.
const FOLDER: &str = "broken/";

/// The pack that a note in the folder of marks is about.
pub(crate) fn pack_of(name: &str) -> Option<Digest> {
    name.strip_prefix(FOLDER)?.parse().ok()
}

/// Write down that `packs` are broken, and why.
///
/// # Errors
/// When the store does not take it.
pub fn note(repository: &Repository, packs: &BrokenPacks) -> Result<()> {
    for (pack, why) in packs.iter() {
        let is_said = repository.put_note(&name(&pack), &why)?
            || why == Why::Missing
            || why_of(repository, &pack)? == why;
        if !is_said {
            // That it is missing would be taken back as soon as it is listed.
            repository.delete_note(&name(&pack))?;
            repository.put_note(&name(&pack), &why)?;
        }
    }
    Ok(())
}

/// Why that was written down of `pack`; what nobody can read counts as the worse.
///
/// # Errors
/// When the store cannot tell.
pub fn why_of(repository: &Repository, pack: &Digest) -> Result<Why> {
    match repository.load_note(&name(pack)) {
        Err(error) if error.is_damage() => Ok(Why::Damaged),
        // Taken back meanwhile: there is nothing to take back any more.
        Err(RepoError::Store(error)) if error.is_not_found() => Ok(Why::Damaged),
        why => why,
    }
}

/// The packs of which that is written down.
///
/// # Errors
/// When the store cannot list.
pub fn list(repository: &Repository) -> Result<HashSet<Digest>> {
    Ok(repository.list_notes("mark")?.iter().filter_map(|(name, _)| pack_of(name)).collect())
}

/// Take it back: they are whole again, or gone.
///
/// # Errors
/// When the store refuses.
pub fn forget<'a>(repository: &Repository, packs: impl IntoIterator<Item = &'a Digest>) -> Result<()> {
    packs.into_iter().try_for_each(|pack| repository.delete_note(&name(pack)))
}

fn name(pack: &Digest) -> String {
    format!("mark/{FOLDER}{pack}")
}
