//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::key::Key;
use crate::store::{Object, Range, Store, StoreError};

/// Objects in a map; gone with the value.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<Key, (Vec<u8>, SystemTime)>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replace the bytes of an object without asking, as a broken disk or an attacker would.
    pub fn tamper(&self, key: &Key, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some((content, _)) = self.objects().get_mut(key) {
            change(content);
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, (Vec<u8>, SystemTime)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self, key: &Key) -> StoreError {
        StoreError::NotFound { key: key.to_string(), place: self.location() }
    }
}

impl Store for MemoryStore {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(StoreError::AlreadyExists { key: key.to_string(), place: self.location() });
        }
        objects.insert(key.clone(), (content.to_vec(), SystemTime::now()));
        Ok(())
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let objects = self.objects();
        let (content, _) = objects.get(key).ok_or_else(|| self.missing(key))?;
        let part = match range {
            Range::All => Some(&content[..]),
            Range::Bytes { offset, len } => usize::try_from(offset)
                .ok()
                .zip(usize::try_from(len).ok())
                .and_then(|(offset, len)| content.get(offset..offset.checked_add(len)?)),
        };
        into.clear();
        into.extend_from_slice(
            part.ok_or_else(|| StoreError::Short { key: key.to_string(), place: self.location() })?,
        );
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let objects = self.objects();
        let inside = |key: &Key| key.as_str().strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let found = objects.iter().filter(|(key, _)| inside(key));
        Ok(found
            .map(|(key, (content, modified))| Object {
                key: key.clone(),
                size: content.len() as u64,
                modified: *modified,
            })
            .collect())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::conformance::run(&MemoryStore::new());
        crate::conformance::odd_names_are_kept_as_they_are(&MemoryStore::new());
        crate::conformance::a_long_list_is_whole(&MemoryStore::new());
    }
}
