//! Packs that somebody has read and found damaged, or missing: nothing new may rest on them.
//!
//! Form: the note `x/mark/broken/<pack>`, or `<pack>-missing`, beside prune's marks, so that one listing tells both.
//! Invariants: a writer that begins afterwards stores anew what such a pack holds, which heals whatever else needs the same
//! bytes; readers lose nothing, and find the other copy by themselves. The name alone is believed: at worst something is
//! stored twice. What is only missing is whole again when it is listed again; of what was damaged, only who reads all of it
//! knows that.

use std::collections::HashSet;

use model::digest::Digest;

pub use crate::broken_packs::{BrokenPacks, Why};
use crate::error::{RepoError, Result};
use crate::repository::Repository;

/// Below the folder of marks.
const FOLDER: &str = "broken/";
/// Behind the name of a pack of which nothing is known but that it was not there.
const MISSING: &str = "-missing";

/// The pack that a note in the folder of marks is about.
pub(crate) fn pack_of(name: &str) -> Option<Digest> {
    let pack = name.strip_prefix(FOLDER)?;
    pack.strip_suffix(MISSING).unwrap_or(pack).parse().ok()
}

/// Write down that `packs` are broken, and why: each by itself, also where another one is refused.
///
/// # Errors
/// What the store said of the first that it does not take.
pub fn note(repository: &Repository, packs: &BrokenPacks) -> Result<()> {
    let notes = packs.iter().map(|(pack, why)| repository.put_note(&name(&pack, why), &why).map(drop));
    notes.fold(Ok(()), Result::and)
}

/// Why that was written down of `pack`; what nobody can read counts as the worse.
///
/// # Errors
/// When the store cannot tell.
pub fn why_of(repository: &Repository, pack: &Digest) -> Result<Why> {
    match repository.load_note::<Why>(&name(pack, Why::Damaged)) {
        Err(RepoError::Store(error)) if error.is_not_found() => Ok(Why::Missing),
        Err(error) if !error.is_damage() => Err(error),
        _ => Ok(Why::Damaged),
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
    packs.into_iter().try_for_each(|pack| {
        [Why::Missing, Why::Damaged].into_iter().try_for_each(|why| repository.delete_note(&name(pack, why)))
    })
}

/// A second name for the worse of the two: who may only create can say it, whatever was said before.
fn name(pack: &Digest, why: Why) -> String {
    let suffix = if why == Why::Missing { MISSING } else { "" };
    format!("mark/{FOLDER}{pack}{suffix}")
}
