//! One pack, byte by byte: which of its blobs are sound, and whether its own header agrees with the index.
//!
//! Every byte of a pack is covered: blobs and header have their tags, the trailer says where the header is, and each
//! blob fits its name. So the SHA-256 that names the pack would tell nothing more, and is not computed.

use model::cancel::CancelToken;
use model::progress::Progress;
use store::Range;

use crate::blob::PackedBlob;
use crate::error::{RepoError, Result};
use crate::index::IndexedPack;
use crate::opener::{BlobOpener, Sealed};
use crate::pack;
use crate::repository::{FileKind, Repository};
use crate::threads;

/// What a pack turned out to be.
#[derive(Debug)]
pub(crate) struct Examined {
    /// Blobs that do not open to what their name says.
    pub(crate) unsound: Vec<PackedBlob>,
    /// What is wrong with the pack, in words.
    pub(crate) problem: Option<RepoError>,
}

impl Examined {
    /// Nothing is known of its blobs, because reading the pack failed.
    pub(crate) fn unread(error: RepoError) -> Self {
        Self { unsound: vec![], problem: Some(error) }
    }
}

/// [`examine`] each of `packs`, on all cores.
///
/// # Errors
/// [`RepoError::Cancelled`]; what goes wrong with one pack stands in its place.
pub(crate) fn examine_all(
    repository: &Repository,
    packs: &[&IndexedPack],
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<Result<Examined>>> {
    let begin = || Ok((BlobOpener::new(repository.sealer())?, vec![]));
    let examined = threads::map_with(packs, begin, |(opener, stored), pack| {
        cancel.check()?;
        let examined = examine(repository, pack, stored, opener);
        progress.advance(pack.blobs_len());
        progress.item();
        examined
    })?;
    cancel.check()?;
    Ok(examined)
}

/// Read `pack` whole and look at each of its blobs. `stored` is a buffer that is reused.
///
/// # Errors
/// What the store says, but for a pack that is gone: that is damage, and found in the answer.
fn examine(
    repository: &Repository,
    pack: &IndexedPack,
    stored: &mut Vec<u8>,
    opener: &mut BlobOpener,
) -> Result<Examined> {
    let what = format!("pack {}", pack.id);
    match repository.read_pack(&FileKind::Pack.object(&pack.id), Range::All, stored) {
        Err(error) if error.is_damage() => {
            return Ok(Examined { unsound: pack.blobs.clone(), problem: Some(error) });
        }
        read => read?,
    }
    let mut listed = pack.blobs.clone();
    listed.sort_by_key(|blob| blob.offset);
    let sealed = listed.iter().map(|blob| Sealed {
        id: blob.id,
        // A pack that is too short gives nothing here, which opens as little as anything else that is damaged.
        bytes: stored
            .get(blob.offset as usize..)
            .and_then(|rest| rest.get(..blob.length as usize))
            .unwrap_or_default(),
        raw_length: blob.raw_length,
    });
    let mut unsound = vec![];
    opener.open_each(sealed, |number, opened| {
        if opened.is_err() {
            unsound.push(listed[number]);
        }
        Ok::<_, RepoError>(())
    })?;
    let problem = if unsound.is_empty() {
        match pack::blobs_of(stored, repository.sealer(), &what) {
            Err(error) => Some(error),
            Ok(found) if found != listed => {
                Some(RepoError::damaged(what, "its header and the index list different blobs"))
            }
            Ok(_) => None,
        }
    } else {
        let names: Vec<_> = unsound.iter().map(|blob| blob.id.short()).collect();
        let reason =
            format!("{} of its {} blobs are damaged: {}", unsound.len(), listed.len(), names.join(" "));
        Some(RepoError::damaged(what, reason))
    };
    Ok(Examined { unsound, problem })
}
