//! A store that remembers small files on the local disk: index files, snapshots, keys and packs of trees, as they are
//! stored, sealed.
//!
//! Invariant: what comes from the cache is what was stored. The names of these files are the SHA-256 of their bytes, and
//! each read compares (of a pack, the first one); a file that does not fit is thrown away and fetched. So a cache that is
//! lost, damaged, shared or planted costs time and nothing else. It says nothing of what the store still has: a listing is
//! always the store's own, and whoever examines the store remembers nothing but what he read of it himself.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::key::Key;
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// Folders whose files are named by their content and read by every run.
const FOLDERS: [&str; 3] = ["index", "snapshots", "keys"];
/// Where packs are, of which only those of trees are remembered: they are read every day, a few thousand bytes at a time.
const PACKS: &str = "data";
/// Packs that are kept open.
const OPEN_MAX: usize = 64;
/// Threads that want trees of one pack wait for the one that fetches it, and for few others.
const FETCHERS: usize = 16;
/// Bytes on disk for one repository: the index of some ten terabytes.
pub const CACHE_SIZE_MAX: u64 = 1 << 30;
/// The same for one run alone, which may be in memory: `/tmp` often is.
pub const OWN_SIZE_MAX: u64 = 256 << 20;
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
    /// Packs that this process has compared with their names.
    packs: Mutex<HashMap<Key, Arc<File>>>,
    fetching: [Mutex<()>; FETCHERS],
    /// Packs that were fetched whole: one that could not be kept is not fetched so again.
    fetched: Mutex<HashSet<Key>>,
    /// Of a run that trusts nothing but what it read itself: its folder, which goes with it.
    own: Option<TempDir>,
}

impl<S: Store> CacheStore<S> {
    /// `inside`, remembered below `directory`, in a folder of its own for its address.
    pub fn new(inside: S, directory: &Path, size_max: u64) -> Self {
        let folder = directory.join(&hash(inside.location().as_bytes())[..32]);
        if fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).is_ok() {
            // Without a tag it is a cache all the same.
            fs::write(directory.join("CACHEDIR.TAG"), TAG).ok();
        }
        Self {
            inside,
            folder,
            size_max,
            size: Mutex::new(None),
            packs: Mutex::default(),
            fetching: Default::default(),
            fetched: Mutex::default(),
            own: None,
        }
    }

    /// `inside`, of which only what this run itself reads is remembered, and for as long as it lasts: for whoever examines
    /// what the store has, below `own`. What is written is not, so that reading it back asks the store.
    pub fn of_this_run(inside: S, own: TempDir, size_max: u64) -> Self {
        let empty = Self::new(inside, own.path(), size_max);
        Self { own: Some(own), ..empty }
    }

    /// Remember what was written.
    fn remember_written(&self, key: &Key, content: &[u8]) {
        if self.own.is_none() {
            self.remember(key, content);
        }
    }

    /// Where an object is remembered, if it is of a kind that always is.
    fn file(&self, key: &Key) -> Option<PathBuf> {
        self.named_file(key).filter(|_| folder_of(key) != PACKS)
    }

    /// Where an object is remembered, if it may be.
    fn named_file(&self, key: &Key) -> Option<PathBuf> {
        let (folder, name) = (folder_of(key), key.name());
        let is_hash = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let may_be = folder == PACKS || FOLDERS.contains(&folder) && key.as_str().len() == folder.len() + 65;
        (may_be && is_hash).then(|| self.folder.join(folder).join(name))
    }

    /// The bytes of a remembered object, which are those of its name.
    fn remembered(&self, key: &Key) -> Option<Vec<u8>> {
        read_fitting(&self.file(key)?, key).map(|(_, content)| content)
    }

    /// Remember an object; where that does not work, the store is asked again next time.
    fn remember(&self, key: &Key, content: &[u8]) {
        let Some(file) = self.named_file(key) else { return };
        if hash(content) == key.name() && self.make_room(content.len() as u64) {
            write(&file, content).ok();
        }
    }

    fn forget(&self, key: &Key) {
        lock(&self.packs).remove(key);
        if let Some(file) = self.named_file(key) {
            fs::remove_file(file).ok();
        }
    }

    /// A remembered pack, which has the bytes of its name, or had them when this process first saw it: each blob in it
    /// is compared with its own name anyway.
    fn pack(&self, key: &Key) -> Option<Arc<File>> {
        if let Some(known) = lock(&self.packs).get(key) {
            return Some(Arc::clone(known));
        }
        let (file, _) = read_fitting(&self.named_file(key)?, key)?;
        let file = Arc::new(file);
        let mut packs = lock(&self.packs);
        if packs.len() >= OPEN_MAX {
            packs.clear();
        }
        packs.insert(key.clone(), Arc::clone(&file));
        Some(file)
    }

    /// A range of a remembered pack.
    fn part_of_pack(&self, key: &Key, offset: u64, len: u64, into: &mut Vec<u8>) -> bool {
        let (Some(pack), Ok(len)) = (self.pack(key), usize::try_from(len)) else { return false };
        into.clear();
        into.resize(len, 0);
        pack.read_exact_at(into, offset).is_ok()
    }

    /// Remove what was not used for longest, where so many more bytes would be too many.
    fn make_room(&self, more: u64) -> bool {
        if more > self.size_max / 4 {
            return false;
        }
        let mut size = lock(&self.size);
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

    fn short(&self, key: &Key) -> StoreError {
        StoreError::Short { key: key.to_string(), place: self.inside.location() }
    }

    fn files(&self) -> Vec<Remembered> {
        let folders = FOLDERS.iter().chain(&[PACKS]);
        let entries = folders.flat_map(|folder| fs::read_dir(self.folder.join(folder)).into_iter().flatten());
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

fn folder_of(key: &Key) -> &str {
    key.as_str().split('/').next().unwrap_or_default()
}

/// A file and its bytes, which are those of the name of `key`; one that does not fit goes.
fn read_fitting(path: &Path, key: &Key) -> Option<(File, Vec<u8>)> {
    let mut file = File::open(path).ok()?;
    let mut content = vec![];
    file.read_to_end(&mut content).ok()?;
    if hash(&content) != key.name() {
        fs::remove_file(path).ok();
        return None;
    }
    // What is used stays; where the time cannot be set it goes earlier.
    file.set_modified(SystemTime::now()).ok();
    Some((file, content))
}

/// The bytes of a range.
fn part(content: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok())?;
    content.get(usize::try_from(offset).ok()?..end)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.remember_written(key, content);
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
            Range::Bytes { offset, len } => part(&content, offset, len),
        };
        into.clear();
        into.extend_from_slice(part.ok_or_else(|| self.short(key))?);
        Ok(())
    }

    fn get_often_read(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let Range::Bytes { offset, len } = range else { return self.get(key, range, into) };
        if self.part_of_pack(key, offset, len, into) {
            return Ok(());
        }
        let number = key.as_str().bytes().last().map_or(0, usize::from);
        let _alone = lock(&self.fetching[number % FETCHERS]);
        if self.part_of_pack(key, offset, len, into) {
            return Ok(());
        }
        // It was fetched before and is not here: there is no room for it.
        if !lock(&self.fetched).insert(key.clone()) {
            return self.inside.get(key, range, into);
        }
        let mut whole = vec![];
        self.inside.get(key, Range::All, &mut whole)?;
        self.remember(key, &whole);
        into.clear();
        into.extend_from_slice(part(&whole, offset, len).ok_or_else(|| self.short(key))?);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let found = self.inside.list(prefix)?;
        if prefix == PACKS || FOLDERS.contains(&prefix) {
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

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.inside.put_pack(key, content, reads)?;
        if reads == Reads::Often {
            self.remember_written(key, content);
        }
        Ok(())
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
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
    fn a_pack_of_trees_is_fetched_once_and_whole() {
        let world = World::new();
        let content: Vec<u8> = (0..=255).collect();
        let (read, written) =
            (format!("data/ab/{}", hash(&content)), format!("data/cd/{}", hash(b"written")));
        let (read, written): (Key, Key) = (read.parse().unwrap(), written.parse().unwrap());
        world.memory.put_new(&read, &content).unwrap();
        world.open().put_pack(&written, &Bytes::from_static(b"written"), Reads::Often).unwrap();
        let get = |store: &dyn Store, key: &Key, offset, len| {
            let mut part = vec![];
            store.get_often_read(key, Range::Bytes { offset, len }, &mut part).map(|()| part)
        };
        let store = world.open();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (store, read, content, get) = (&store, &read, &content, &get);
                scope.spawn(move || {
                    for offset in 0..50 + thread {
                        let end = offset as usize + 7;
                        assert_eq!(get(store, read, offset, 7).unwrap(), content[offset as usize..end]);
                    }
                });
            }
        });
        assert_eq!(get(&world.open(), &read, 250, 6).unwrap(), content[250..]);
        assert_eq!(get(&world.open(), &written, 1, 3).unwrap(), b"rit");
        assert_eq!(world.gets(), 1);
        assert!(matches!(get(&store, &read, 250, 7), Err(StoreError::Short { .. })));
        // By a plain read nothing of a pack is remembered, and nothing is asked of what is.
        let mut part = vec![];
        store.get(&read, Range::Bytes { offset: 0, len: 1 }, &mut part).unwrap();
        assert_eq!(world.gets(), 3);

        fs::write(world.open().named_file(&read).unwrap(), b"planted").unwrap();
        assert_eq!(get(&world.open(), &read, 0, 2).unwrap(), content[..2]);
        world.memory.delete(&read).unwrap();
        world.open().list("data").unwrap();
        assert!(get(&world.open(), &read, 0, 2).unwrap_err().is_not_found());
        assert_eq!(get(&world.open(), &written, 0, 1).unwrap(), b"w");
        world.open().delete(&written).unwrap();
        assert!(get(&world.open(), &written, 0, 1).unwrap_err().is_not_found());
    }

    #[test]
    fn a_pack_that_cannot_be_kept_is_fetched_whole_once_and_then_by_its_parts() {
        let world = World::new();
        let content = vec![7; 30_000];
        let key: Key = format!("data/ab/{}", hash(&content)).parse().unwrap();
        world.memory.put_new(&key, &content).unwrap();
        // A quarter of the bound is the longest file.
        let store = world.open();
        for offset in 0..5 {
            let mut part = vec![];
            store.get_often_read(&key, Range::Bytes { offset, len: 10 }, &mut part).unwrap();
            assert_eq!(part, [7; 10]);
        }
        assert_eq!(world.gets(), 5);
        assert_eq!(world.meter.traffic().downloaded_bytes, 30_000 + 4 * 10);
    }

    #[test]
    fn who_examines_the_store_reads_each_thing_once_and_what_he_wrote_too() {
        let world = World::new();
        let inside = MeterStore::new(world.memory.clone(), world.meter.clone());
        let own = tempfile::tempdir().unwrap();
        let path = own.path().to_owned();
        let store = CacheStore::of_this_run(inside, own, 100_000);
        let (index, pack) = (named("index", b"one"), format!("data/ab/{}", hash(b"trees")));
        let pack: Key = pack.parse().unwrap();
        store.put_new(&index, b"one").unwrap();
        store.put_pack(&pack, &Bytes::from_static(b"trees"), Reads::Often).unwrap();
        let mut part = vec![];
        for _ in 0..3 {
            assert_eq!(read(&store, &index).unwrap(), b"one");
            store.get_often_read(&pack, Range::Bytes { offset: 1, len: 2 }, &mut part).unwrap();
        }
        assert_eq!(world.gets(), 2);
        // What another run remembers, or what was damaged before this one read it, is another matter.
        let damaged = named("index", b"two");
        world.open().put_new(&damaged, b"two").unwrap();
        world.memory.delete(&damaged).unwrap();
        world.memory.put_new(&damaged, b"bad").unwrap();
        assert_eq!(read(&store, &damaged).unwrap(), b"bad");
        drop(store);
        assert!(!path.exists());
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
