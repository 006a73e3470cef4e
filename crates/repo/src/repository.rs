//! An open repository: its store, its key, its configuration, and what this machine remembers of it.
//!
//! Invariants: a repository is never made where anything of one exists; one that is gone is not taken for one that
//! never was, where this machine has seen it.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use model::digest::Digest;
use model::secret::Secret;
use sha2::{Digest as _, Sha256};
use store::{Key as ObjectKey, Range, Store, StoreError};

use crate::blob;
use crate::broken_packs::BrokenPacks;
use crate::budget::Budget;
use crate::cache::CacheDir;
use crate::clock::Clock;
use crate::config::Config;
use crate::crypto::{Key, Sealer};
use crate::error::{RepoError, Result};
use crate::index::IndexedPack;
use crate::key_file::KeyFile;
use crate::known::{self, Known};
use crate::sealed_file::{self, SealedFiles};
pub use crate::sealed_file::{FileKind, Listed};
use crate::threads;
use crate::waiting::Waiting;

/// An open repository.
pub struct Repository {
    files: SealedFiles,
    key: Key,
    config: Config,
    key_id: Digest,
    cache: Option<CacheDir>,
    before: Option<Known>,
    clock: Clock,
    budget: Budget,
    passed_over: Mutex<BrokenPacks>,
    waiting: Option<Waiting>,
    leases: Arc<AtomicUsize>,
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
            Ok(()) => Ok(Self::new(store, key, config, key_id)),
            // Our own, when the answer to the first attempt was lost on the way.
            Err(error) if error.is_already_exists() && is_stored(&*store, &sealed) => {
                Ok(Self::new(store, key, config, key_id))
            }
            Err(error) if error.is_already_exists() => {
                // Where deleting is refused, a key that opens nothing is left.
                drop(store.delete(&FileKind::Key.object(&key_id)));
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
        Self::open_with(store, password, None)
    }

    /// The same, with a directory for what may be kept on this machine.
    ///
    /// # Errors
    /// As [`Repository::open`], and [`RepoError::Gone`] where the cache remembers a repository in this place.
    pub fn open_with(store: Arc<dyn Store>, password: &Secret, cache: Option<CacheDir>) -> Result<Self> {
        let place = store.location();
        let before = cache.as_ref().and_then(|cache| known::recall(cache, &place));
        let (sealed_config, keys) =
            threads::both(|| store::store::read(&*store, &config_object()), || load_keys(&*store));
        let sealed_config = match sealed_config {
            Err(StoreError::NotFound { place: hot, .. })
                if store.has_cold_packs() && !store.list(FileKind::Key.folder())?.is_empty() =>
            {
                return Err(RepoError::HotLost { place: hot, cold: place });
            }
            Err(StoreError::NotFound { .. }) => {
                return Err(match before {
                    Some(Known { id, seen, .. }) => RepoError::Gone { place, id, seen },
                    None => RepoError::NoRepository { place },
                });
            }
            other => other?,
        };
        let (key, key_id) = find_key(keys?, &place, password, before.and_then(|before| before.key))?;
        let mut json = vec![];
        key.sealer().open(&sealed_config, &mut json, &"config")?;
        let config = Config::parse(&json, &place)?;
        if config.is_hot && !store.has_cold_packs() {
            return Err(RepoError::HotAlone { place, cold: config.cold });
        }
        if store.has_cold_packs() && !config.is_hot {
            return Err(RepoError::NotHot { place: "what was named as it".to_owned(), cold: place });
        }
        Ok(Self { cache, before, ..Self::new(store, key, config, key_id) }.remembered())
    }

    fn new(store: Arc<dyn Store>, key: Key, config: Config, key_id: Digest) -> Self {
        let files = SealedFiles { store, sealer: key.sealer(), compress: config.has_compression() };
        Self {
            files,
            key,
            config,
            key_id,
            cache: None,
            before: None,
            clock: Clock::system(),
            budget: Budget::usual(),
            passed_over: Mutex::default(),
            waiting: None,
            leases: Arc::default(),
        }
    }

    /// A memory that cannot be kept is no reason not to work.
    fn remembered(self) -> Self {
        if let Some(cache) = &self.cache {
            known::remember(cache, &self.store().location(), self.config.id, self.key_id).ok();
        }
        self
    }

    /// Another repository that was in this place when it was last opened from this machine.
    pub fn replaces(&self) -> Option<Known> {
        self.before.filter(|before| before.id != self.config.id)
    }

    /// Where this machine may keep what belongs to this repository.
    pub(crate) fn cache_folder(&self) -> Option<std::path::PathBuf> {
        self.cache.as_ref()?.of_repository(&self.config.id).ok()
    }

    /// The files that stand by themselves.
    pub(crate) fn files(&self) -> &SealedFiles {
        &self.files
    }

    /// Where the repository is kept.
    pub fn store(&self) -> &dyn Store {
        &*self.files.store
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The same with another budget of memory.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The same, and who begins to work in it waits for somebody who works alone; else that is an error at once.
    #[must_use]
    pub fn with_waiting(self, waiting: Waiting) -> Self {
        Self { leases: waiting.at_work.of(self.config.id), waiting: Some(waiting), ..self }
    }

    /// How one waits for others.
    pub(crate) fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// Leases that this process holds in it.
    pub(crate) fn leases(&self) -> &AtomicUsize {
        &self.leases
    }

    /// How much memory a run may take.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Broken packs of which reading took another copy.
    pub(crate) fn passed_over(&self) -> &Mutex<BrokenPacks> {
        &self.passed_over
    }

    /// Where time comes from.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What seals and opens every byte.
    pub fn sealer(&self) -> &Sealer {
        &self.files.sealer
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
        sealed_file::list(self.store(), kind)
    }

    /// Seal, compress and keep `json`.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn save_file(&self, kind: FileKind, json: &[u8]) -> Result<Digest> {
        self.files.save(kind, json)
    }

    /// The JSON of a file.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] where its bytes are not what its name says, or do not open.
    pub fn load_file(&self, kind: FileKind, id: &Digest) -> Result<Vec<u8>> {
        self.files.load(kind, id)
    }

    pub(crate) fn seal_json(&self, json: &[u8]) -> Result<Vec<u8>> {
        self.files.seal(json)
    }

    pub(crate) fn open_json(&self, sealed: &[u8], what: &str) -> Result<Vec<u8>> {
        self.files.open(sealed, what)
    }

    /// Every index file with what it lists, or why that cannot be said.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn try_load_index_files(&self) -> Result<Vec<(Digest, Result<Vec<IndexedPack>>)>> {
        self.files.try_load_index(&self.list(FileKind::Index)?)
    }

    /// Every index file with what it lists.
    ///
    /// # Errors
    /// Damage to any of them: half an index would make blobs look missing.
    pub fn load_index_files(&self) -> Result<Vec<(Digest, Vec<IndexedPack>)>> {
        self.try_load_index_files()?.into_iter().map(|(id, packs)| Ok((id, packs?))).collect()
    }

    /// Bytes of a pack that an index names: one that is not there is lost, and that is damage.
    pub(crate) fn read_pack(&self, object: &ObjectKey, range: Range, into: &mut Vec<u8>) -> Result<()> {
        read_twice(object, || self.store().get(object, range, into))
    }
}

/// A pack that an index names and that is not there is damage. One that ends too early is asked for again: a single answer
/// may have been cut short, and what is said of a pack stays.
pub(crate) fn read_twice(
    pack: &ObjectKey,
    mut read: impl FnMut() -> std::result::Result<(), StoreError>,
) -> Result<()> {
    let outcome = match read() {
        Err(StoreError::Short { .. }) => read(),
        first => first,
    };
    match outcome {
        Err(error) if error.is_not_found() => Err(RepoError::PackGone { pack: pack.to_string() }),
        outcome => Ok(outcome?),
    }
}

fn config_object() -> ObjectKey {
    "config".parse().expect("a plain name is a key")
}

fn is_stored(store: &dyn Store, config: &[u8]) -> bool {
    store::store::read(store, &config_object()).is_ok_and(|stored| stored == config)
}

/// Keep a key file; its name is the hash of its plain JSON.
pub(crate) fn put_key(store: &dyn Store, file: &KeyFile) -> Result<Digest> {
    let json = serde_json::to_vec(file).map_err(|error| RepoError::System(error.to_string()))?;
    let id = Digest(Sha256::digest(&json).into());
    match store.put_new(&FileKind::Key.object(&id), &json) {
        // Its name is its content.
        Err(error) if !error.is_already_exists() => Err(error.into()),
        _ => Ok(id),
    }
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
    let mut listed = sealed_file::list(store, FileKind::Key)?;
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.modified));
    let read = |listed: &Listed| store::store::read(store, &FileKind::Key.object(&listed.id));
    let files = threads::map_waiting(&listed, read)?;
    for (Listed { id, .. }, json) in listed.into_iter().zip(files) {
        let json = json?;
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

/// The key that `password` opens; the one that it opened `before` is tried first.
fn find_key(
    KeyFiles { mut sound, damage }: KeyFiles,
    place: &str,
    password: &Secret,
    before: Option<Digest>,
) -> Result<(Key, Digest)> {
    if sound.is_empty() && damage.is_none() {
        let reason = "there is none: this is no repository of the restic format, or its keys are lost";
        return Err(RepoError::damaged(format!("the keys in {place}"), reason));
    }
    sound.sort_by_key(|(id, _)| Some(*id) != before);
    for (id, file) in sound {
        if let Some(key) = file.open(password, &format!("key {id}"))? {
            return Ok((key, id));
        }
    }
    Err(damage.unwrap_or(RepoError::WrongPassword { place: place.to_owned() }))
}
