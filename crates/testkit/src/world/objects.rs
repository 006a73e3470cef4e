//! The objects of a simulated store, with all their past: so a listing of a moment ago can be given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use store::Key;

/// A version of an object.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its bytes.
    pub content: Arc<Vec<u8>>,
    /// When it was stored.
    pub stored_at: Duration,
    /// When it was deleted.
    pub deleted_at: Option<Duration>,
    /// The how many-th change of the store made it.
    pub born: u64,
    /// Which one deleted it.
    died: Option<u64>,
}

/// What a store holds and held.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    versions: BTreeMap<Key, Vec<Version>>,
    changes: u64,
}

impl Objects {
    /// The object as it is now.
    pub fn get(&self, key: &Key) -> Option<&Version> {
        self.versions.get(key)?.last().filter(|version| version.died.is_none())
    }

    /// The last version of an object, also of one that is gone.
    pub fn last(&self, key: &Key) -> Option<&Version> {
        self.versions.get(key)?.last()
    }

    /// How long the object below a folder was there that was there the longest, of those that are gone.
    pub fn longest_stay(&self, folder: &str) -> Option<Duration> {
        let all = self.versions.iter().filter(|(key, _)| is_below(key, folder)).flat_map(|(_, all)| all);
        all.filter_map(|version| version.deleted_at?.checked_sub(version.stored_at)).max()
    }

    /// Store an object; false where there is one.
    pub fn put(&mut self, key: &Key, content: &[u8], now: Duration) -> bool {
        if self.get(key).is_some() {
            return false;
        }
        self.changes += 1;
        let version = Version {
            content: Arc::new(content.to_vec()),
            stored_at: now,
            deleted_at: None,
            born: self.changes,
            died: None,
        };
        self.versions.entry(key.clone()).or_default().push(version);
        true
    }

    /// Delete an object.
    pub fn delete(&mut self, key: &Key, now: Duration) {
        let Some(version) = self.versions.get_mut(key).and_then(|versions| versions.last_mut()) else {
            return;
        };
        if version.died.is_none() {
            self.changes += 1;
            version.died = Some(self.changes);
            version.deleted_at = Some(now);
        }
    }

    /// Change the bytes of an object, as a broken disk does.
    pub fn tamper(&mut self, key: &Key, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(version) = self.versions.get_mut(key).and_then(|versions| versions.last_mut()) {
            change(Arc::make_mut(&mut version.content));
        }
    }

    /// What lay in a folder `changes_ago`, the oldest first.
    pub fn list(&self, folder: &str, changes_ago: u64) -> Vec<(Key, Version)> {
        let moment = self.changes.saturating_sub(changes_ago);
        let was_there =
            |version: &&Version| version.born <= moment && version.died.is_none_or(|died| died > moment);
        let mut found: Vec<_> = self
            .versions
            .iter()
            .filter(|(key, _)| is_below(key, folder))
            .filter_map(|(key, versions)| Some((key.clone(), versions.iter().rev().find(was_there)?.clone())))
            .collect();
        found.sort_by_key(|(_, version)| version.born);
        found
    }
}

fn is_below(key: &Key, folder: &str) -> bool {
    key.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
