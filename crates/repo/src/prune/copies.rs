//! A copy of a blob is given up only when the one that stays was read just before, and fits its name.
//!
//! Of a blob that is stored several times one copy counts; the others go with their packs, unread. Were the one that
//! counts damaged, and nobody had noticed, the last good copy would go. So the copies that stay are read before
//! anything goes: as many bytes as their doubles have that go, and some 300 bytes of memory for each. One that is not
//! sound makes the plan void, as any damage does; `repair` then lets the good one count.

use std::collections::HashSet;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;

use crate::error::{RepoError, Result};
use crate::index::Index;
use crate::prune::rewrite::wanted_of;
use crate::prune::survey::Survey;
use crate::repository::Repository;

/// Read every copy that stays of a blob of which `gone` packs hold another one, but in packs that this run stored itself: those
/// are `new`. What is repacked is read anyway.
///
/// # Errors
/// The first copy that is not sound; what the store says.
pub fn verify_staying(
    repository: &Repository,
    survey: &Survey,
    gone: &HashSet<Digest>,
    new: &HashSet<Digest>,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let mut packs = survey.copies_that_stay(gone);
    packs.retain(|pack| !new.contains(&pack.id));
    let mut index = Index::default();
    index.add(&packs, |_| false);
    let mut wanted: Vec<_> = wanted_of(&packs, &index)?.into_iter().map(|(_, one)| one).collect();
    progress.begin("reading copies that stay", wanted.iter().map(|one| u64::from(one.place.length)).sum());
    repository.read_packed(&index, &mut wanted, cancel, |one, plain| match plain {
        Ok(_) => {
            progress.advance(one.place.length.into());
            progress.item();
            Ok(())
        }
        Err(error) if error.is_damage() => Err(RepoError::damaged(
            format!("blob {} in pack {}", one.id.short(), index.pack_id(one.place.pack)),
            format!("{error}; another copy of it was about to go, so nothing is pruned"),
        )),
        Err(error) => Err(error),
    })
}
