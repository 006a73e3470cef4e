//! A small repository for the tests of prune: snapshots of one flat directory, with contents that tests compare.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::{Entry, EntryKind, Metadata};
use model::progress::Progress;
use model::secret::Secret;
use repo::check::{CheckOptions, check};
use repo::clock::Clock;
use repo::index::Index;
use repo::lease::Identity;
use repo::node::Node;
use repo::prune::{PruneOptions, PruneReport, prune};
use repo::saver::{SaveOptions, Saver};
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, RepoError, Repository, tree};
use store::memory::MemoryStore;
use store::{Key, Object, Range, Store, StoreError};

/// A store whose objects are set back for the next try; opening a repository anew costs more than pruning it.
#[derive(Default)]
pub(crate) struct Rewound(Mutex<Arc<MemoryStore>>);

impl Rewound {
    pub(crate) fn over(store: Arc<MemoryStore>) -> Self {
        Self(Mutex::new(store))
    }

    pub(crate) fn set(&self, store: MemoryStore) {
        *self.0.lock().unwrap() = Arc::new(store);
    }

    pub(crate) fn now(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

impl Store for Rewound {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.now().put_new(key, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.now().get(key, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.now().list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.now().delete(key)
    }

    fn location(&self) -> String {
        self.now().location()
    }
}

/// A store that tells time by a clock that the test turns. What it did not take itself is old, but for locks.
pub(crate) struct Dated {
    inside: Arc<dyn Store>,
    clock: Clock,
    times: Mutex<HashMap<Key, SystemTime>>,
}

impl Dated {
    fn new(inside: Arc<dyn Store>, clock: &Clock) -> Arc<Self> {
        Arc::new(Self { inside, clock: clock.clone(), times: Mutex::default() })
    }
}

impl Store for Dated {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let put = self.inside.put_new(key, content);
        if !put.as_ref().is_err_and(StoreError::is_already_exists) {
            self.times.lock().unwrap().insert(key.clone(), self.clock.now().into());
        }
        put
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inside.get(key, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let times = self.times.lock().unwrap();
        let unknown = SystemTime::from(if prefix == "locks" { self.clock.now() } else { at(0) });
        let mut found = self.inside.list(prefix)?;
        for object in &mut found {
            object.modified = times.get(&object.key).copied().unwrap_or(unknown);
        }
        Ok(found)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inside.delete(key)
    }

    fn location(&self) -> String {
        self.inside.location()
    }
}

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Long, so that key derivation stays cheap; plain, so that restic takes it from a file.
pub(crate) const PASSWORD: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01";

pub(crate) fn password() -> Secret {
    Secret::new(PASSWORD)
}

pub(crate) fn init(store: Arc<dyn Store>) -> Arc<Repository> {
    let clock = Clock::by_hand(at(0));
    Arc::new(Repository::init(Dated::new(store, &clock), &password(), "u", "h").unwrap().with_clock(clock))
}

pub(crate) fn open(store: Arc<dyn Store>) -> Arc<Repository> {
    let clock = Clock::by_hand(at(0));
    Arc::new(Repository::open(Dated::new(store, &clock), &password()).unwrap().with_clock(clock))
}

pub(crate) fn me() -> Identity {
    Identity { hostname: "here".into(), username: "u".into(), uid: 1, gid: 1, pid: std::process::id() }
}

/// Somebody whose process is gone: above the kernel's largest process id.
pub(crate) fn dead() -> Identity {
    Identity { pid: 5_000_000, ..me() }
}

pub(crate) fn at(hour: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_hours(hour)
}

/// Bytes without any order, so that they stay as long as they are.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| step()).collect()
}

pub(crate) fn files(list: &[(&str, u64)]) -> Files {
    list.iter().map(|(name, seed)| ((*name).to_owned(), noise(*seed, 30_000))).collect()
}

fn node(name: &str, size: u64, content: Vec<Digest>) -> Node {
    let time = at(0);
    let metadata = Metadata {
        mode: 0o600,
        uid: 0,
        gid: 0,
        user: "root".into(),
        group: "root".into(),
        mtime: time,
        atime: time,
        ctime: time,
        inode: 0,
        device_id: 0,
        links: 1,
        size,
        xattrs: vec![],
    };
    let entry = Entry { name: name.as_bytes().to_vec(), kind: EntryKind::File, metadata };
    Node { entry, content, subtree: None }
}

/// Save data and tree, relying on what `index` has; the tree's name.
pub(crate) fn save_tree(repository: &Arc<Repository>, index: Index, files: &Files) -> Digest {
    let saver = Saver::start(repository, &Arc::new(index), SaveOptions::default()).unwrap();
    let mut hand = saver.hand().unwrap();
    let mut nodes = vec![];
    for (name, bytes) in files {
        let pieces = bytes.chunks(10_000).map(|piece| hand.save(BlobKind::Data, piece).unwrap().id);
        nodes.push(node(name, bytes.len() as u64, pieces.collect()));
    }
    let tree = hand.save(BlobKind::Tree, &tree::encode(&mut nodes)).unwrap().id;
    drop(hand);
    saver.finish().unwrap();
    tree
}

pub(crate) fn commit(repository: &Repository, tree: Digest, hour: i64) -> Digest {
    let json = format!(
        r#"{{"time":"{}","tree":"{tree}","paths":["/srv"],"hostname":"h","username":"u"}}"#,
        at(hour)
    );
    let snapshot: SnapshotFile = serde_json::from_str(&json).unwrap();
    repository.commit_snapshot(&snapshot).unwrap()
}

pub(crate) fn back_up(repository: &Arc<Repository>, files: &Files, hour: i64) -> Digest {
    let tree = save_tree(repository, repository.load_index_for_writing().unwrap(), files);
    commit(repository, tree, hour)
}

/// All files of a tree, every byte read and compared with its name.
pub(crate) fn restore_tree(repository: &Repository, tree: &Digest) -> Files {
    let index = repository.load_index().unwrap();
    let nodes = tree::decode(&repository.read_blob(&index, BlobKind::Tree, tree).unwrap(), &"tree").unwrap();
    let read = |node: &Node| {
        let pieces =
            node.content.iter().flat_map(|id| repository.read_blob(&index, BlobKind::Data, id).unwrap());
        (String::from_utf8(node.entry.name.clone()).unwrap(), pieces.collect())
    };
    nodes.iter().map(read).collect()
}

pub(crate) fn restore(repository: &Repository, snapshot: &Digest) -> Files {
    restore_tree(repository, &repository.load_snapshot(snapshot).unwrap().tree)
}

pub(crate) fn options() -> PruneOptions {
    PruneOptions::default()
}

/// Both steps at once, and no waste at all.
pub(crate) fn at_once() -> PruneOptions {
    PruneOptions { cooling_off: SignedDuration::ZERO, unused_percent_max: 0, ..PruneOptions::default() }
}

pub(crate) fn try_prune(
    repository: &Arc<Repository>,
    options: &PruneOptions,
    hour: i64,
    identity: &Identity,
) -> Result<PruneReport, RepoError> {
    repository.clock().set(at(hour));
    prune(repository, options, identity, at(hour), &Progress::new(), &CancelToken::new())
}

pub(crate) fn run(repository: &Arc<Repository>, options: &PruneOptions, hour: i64) -> PruneReport {
    try_prune(repository, options, hour, &me()).unwrap()
}

/// Nothing is wrong, down to the last stored byte; how many remarks there are.
pub(crate) fn assert_sound(repository: &Repository, what: &str) -> usize {
    let everything = CheckOptions { read_percent: 100 };
    let report = check(repository, everything, &Progress::new(), &CancelToken::new()).unwrap();
    assert!(report.problems.is_empty(), "{what}: {:#?}", report.problems);
    report.remarks.len()
}

/// Names and lengths of all objects.
pub(crate) fn objects(store: &dyn Store) -> Vec<(String, u64)> {
    let folders = ["data", "index", "snapshots", "keys", "locks", "x"];
    let listed = folders.iter().flat_map(|folder| store.list(folder).unwrap());
    let mut objects: Vec<_> = listed.map(|object| (object.key.to_string(), object.size)).collect();
    objects.sort();
    objects
}
