//! Packs that somebody has read and found damaged, or missing: nothing new may rest on them.
//!
//! Form: the note `x/mark/broken/<pack>`, beside prune's marks, so that one listing tells both; its name says all.
//! Invariants: a writer that begins afterwards stores anew what such a pack holds, which heals whatever else needs the
//! same bytes; readers lose nothing, and find the other copy by themselves. The name alone is believed: at worst
//! something is stored twice.

use std::collections::HashSet;

use model::digest::Digest;

use crate::error::Result;
use crate::repository::Repository;

/// Below the folder of marks.
const FOLDER: &str = "broken/";

/// The pack that a note in the folder of marks is about.
pub(crate) fn pack_of(name: &str) -> Option<Digest> {
    name.strip_prefix(FOLDER)?.parse().ok()
}

/// Write down that `packs` are damaged.
///
/// # Errors
/// When the store does not take it.
pub fn note<'a>(repository: &Repository, packs: impl IntoIterator<Item = &'a Digest>) -> Result<()> {
    packs.into_iter().try_for_each(|pack| repository.put_note(&name(pack), &"damaged").map(drop))
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
