//! What lost packs held: written down when the index forgets it, so that the holes keep their lengths.
//!
//! Form: the note `x/lost/<pack>` lists id, kind and plaintext length of each blob. Notes are never needed for
//! reading; without them a hole is cut out instead of filled.

use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::blob::{BlobId, BlobKind, PackedBlob};
use crate::error::Result;
use crate::index::IdMap;
use crate::repository::Repository;

#[derive(Serialize, Deserialize)]
struct LostBlob {
    id: BlobId,
    kind: String,
    length: u32,
}

/// Write down what the pack `id` held.
///
/// # Errors
/// When the store does not take it.
pub(super) fn save(repository: &Repository, id: &Digest, blobs: &[PackedBlob]) -> Result<()> {
    let lost = |blob: &PackedBlob| LostBlob {
        id: blob.id,
        kind: blob.kind.as_str().to_owned(),
        length: blob.plain_length(),
    };
    let blobs: Vec<_> = blobs.iter().map(lost).collect();
    // A note that is there was written when the same pack was lost before, and says the same.
    repository.put_note(&format!("lost/{id}"), &blobs).map(|_| ())
}

/// Plaintext lengths of all data blobs that any note mentions. A note that does not open only tells less.
///
/// # Errors
/// When the store cannot list.
pub fn lengths(repository: &Repository) -> Result<IdMap<u32>> {
    let mut lengths = IdMap::default();
    for (name, _) in repository.list_notes("lost")? {
        let note: Result<Vec<LostBlob>> = repository.load_note(&format!("lost/{name}"));
        let data = note.into_iter().flatten().filter(|blob| blob.kind == BlobKind::Data.as_str());
        lengths.extend(data.map(|blob| (blob.id, blob.length)));
    }
    Ok(lengths)
}
