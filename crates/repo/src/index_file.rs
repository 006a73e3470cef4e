//! The index files of the repository: which blobs each pack holds.
//!
//! Form: `{"packs":[{"id","blobs":[{"id","type","offset","length","uncompressed_length"?}]}]}`. All blobs of a pack
//! stand in one file; a pack may stand in several files, a blob in several packs.

use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::blob::{BLOB_LEN_MAX, BlobKind, PackedBlob};
use crate::crypto::OVERHEAD;
use crate::error::{RepoError, Result};

/// Blobs of one index file at most, by restic's convention.
pub const FILE_BLOBS_MAX: usize = 50_000;

/// One pack and its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// Name of the pack.
    pub id: Digest,
    /// What it holds, in order of their offsets.
    pub blobs: Vec<PackedBlob>,
}

impl IndexedPack {
    /// Bytes of the pack's blobs, without its header.
    pub fn blobs_len(&self) -> u64 {
        self.blobs.iter().map(|blob| u64::from(blob.length)).sum()
    }
}

#[derive(Serialize, Deserialize)]
struct FileForm {
    packs: Vec<PackForm>,
}

#[derive(Serialize, Deserialize)]
struct PackForm {
    id: Digest,
    blobs: Vec<BlobForm>,
}

#[derive(Serialize, Deserialize)]
struct BlobForm {
    id: Digest,
    r#type: KindForm,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindForm {
    Data,
    Tree,
}

/// The JSON of an index file.
pub fn encode_file(packs: &[IndexedPack]) -> Vec<u8> {
    let blob = |blob: &PackedBlob| BlobForm {
        id: blob.id,
        r#type: if blob.kind == BlobKind::Tree { KindForm::Tree } else { KindForm::Data },
        offset: blob.offset,
        length: blob.length,
        uncompressed_length: blob.raw_length,
    };
    let pack = |pack: &IndexedPack| PackForm { id: pack.id, blobs: pack.blobs.iter().map(blob).collect() };
    let form = FileForm { packs: packs.iter().map(pack).collect() };
    serde_json::to_vec(&form).expect("numbers and digits always serialise")
}

/// Read the JSON of an index file called `what`.
///
/// # Errors
/// [`RepoError::Damaged`].
pub fn decode_file(json: &[u8], what: &str) -> Result<Vec<IndexedPack>> {
    let form: FileForm = serde_json::from_slice(json).map_err(|error| RepoError::damaged(what, error))?;
    let blob = |blob: BlobForm| {
        let kind = if matches!(blob.r#type, KindForm::Tree) { BlobKind::Tree } else { BlobKind::Data };
        let fits = blob.length as usize >= OVERHEAD && blob.offset.checked_add(blob.length).is_some();
        // restic writes 0 or leaves it out for blobs that are not compressed.
        let raw_length = blob.uncompressed_length.filter(|len| *len > 0);
        // As in a pack's own header: nobody reserves room for more.
        let fits = fits && blob.length <= BLOB_LEN_MAX && raw_length.is_none_or(|len| len <= BLOB_LEN_MAX);
        fits.then_some(PackedBlob { id: blob.id, kind, offset: blob.offset, length: blob.length, raw_length })
    };
    let pack = |pack: PackForm| {
        let blobs: Option<Vec<_>> = pack.blobs.into_iter().map(blob).collect();
        Some(IndexedPack { id: pack.id, blobs: blobs? })
    };
    let packs: Option<Vec<_>> = form.packs.into_iter().map(pack).collect();
    packs.ok_or_else(|| RepoError::damaged(what, "lists a blob beyond any pack"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Vec<IndexedPack> {
        let blob = |n: u8, kind, raw_length| PackedBlob {
            id: Digest([n; 32]),
            kind,
            offset: 5,
            length: 40,
            raw_length,
        };
        vec![
            IndexedPack {
                id: Digest([9; 32]),
                blobs: vec![blob(1, BlobKind::Data, Some(77)), blob(2, BlobKind::Data, None)],
            },
            IndexedPack { id: Digest([8; 32]), blobs: vec![blob(1, BlobKind::Tree, None)] },
        ]
    }

    #[test]
    fn a_file_is_read_back() {
        assert_eq!(decode_file(&encode_file(&sample()), "index").unwrap(), sample());
    }

    #[test]
    fn damaged_files_are_named() {
        let short =
            String::from_utf8(encode_file(&sample())).unwrap().replace("\"length\":40", "\"length\":4");
        for json in [&b""[..], b"{}", b"[1]", short.as_bytes()] {
            let error = decode_file(json, "index ab").unwrap_err();
            assert!(error.is_damage() && error.to_string().contains("index ab"), "{error}");
        }
    }
}
