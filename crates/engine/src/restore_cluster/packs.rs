//! Whether what a restore reads is there: every pack of it, as the store lists them.
//!
//! An index says where a blob was put, and not that the pack is there still. One listing, before anything is made. Of a pack
//! that is gone the blobs may have second copies in others: they are read then, here, and only what nobody has is missing.

use std::collections::HashSet;

use model::digest::Digest;
use repo::BlobKind;
use repo::repository::FileKind;

use super::links::{Draft, Links, Met};
use super::merged::{Stored, needed};
use crate::error::Result;
use crate::stored_tree::TreeSource;

/// That all of `packs`, by their numbers in the index, are there, or second copies of what the files that `is_read` of `links`
/// have in them.
///
/// # Errors
/// [`repo::RepoError::Damaged`] for what is nowhere; when the store cannot list.
pub(super) fn verify(
    packs: &HashSet<u32>,
    stored: Stored<'_>,
    (links, trees): (&Links, &mut TreeSource<'_>),
    is_read: impl Fn(&Draft) -> bool,
) -> Result<()> {
    let Stored { repository, index, cancel } = stored;
    let there: HashSet<Digest> = repository.list(FileKind::Pack)?.iter().map(|pack| pack.id).collect();
    let is_gone = |pack: &u32| !there.contains(&index.pack_id(*pack));
    let gone: HashSet<u32> = packs.iter().copied().filter(is_gone).collect();
    if gone.is_empty() {
        return Ok(());
    }
    let mut walk = links.walk();
    while let Some(met) = walk.next(trees) {
        cancel.check()?;
        let Met::File(draft) = met? else { continue };
        if !is_read(&draft) {
            continue;
        }
        for id in draft.versions.iter().flat_map(|version| &version.content) {
            if gone.contains(&index.require(BlobKind::Data, id)?.pack) {
                repository.read_blob(index, BlobKind::Data, id).map_err(needed)?;
            }
        }
    }
    Ok(())
}
