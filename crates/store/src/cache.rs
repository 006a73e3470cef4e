//! A store that remembers small files on the local disk: index files, snapshots and keys, as they are stored, sealed.
//!
//! Invariant: what comes from the cache is what was stored. The names of these files are the SHA-256 of their bytes, and
//! each read compares; a file that does not fit is thrown away and fetched. So a cache that is lost, damaged, shared or
//! planted costs time and nothing else. It says nothing of what the store still has: a listing is always the store's
//! own, and whoever examines the store does without a cache.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::key::Key;
use crate::store::{Object, Range, Store, StoreError};

/// Folders whose files are named by their content and read by every run.
const FOLDERS: [&str; 3] = ["index", "snapshots", "keys"];
/// Bytes on disk for one repository: the index of some ten terabytes.
pub const CACHE_SIZE_MAX: u64 = 1 << 30;
/// What cleaning leaves, so that it is not done for each file.
const LEFT_PERCENT: u64 = 75;
/// Makes backup programs leave a directory out: <https://bford.info/cachedir/>.
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Made by mainstay; it may be removed at any time.\n";

/// A store with a memory.
pub struct CacheStore<S> {
    inside: S,
    folder: PathBuf,
    size_max: u64,
    /// Bytes on disk, as far as we know; looked up before the first file is kept.
    size: Mutex<Option<u64>>,
}

impl<S: Store> CacheStore<S> {
    /// `inside`, remembered below `directory`, in a folder of its own for its address.
    pub fn new(inside: S, directory: &Path, size_max: u64) -> Self {
        let folder = directory.join(&hash(inside.location().as_bytes())[..32]);
        if fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).is_ok() {
            // Without a tag it is a cache all the same.
            fs::write(directory.join("CACHEDIR.TAG"), TAG).ok();
        }
        Self { inside, folder, size_max, size: Mutex::new(None) }
    }

    /// Where an object is remembered, if it is of a kind that is.
    fn file(&self, key: &Key) -> Option<PathBuf> {
        let (folder, name) = key.as_str().split_once('/')?;
        let is_hash = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (FOLDERS.contains(&folder) && is_hash).then(|| self.folder.join(folder).join(name))
    }

    /// The bytes of a remembered object, which are those of its name.
    fn remembered(&self, key: &Key) -> Option<Vec<u8>> {
        let file = self.file(key)?;
        let content = fs::read(&file).ok()?;
        if hash(&content) != key.name() {
            fs::remove_file(&file).ok();
            return None;
        }
        // What is used stays; where the time cannot be set it goes earlier.
        File::open(&file).and_then(|file| file.set_modified(SystemTime::now())).ok();
        Some(content)
    }

    /// Remember an object; where that does not work, the store is asked again next time.
    fn remember(&self, key: &Key, content: &[u8]) {
        let Some(file) = self.file(key) else { return };
        if hash(content) == key.name() && self.make_room(content.len() as u64) {
            write(&file, content).ok();
        }
    }

    fn forget(&self, key: &Key) {
        if let Some(file) = self.file(key) {
            fs::remove_file(file).ok();
        }
    }

    /// Remove what was not used for longest, where so many more bytes would be too many.
    fn make_room(&self, more: u64) -> bool {
        if more > self.size_max / 4 {
            return false;
        }
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *size.get_or_insert_with(|| self.files().iter().map(|file| file.len).sum());
        if known + more <= self.size_max {
            *size = Some(known + more);
            return true;
        }
        let mut files = self.files();
        files.sort_by_key(|file| file.used);
        let mut left: u64 = files.iter().map(|file| file.len).sum();
        for file in files {
            if left + more <= self.size_max / 100 * LEFT_PERCENT {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                left -= file.len;
            }
        }
        *size = Some(left + more);
        left + more <= self.size_max
    }

    fn files(&self) -> Vec<Remembered> {
        let entries =
            FOLDERS.iter().flat_map(|folder| fs::read_dir(self.folder.join(folder)).into_iter().flatten());
        let about = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            let about = entry.metadata().ok()?;
            Some(Remembered { path: entry.path(), len: about.len(), used: about.modified().ok()? })
        };
        entries.filter_map(about).collect()
    }
}

struct Remembered {
    path: PathBuf,
    len: u64,
    used: SystemTime,
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Under a name of its own first, so that nobody reads half of it; not synced, since each read compares.
fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = folder.join(format!(".{:016x}", getrandom::u64().map_err(io::Error::other)?));
    let mut new = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = new.write_all(content).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

impl<S: Store> Store for CacheStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.inside.put_new(key, content)?;
        self.remember(key, content);
        Ok(())
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let Some(content) = self.remembered(key) else {
            self.inside.get(key, range, into)?;
            if range == Range::All {
                self.remember(key, into);
            }
            return Ok(());
        };
        let part = match range {
            Range::All => Some(&content[..]),
            Range::Bytes { offset, len } => {
                let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
                end.and_then(|end| content.get(usize::try_from(offset).ok()?..end))
            }
        };
        let short = || StoreError::Short { key: key.to_string(), place: self.location() };
        into.clear();
        into.extend_from_slice(part.ok_or_else(short)?);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let found = self.inside.list(prefix)?;
        if FOLDERS.contains(&prefix) {
            // What the store does not have any more is not asked for again.
            let there: std::collections::HashSet<_> = found.iter().map(|object| object.key.name()).collect();
            for entry in fs::read_dir(self.folder.join(prefix)).into_iter().flatten().flatten() {
                if !entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| there.contains(name) || name.starts_with('.'))
                {
                    fs::remove_file(entry.path()).ok();
                }
            }
        }
        Ok(found)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.forget(key);
        self.inside.delete(key)
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::faulty::{Fault, FaultyStore};
    use crate::memory::MemoryStore;
    use crate::meter::{Meter, MeterStore};
    use crate::store::read;

    struct World {
        directory: tempfile::TempDir,
        memory: Arc<MemoryStore>,
        meter: Arc<Meter>,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            Self { directory, memory: Arc::new(MemoryStore::new()), meter: Arc::new(Meter::new()) }
        }

        fn open(&self) -> CacheStore<MeterStore<Arc<MemoryStore>>> {
            let inside = MeterStore::new(self.memory.clone(), self.meter.clone());
            CacheStore::new(inside, self.directory.path(), 100_000)
        }

        fn gets(&self) -> u64 {
            self.meter.traffic().gets
        }

        fn file(&self, key: &Key) -> PathBuf {
            self.open().file(key).expect("a kind that is remembered")
        }
    }

    fn named(folder: &str, content: &[u8]) -> Key {
        format!("{folder}/{}", hash(content)).parse().expect("a key")
    }

    #[test]
    fn conforms() {
        let world = World::new();
        crate::conformance::run(&world.open());
        let quiet = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| None));
        crate::conformance::run(&CacheStore::new(quiet, world.directory.path(), 1000));
        let nowhere = CacheStore::new(MemoryStore::new(), Path::new("/proc/nowhere"), 1000);
        crate::conformance::run(&nowhere);
    }

    #[test]
    fn what_was_read_or_written_is_not_fetched_again() {
        let world = World::new();
        let (one, two) = (named("index", b"one"), named("snapshots", b"two"));
        world.memory.put_new(&one, b"one").unwrap();
        world.open().put_new(&two, b"two").unwrap();
        for _ in 0..3 {
            assert_eq!(read(&world.open(), &one).unwrap(), b"one");
            assert_eq!(read(&world.open(), &two).unwrap(), b"two");
        }
        assert_eq!(world.gets(), 1);
        let mut part = vec![];
        world.open().get(&one, Range::Bytes { offset: 1, len: 2 }, &mut part).unwrap();
        assert_eq!(part, b"ne");
        assert!(world.open().get(&one, Range::Bytes { offset: 1, len: 3 }, &mut part).is_err());
    }

    #[test]
    fn a_damaged_or_planted_file_is_never_believed() {
        let world = World::new();
        let key = named("index", b"one");
        world.memory.put_new(&key, b"one").unwrap();
        read(&world.open(), &key).unwrap();
        for wrong in [&b"two"[..], b"", b"one more"] {
            fs::write(world.file(&key), wrong).unwrap();
            assert_eq!(read(&world.open(), &key).unwrap(), b"one");
        }
        assert_eq!(fs::read(world.file(&key)).unwrap(), b"one", "it is mended");
        assert_eq!(world.gets(), 4);
    }

    #[test]
    fn what_the_store_itself_has_wrong_is_passed_on_and_not_kept() {
        let world = World::new();
        let key = named("index", b"one");
        world.memory.put_new(&key, b"damaged").unwrap();
        assert_eq!(read(&world.open(), &key).unwrap(), b"damaged");
        assert!(!world.file(&key).exists());
    }

    #[test]
    fn only_names_that_are_hashes_are_remembered() {
        let world = World::new();
        for name in ["config", "locks/x", "index/x", "data/ab/cd", "x/lease/1"] {
            let key: Key = name.parse().unwrap();
            world.open().put_new(&key, b"x").unwrap();
            read(&world.open(), &key).unwrap();
        }
        assert_eq!((world.gets(), world.open().files().len()), (5, 0));
    }

    #[test]
    fn what_is_deleted_here_or_elsewhere_is_forgotten() {
        let world = World::new();
        let (one, two) = (named("index", b"one"), named("index", b"two"));
        world.open().put_new(&one, b"one").unwrap();
        world.open().put_new(&two, b"two").unwrap();
        world.open().delete(&one).unwrap();
        assert!(read(&world.open(), &one).unwrap_err().is_not_found());
        world.memory.delete(&two).unwrap();
        assert_eq!(world.open().list("index").unwrap(), []);
        assert!(read(&world.open(), &two).unwrap_err().is_not_found());
    }

    #[test]
    fn it_stays_below_its_bound() {
        let world = World::new();
        let store = world.open();
        for number in 0..100u32 {
            let content = [&number.to_le_bytes()[..], &[0; 5000]].concat();
            store.put_new(&named("index", &content), &content).unwrap();
            let size: u64 = store.files().iter().map(|file| file.len).sum();
            assert!(size <= 100_000, "{size}");
        }
        assert!(store.files().len() >= 10);
        let large = vec![1; 50_000];
        store.put_new(&named("index", &large), &large).unwrap();
        assert!(!world.file(&named("index", &large)).exists(), "one file would push out all others");
    }

    #[test]
    fn a_failed_put_is_not_remembered() {
        let world = World::new();
        let faulty = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| Some(Fault::Before)));
        let store = CacheStore::new(faulty, world.directory.path(), 1000);
        store.put_new(&named("index", b"one"), b"one").unwrap_err();
        assert!(read(&store, &named("index", b"one")).is_err());
    }
}
