//! Planted bugs: a store between the production code and the world that takes one step of the order away.
//!
//! Steps that only a second fault makes necessary are not here: that writers pass marked packs over, and that a holder
//! looks at its own lease, each stand behind another guard.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{Key, Object, Range, Store, StoreError};
use testkit::world::stage::Door;

/// Which step is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A snapshot is stored before its packs and index files are.
    SnapshotFirst,
    /// An index file is stored before its packs are.
    IndexFirst,
    /// Prune sees neither leases nor locks of others.
    HoldersIgnored,
    /// Writers and prune do not see locks of others.
    LocksIgnored,
    /// Prune works with the snapshots that it saw first.
    SnapshotsOfBefore,
    /// Prune removes packs before it stores what replaces them.
    RemovedBeforeReplaced,
    /// Prune removes packs before the index files that name them.
    PacksBeforeIndex,
    /// A snapshot is taken out of sight before its tombstone is there.
    TombstoneLast,
}

impl Bug {
    pub(crate) const ALL: [Self; 8] = [
        Self::SnapshotFirst,
        Self::IndexFirst,
        Self::HoldersIgnored,
        Self::LocksIgnored,
        Self::SnapshotsOfBefore,
        Self::RemovedBeforeReplaced,
        Self::PacksBeforeIndex,
        Self::TombstoneLast,
    ];
}

/// What the bug of this world is; none most of the time.
pub(crate) type Planted = Arc<Mutex<Option<Bug>>>;

enum Late {
    Put(Key, Vec<u8>),
    Delete(Key),
}

/// The store of an actor, with the bug.
pub(crate) struct Buggy {
    door: Door,
    planted: Planted,
    prunes: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    late: Vec<Late>,
    own: Vec<Key>,
    snapshots: Option<Vec<Object>>,
}

impl Buggy {
    pub(crate) fn new(door: Door, planted: &Planted, prunes: bool) -> Self {
        Self { door, planted: Arc::clone(planted), prunes, state: Mutex::default() }
    }

    /// Before the next verb.
    pub(crate) fn forget_all(&self) {
        *lock(&self.state) = State::default();
    }

    fn is(&self, bug: Bug) -> bool {
        *lock(&self.planted) == Some(bug)
    }

    fn put_late(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        lock(&self.state).late.push(Late::Put(key.clone(), content.to_vec()));
        Ok(())
    }

    fn delete_late(&self, key: &Key) -> Result<(), StoreError> {
        lock(&self.state).late.push(Late::Delete(key.clone()));
        Ok(())
    }

    fn catch_up(&self) -> Result<(), StoreError> {
        let late = std::mem::take(&mut lock(&self.state).late);
        late.into_iter().try_for_each(|late| match late {
            Late::Put(key, content) => self.door.put_new(&key, &content),
            Late::Delete(key) => self.door.delete(&key),
        })
    }
}

impl Store for Buggy {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let name = key.as_str();
        let is_pack = name.starts_with("data/");
        let is_index = name.starts_with("index/");
        lock(&self.state).own.push(key.clone());
        if !self.prunes && self.is(Bug::SnapshotFirst) && (is_pack || is_index) {
            return self.put_late(key, content);
        }
        if self.is(Bug::IndexFirst) && is_pack {
            return self.put_late(key, content);
        }
        if self.prunes && self.is(Bug::RemovedBeforeReplaced) && (is_pack || is_index) {
            return self.put_late(key, content);
        }
        if self.is(Bug::TombstoneLast) && name.starts_with("x/deleted/") {
            return self.put_late(key, content);
        }
        self.door.put_new(key, content)?;
        let follows = (self.is(Bug::SnapshotFirst) && name.starts_with("snapshots/"))
            || (self.is(Bug::IndexFirst) && is_index);
        if follows { self.catch_up() } else { Ok(()) }
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.door.get(key, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let mut found = self.door.list(prefix)?;
        let hides = match prefix {
            "x/lease" => self.prunes && self.is(Bug::HoldersIgnored),
            "locks" => self.is(Bug::LocksIgnored) || (self.prunes && self.is(Bug::HoldersIgnored)),
            _ => false,
        };
        let mut state = lock(&self.state);
        if hides {
            found.retain(|object| state.own.contains(&object.key));
        }
        if self.prunes && self.is(Bug::SnapshotsOfBefore) && prefix == "snapshots" {
            return Ok(state.snapshots.get_or_insert(found).clone());
        }
        Ok(found)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let name = key.as_str();
        if self.prunes && self.is(Bug::PacksBeforeIndex) && name.starts_with("index/") {
            return self.delete_late(key);
        }
        self.door.delete(key)?;
        // At the very end a holder gives its lease back.
        let is_end = name.starts_with("x/lease/") || name.starts_with("locks/");
        if is_end || name.starts_with("snapshots/") { self.catch_up() } else { Ok(()) }
    }

    fn location(&self) -> String {
        self.door.location()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
