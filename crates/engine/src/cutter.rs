//! How large the chunks of a source are, and the secret that decides where they are cut.
//!
//! Form of the secret: `x/chunker`, made with the first backup and the same for ever: another seed would find
//! nothing of what is stored.

use repo::chunk::{Cutter, SEED_LEN};
use repo::{RepoError, Repository};
use serde::{Deserialize, Serialize};

use crate::error::Result;

const NAME: &str = "chunker";

#[derive(Serialize, Deserialize)]
struct Chunker {
    seed: [u8; SEED_LEN],
}

/// Nominal bytes of a chunk for a source of `size` bytes: small chunks halve every later dump, and would be too many
/// for large sources.
pub fn size_for(size: u64) -> usize {
    match size >> 30 {
        0..16 => 64 << 10,
        16..256 => 256 << 10,
        _ => 1 << 20,
    }
}

/// The cutter of this repository for chunks of nominally `size` bytes.
///
/// # Errors
/// Damage to the secret, or a store that does not take a new one.
pub fn load(repository: &Repository, size: usize) -> Result<Cutter> {
    let chunker = match repository.load_note::<Chunker>(NAME) {
        Err(RepoError::Store(error)) if error.is_not_found() => make(repository)?,
        other => other?,
    };
    Ok(Cutter::new(&chunker.seed, size))
}

/// Let backups into `target` cut as those into `source` do, where they do not cut yet: then they find what was
/// copied.
///
/// # Errors
/// Damage to the secret, or a store that does not take it.
pub fn copy_seed(source: &Repository, target: &Repository) -> Result<()> {
    match source.load_note::<Chunker>(NAME) {
        Err(RepoError::Store(error)) if error.is_not_found() => Ok(()),
        other => Ok(target.put_note(NAME, &other?).map(|_| ())?),
    }
}

fn make(repository: &Repository) -> Result<Chunker> {
    let mut seed = [0; SEED_LEN];
    getrandom::fill(&mut seed).map_err(RepoError::from)?;
    repository.put_note(NAME, &Chunker { seed })?;
    // Of two that made one at the same time, the first counts.
    Ok(repository.load_note(NAME)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_sources_have_larger_chunks() {
        let sizes = [0, 15 << 30, 16 << 30, 255 << 30, 256 << 30].map(size_for);
        assert_eq!(sizes, [64 << 10, 64 << 10, 256 << 10, 256 << 10, 1 << 20]);
    }
}
