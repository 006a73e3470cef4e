//! Packs that prune wants to remove, and since when: the first of its two steps.
//!
//! Form: `x/mark/<generation>` lists all marked packs; the highest generation counts. Invariant: a writer that
//! begins after a mark was made stores anew what the marked pack holds, so a mark only ever loses readers.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::broken;
use crate::error::{RepoError, Result};
use crate::index::Index;
use crate::repository::Repository;

/// Marked packs, each with the time of its first mark.
pub type Marks = HashMap<Digest, Timestamp>;

#[derive(Serialize, Deserialize)]
struct Marked {
    pack: Digest,
    since: Timestamp,
}

/// The marks that count now.
///
/// # Errors
/// Damage to the newest list: guessing could delete what is needed, or keep writers from reusing anything.
pub fn load(repository: &Repository) -> Result<Marks> {
    load_with_broken(repository).map(|(marks, _)| marks)
}

/// The same, and the packs that are known to be damaged: all that nothing new may rest on.
///
/// # Errors
/// As [`load`].
pub fn load_with_broken(repository: &Repository) -> Result<(Marks, HashSet<Digest>)> {
    let noted = repository.list_notes("mark")?;
    let broken = noted.iter().filter_map(|(name, _)| broken::pack_of(name)).collect();
    let newest = noted.iter().filter_map(|(name, _)| name.parse::<u64>().ok()).max();
    let marked: Vec<Marked> = newest.map_or(Ok(vec![]), |newest| repository.load_note(&name(newest)))?;
    Ok((marked.into_iter().map(|Marked { pack, since }| (pack, since)).collect(), broken))
}

/// Replace the marks.
///
/// # Errors
/// [`RepoError::InUse`] where somebody else has just done so; or what the store says.
pub fn save(repository: &Repository, marks: &Marks) -> Result<()> {
    let generations = generations(repository)?;
    if marks.is_empty() && generations.is_empty() {
        return Ok(());
    }
    let next = generations.iter().max().map_or(0, |newest| newest + 1);
    let marked: Vec<_> = marks.iter().map(|(pack, since)| Marked { pack: *pack, since: *since }).collect();
    if !repository.put_note(&name(next), &marked)? {
        return Err(RepoError::InUse { holder: "another prune".to_owned() });
    }
    generations.into_iter().try_for_each(|old| repository.delete_note(&name(old)))
}

fn generations(repository: &Repository) -> Result<Vec<u64>> {
    Ok(repository.list_notes("mark")?.into_iter().filter_map(|(name, _)| name.parse().ok()).collect())
}

fn name(generation: u64) -> String {
    format!("mark/{generation:010}")
}

/// All blobs of the repository, as a writer must see them.
pub struct Known {
    /// What it may rely on.
    pub usable: Index,
    /// What stands in marked packs alone, or in broken ones: to be read while a lease is held, and stored anew where it is
    /// needed.
    pub marked: Index,
    /// Packs that are known to be damaged.
    pub broken: HashSet<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobKind;
    use crate::testing;

    #[test]
    fn the_newest_marks_count_and_writers_pass_marked_packs_over() {
        let repository = testing::repository();
        let id = testing::save(&repository, &[(BlobKind::Data, b"some bytes")])[0];
        let pack = repository.load_index_files().unwrap()[0].1[0].id;
        assert!(load(&repository).unwrap().is_empty());
        save(&repository, &Marks::from([(Digest([1; 32]), Timestamp::UNIX_EPOCH)])).unwrap();
        save(&repository, &Marks::from([(pack, Timestamp::UNIX_EPOCH)])).unwrap();
        assert_eq!(load(&repository).unwrap(), Marks::from([(pack, Timestamp::UNIX_EPOCH)]));
        assert_eq!(generations(&repository).unwrap(), [1]);
        assert!(!repository.load_index_for_writing().unwrap().has(BlobKind::Data, &id).unwrap());
        assert!(repository.load_index().unwrap().has(BlobKind::Data, &id).unwrap());
    }
}
