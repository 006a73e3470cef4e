//! The files that stand by themselves: index, snapshot, lock.
//!
//! Form: an envelope of `02 ‖ zstd(JSON)`, or of JSON that begins with `{` or `[`; the name is the SHA-256 of the
//! stored bytes, and every load compares them.

use std::sync::Arc;

use model::digest::Digest;
use store::{Key as ObjectKey, Store};

use crate::blob;
use crate::compression::{Compressor, LEVEL_DEFAULT, decompress_file};
use crate::crypto::Sealer;
use crate::error::{RepoError, Result};
use crate::index_file::{self, IndexedPack};
use crate::threads;

/// Decompressed bytes of a file at most.
const FILE_LEN_MAX: u64 = 1 << 30;
const COMPRESSED_MARK: u8 = 2;

/// The kinds of files that are named by their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Where blobs are.
    Index,
    /// What was backed up.
    Snapshot,
    /// Who is at work; restic's form.
    Lock,
    /// Ways in.
    Key,
    /// Packs of blobs.
    Pack,
}

impl FileKind {
    /// Its folder in the store.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Lock => "locks",
            Self::Key => "keys",
            Self::Pack => "data",
        }
    }

    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Snapshot => "snapshot",
            Self::Lock => "lock",
            Self::Key => "key",
            Self::Pack => "pack",
        }
    }

    /// The object that keeps the file `id`.
    pub fn object(self, id: &Digest) -> ObjectKey {
        let id = id.to_hex();
        let name = match self {
            Self::Pack => format!("data/{}/{id}", &id[..2]),
            _ => format!("{}/{id}", self.folder()),
        };
        name.parse().expect("digits and slashes are a key")
    }
}

/// A file's name, size and age, from a listing.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub id: Digest,
    /// Stored bytes.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub modified: std::time::SystemTime,
}

/// All files of a kind. Names that are no SHA-256 are not ours and are left out.
///
/// # Errors
/// When the store cannot list.
pub fn list(store: &dyn Store, kind: FileKind) -> Result<Vec<Listed>> {
    let objects = store.list(kind.folder())?.into_iter();
    let listed = objects.filter_map(|object| {
        let id = object.key.name().parse().ok()?;
        Some(Listed { id, size: object.size, modified: object.modified })
    });
    Ok(listed.collect())
}

/// What reads and writes such files.
#[derive(Clone)]
pub struct SealedFiles {
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// What opens them.
    pub sealer: Sealer,
    /// Whether new ones are compressed.
    pub compress: bool,
}

impl SealedFiles {
    /// Seal, compress and keep `json`.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn save(&self, kind: FileKind, json: &[u8]) -> Result<Digest> {
        let sealed = self.seal(json)?;
        let id = blob::id_of(&sealed);
        match self.store.put_new(&kind.object(&id), &sealed) {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(id),
        }
    }

    /// The JSON of a file.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] where its bytes are not what its name says, or do not open.
    pub fn load(&self, kind: FileKind, id: &Digest) -> Result<Vec<u8>> {
        let what = format!("{} {id}", kind.as_str());
        let sealed = store::store::read(&*self.store, &kind.object(id))?;
        if blob::id_of(&sealed) != *id {
            return Err(RepoError::damaged(what, "its bytes do not fit its name"));
        }
        self.open(&sealed, &what)
    }

    /// The stored form of `json`.
    ///
    /// # Errors
    /// When the operating system gives no random bytes or zstd no memory.
    pub fn seal(&self, json: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = vec![];
        if !self.compress {
            self.sealer.seal(json, &mut sealed)?;
            return Ok(sealed);
        }
        let mut compressor = Compressor::new(LEVEL_DEFAULT)?;
        match compressor.shorter(json) {
            Some(compressed) => self.sealer.seal(&[&[COMPRESSED_MARK], compressed].concat(), &mut sealed)?,
            None => self.sealer.seal(json, &mut sealed)?,
        }
        Ok(sealed)
    }

    /// The opposite of [`SealedFiles::seal`].
    ///
    /// # Errors
    /// [`RepoError::Damaged`] naming `what`.
    pub fn open(&self, sealed: &[u8], what: &str) -> Result<Vec<u8>> {
        let mut plain = vec![];
        self.sealer.open(sealed, &mut plain, &what)?;
        match plain.first() {
            Some(b'{' | b'[') => Ok(plain),
            Some(&COMPRESSED_MARK) => decompress_file(&plain[1..], FILE_LEN_MAX, what),
            _ => Err(RepoError::damaged(what, "opens to something unknown")),
        }
    }

    /// What each of the index files `listed` says, or why that cannot be said.
    ///
    /// # Errors
    /// Only where a thread stopped unexpectedly.
    pub fn try_load_index(&self, listed: &[Listed]) -> Result<Vec<(Digest, Result<Vec<IndexedPack>>)>> {
        threads::map_waiting(listed, |listed| {
            let json = self.load(FileKind::Index, &listed.id);
            let packs = json.and_then(|json| index_file::decode_file(&json, &format!("index {}", listed.id)));
            (listed.id, packs)
        })
    }
}
