//! An open repository: its store, its key, its configuration, and the files that stand by themselves.
//!
//! Form of such a file (index, snapshot, lock): an envelope of `02 ‖ zstd(JSON)`, or of JSON that begins with
//! `{` or `[`; its name is the SHA-256 of the stored bytes, and every load compares them. Invariant: a repository
//! is never made where anything of one exists.

use std::sync::Arc;

use model::digest::Digest;
use model::secret::Secret;
use sha2::{Digest as _, Sha256};
use store::{Key as ObjectKey, Range, Store, StoreError};

use crate::blob::{self, BlobId, BlobKind};
use crate::compression::{Compressor, LEVEL_DEFAULT, decompress_file};
use crate::config::Config;
use crate::crypto::{Key, Sealer};
use crate::error::{RepoError, Result};
use crate::index::{self, Index, IndexedPack};
use crate::key_file::KeyFile;
use crate::snapshot_file::SnapshotFile;
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

/// An open repository.
pub struct Repository {
    store: Arc<dyn Store>,
    key: Key,
    sealer: Sealer,
    config: Config,
    key_id: Digest,
}

impl Repository {
    /// Make a repository that opens with `password`.
    ///
    /// # Errors
    /// [`RepoError::Exists`] where there is one, or a part of one.
    pub fn init(store: Arc<dyn Store>, password: &Secret, username: &str, hostname: &str) -> Result<Self> {
        let place = store.location();
        for folder in ["keys", "snapshots", "index", "data"] {
            if !store.list(folder)?.is_empty() {
                return Err(RepoError::Exists { place });
            }
        }
        if store::store::read(&*store, &config_object()).is_ok() {
            return Err(RepoError::Exists { place });
        }
        let key = Key::random()?;
        let config = Config::random()?;
        let sealer = key.sealer();
        let key_file = KeyFile::seal(&key, password, username, hostname)?;
        let key_id = put_key(&*store, &key_file)?;
        let mut sealed = vec![];
        sealer
            .seal(&serde_json::to_vec(&config).map_err(|e| RepoError::System(e.to_string()))?, &mut sealed)?;
        // The configuration comes last and decides between two that begin at once.
        match store.put_new(&config_object(), &sealed) {
            Ok(()) => Ok(Self { store, key, sealer, config, key_id }),
            Err(error) if error.is_already_exists() => {
                store.delete(&FileKind::Key.object(&key_id))?;
                Err(RepoError::Exists { place })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Open the repository in `store`.
    ///
    /// # Errors
    /// [`RepoError::NoRepository`], [`RepoError::WrongPassword`], [`RepoError::Version`], or damage.
    pub fn open(store: Arc<dyn Store>, password: &Secret) -> Result<Self> {
        let place = store.location();
        let sealed_config = match store::store::read(&*store, &config_object()) {
            Err(StoreError::NotFound { .. }) => return Err(RepoError::NoRepository { place }),
            other => other?,
        };
        let (key, key_id) = find_key(&*store, password)?;
        let sealer = key.sealer();
        let mut json = vec![];
        sealer.open(&sealed_config, &mut json, &"config")?;
        let config = Config::parse(&json, &place)?;
        Ok(Self { store, key, sealer, config, key_id })
    }

    /// Where the repository is kept.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What seals and opens every byte.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The repository's key, for sealing it under another password.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The key file that opened it.
    pub fn key_id(&self) -> Digest {
        self.key_id
    }

    /// All files of a kind. Names that are no SHA-256 are not ours and are left out.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn list(&self, kind: FileKind) -> Result<Vec<Listed>> {
        list(&*self.store, kind)
    }

    /// Seal, compress and keep `json`.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn save_file(&self, kind: FileKind, json: &[u8]) -> Result<Digest> {
        let sealed = self.seal_json(json)?;
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
    pub fn load_file(&self, kind: FileKind, id: &Digest) -> Result<Vec<u8>> {
        let what = format!("{} {id}", kind.as_str());
        let sealed = store::store::read(&*self.store, &kind.object(id))?;
        if blob::id_of(&sealed) != *id {
            return Err(RepoError::damaged(what, "its bytes do not fit its name"));
        }
        self.open_json(&sealed, &what)
    }

    pub(crate) fn seal_json(&self, json: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = vec![];
        if !self.config.has_compression() {
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

    pub(crate) fn open_json(&self, sealed: &[u8], what: &str) -> Result<Vec<u8>> {
        let mut plain = vec![];
        self.sealer.open(sealed, &mut plain, &what)?;
        match plain.first() {
            Some(b'{' | b'[') => Ok(plain),
            Some(&COMPRESSED_MARK) => decompress_file(&plain[1..], FILE_LEN_MAX, what),
            _ => Err(RepoError::damaged(what, "opens to something unknown")),
        }
    }

    /// Every index file with what it lists, or why that cannot be said.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn try_load_index_files(&self) -> Result<Vec<(Digest, Result<Vec<IndexedPack>>)>> {
        let listed = self.list(FileKind::Index)?;
        threads::map(&listed, |listed| {
            let json = self.load_file(FileKind::Index, &listed.id);
            let packs = json.and_then(|json| index::decode_file(&json, &format!("index {}", listed.id)));
            (listed.id, packs)
        })
    }

    /// Every index file with what it lists.
    ///
    /// # Errors
    /// Damage to any of them: half an index would make blobs look missing.
    pub fn load_index_files(&self) -> Result<Vec<(Digest, Vec<IndexedPack>)>> {
        self.try_load_index_files()?.into_iter().map(|(id, packs)| Ok((id, packs?))).collect()
    }

    /// The index in memory, for reading: every pack counts.
    ///
    /// # Errors
    /// As [`Repository::load_index_files`].
    pub fn load_index(&self) -> Result<Index> {
        let mut index = Index::default();
        for (_, packs) in self.load_index_files()? {
            index.add(&packs, |_| false);
        }
        Ok(index)
    }

    /// Every snapshot.
    ///
    /// # Errors
    /// Damage to any of them.
    pub fn load_snapshots(&self) -> Result<Vec<(Digest, SnapshotFile)>> {
        let ids = self.list(FileKind::Snapshot)?.into_iter().map(|listed| listed.id);
        ids.map(|id| Ok((id, self.load_snapshot(&id)?))).collect()
    }

    /// One snapshot.
    ///
    /// # Errors
    /// Damage, or [`StoreError::NotFound`].
    pub fn load_snapshot(&self, id: &Digest) -> Result<SnapshotFile> {
        let json = self.load_file(FileKind::Snapshot, id)?;
        serde_json::from_slice(&json).map_err(|error| RepoError::damaged(format!("snapshot {id}"), error))
    }

    /// Make a snapshot visible: from here on the backup exists.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn commit_snapshot(&self, snapshot: &SnapshotFile) -> Result<Digest> {
        let json = serde_json::to_vec(snapshot).map_err(|error| RepoError::System(error.to_string()))?;
        self.save_file(FileKind::Snapshot, &json)
    }

    /// The stored bytes of a blob's envelope.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`], or what the store says.
    pub fn read_sealed(&self, index: &Index, kind: BlobKind, id: &BlobId, into: &mut Vec<u8>) -> Result<()> {
        let place = index.require(kind, id)?;
        let object = FileKind::Pack.object(&index.pack_id(place.pack));
        let range = Range::Bytes { offset: place.offset.into(), len: place.length.into() };
        self.read_pack(&object, range, into)
    }

    /// Bytes of a pack that an index names: one that is not there is lost, and that is damage.
    pub(crate) fn read_pack(&self, object: &ObjectKey, range: Range, into: &mut Vec<u8>) -> Result<()> {
        match self.store.get(object, range, into) {
            Err(error) if error.is_not_found() => Err(RepoError::damaged(object.as_str(), "is gone")),
            read => Ok(read?),
        }
    }
}

fn config_object() -> ObjectKey {
    "config".parse().expect("a plain name is a key")
}

fn list(store: &dyn Store, kind: FileKind) -> Result<Vec<Listed>> {
    let objects = store.list(kind.folder())?.into_iter();
    let listed = objects.filter_map(|object| {
        let id = object.key.name().parse().ok()?;
        Some(Listed { id, size: object.size, modified: object.modified })
    });
    Ok(listed.collect())
}

/// Keep a key file; its name is the hash of its plain JSON.
pub(crate) fn put_key(store: &dyn Store, file: &KeyFile) -> Result<Digest> {
    let json = serde_json::to_vec(file).map_err(|error| RepoError::System(error.to_string()))?;
    let id = Digest(Sha256::digest(&json).into());
    store.put_new(&FileKind::Key.object(&id), &json)?;
    Ok(id)
}

/// The key files of a repository.
pub(crate) struct KeyFiles {
    /// Those that are sound, newest first.
    pub(crate) sound: Vec<(Digest, KeyFile)>,
    /// What is wrong with another one.
    pub(crate) damage: Option<RepoError>,
}

/// Every key file.
pub(crate) fn load_keys(store: &dyn Store) -> Result<KeyFiles> {
    let (mut sound, mut damage) = (vec![], None);
    let mut listed = list(store, FileKind::Key)?;
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.modified));
    for Listed { id, .. } in listed {
        let json = store::store::read(store, &FileKind::Key.object(&id))?;
        let what = format!("key {id}");
        if blob::id_of(&json) != id {
            damage = Some(RepoError::damaged(what, "its bytes do not fit its name"));
            continue;
        }
        match serde_json::from_slice(&json) {
            Ok(file) => sound.push((id, file)),
            Err(error) => damage = Some(RepoError::damaged(what, error)),
        }
    }
    Ok(KeyFiles { sound, damage })
}

fn find_key(store: &dyn Store, password: &Secret) -> Result<(Key, Digest)> {
    let KeyFiles { sound, damage } = load_keys(store)?;
    for (id, file) in sound {
        if let Some(key) = file.open(password, &format!("key {id}"))? {
            return Ok((key, id));
        }
    }
    Err(damage.unwrap_or(RepoError::WrongPassword { place: store.location() }))
}
