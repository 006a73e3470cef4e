//! Where each blob is: the index files of the repository, and their sum in memory.
//!
//! Form of a file: `{"packs":[{"id","blobs":[{"id","type","offset","length","uncompressed_length"?}]}]}`. All
//! blobs of a pack stand in one file; a pack may stand in several files, a blob in several packs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::blob::{BLOB_LEN_MAX, BlobId, BlobKind, PackedBlob};
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

/// Where one blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the pack in [`Index::pack_id`].
    pub pack: u32,
    /// First byte of its envelope.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Plaintext bytes where compressed, otherwise 0.
    raw_length: u32,
}

impl Place {
    /// Bytes of the plaintext.
    pub fn plain_length(&self) -> u32 {
        if self.raw_length > 0 { self.raw_length } else { self.length - OVERHEAD as u32 }
    }

    /// Plaintext bytes where the blob is compressed.
    pub fn compressed_from(&self) -> Option<u32> {
        (self.raw_length > 0).then_some(self.raw_length)
    }
}

/// Ids are SHA-256 already: eight bytes of them are as good a hash as any.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

/// A map by blob id.
pub type IdMap<V> = HashMap<BlobId, V, BuildHasherDefault<IdHasher>>;
/// A set of blob ids.
pub type IdSet = std::collections::HashSet<BlobId, BuildHasherDefault<IdHasher>>;

/// All blobs of the repository.
#[derive(Default)]
pub struct Index {
    packs: Vec<Digest>,
    data: IdMap<Place>,
    trees: IdMap<Place>,
}

impl Index {
    /// Take in the packs of one index file, leaving out those that `is_doomed`.
    pub fn add(&mut self, packs: &[IndexedPack], is_doomed: impl Fn(&Digest) -> bool) {
        for pack in packs.iter().filter(|pack| !is_doomed(&pack.id)) {
            let number = self.packs.len() as u32;
            self.packs.push(pack.id);
            self.map(BlobKind::Data).reserve(pack.blobs.len());
            for blob in &pack.blobs {
                let raw_length = blob.raw_length.unwrap_or(0);
                let place = Place { pack: number, offset: blob.offset, length: blob.length, raw_length };
                if let Entry::Vacant(vacant) = self.map(blob.kind).entry(blob.id) {
                    vacant.insert(place);
                }
            }
        }
    }

    fn map(&mut self, kind: BlobKind) -> &mut IdMap<Place> {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    /// Where a blob is, if it is anywhere.
    pub fn find(&self, kind: BlobKind, id: &BlobId) -> Option<Place> {
        match kind {
            BlobKind::Data => self.data.get(id).copied(),
            BlobKind::Tree => self.trees.get(id).copied(),
        }
    }

    /// The same, as an error where it is nowhere.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`].
    pub fn require(&self, kind: BlobKind, id: &BlobId) -> Result<Place> {
        self.find(kind, id).ok_or(RepoError::MissingBlob { id: *id })
    }

    /// Name of a pack by its number.
    pub fn pack_id(&self, number: u32) -> Digest {
        self.packs[number as usize]
    }

    /// Number of blobs.
    pub fn len(&self) -> usize {
        self.data.len() + self.trees.len()
    }

    /// Whether it knows no blob at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<IndexedPack> {
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
    fn kinds_are_kept_apart_and_lengths_told() {
        let mut index = Index::default();
        index.add(&sample(), |_| false);
        let data = index.find(BlobKind::Data, &Digest([1; 32])).unwrap();
        let tree = index.find(BlobKind::Tree, &Digest([1; 32])).unwrap();
        assert_eq!((data.plain_length(), tree.plain_length()), (77, 40 - 32));
        assert_eq!((index.pack_id(data.pack), index.pack_id(tree.pack)), (Digest([9; 32]), Digest([8; 32])));
        assert!(index.find(BlobKind::Tree, &Digest([2; 32])).is_none());
    }

    #[test]
    fn doomed_packs_are_left_out() {
        let mut index = Index::default();
        index.add(&sample(), |pack| *pack == Digest([9; 32]));
        assert_eq!(index.len(), 1);
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
