//! The safe slower ways around promises that a store does not keep; [`crate::probe`] says when they are needed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::key::Key;
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError, read};

/// Folders whose objects are named by the hash of their bytes: writing one again changes nothing.
const NAMED_BY_HASH: [&str; 5] = ["data/", "index/", "snapshots/", "keys/", "locks/"];

pub(crate) fn is_named_by_hash(key: &Key) -> bool {
    NAMED_BY_HASH.iter().any(|folder| key.as_str().starts_with(folder))
}

/// For a store that overwrites: look before, and look again afterwards.
///
/// What is lost: two that write the same name within the same moment may both be told that they made it, and the
/// last one's bytes stay. Only names that are no hashes are in that danger: `config`, and what is below `x/` and
/// `wal/`; their bytes are sealed with fresh randomness, so the second look tells one's own from another's.
pub struct CheckFirst {
    inside: Arc<dyn Store>,
}

impl CheckFirst {
    /// Around a store that overwrites.
    pub fn new(inside: Arc<dyn Store>) -> Self {
        Self { inside }
    }

    fn exists(&self, key: &Key) -> StoreError {
        StoreError::AlreadyExists { key: key.to_string(), place: self.location() }
    }
}

impl Store for CheckFirst {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        if is_named_by_hash(key) {
            return self.inside.put_new(key, content);
        }
        match self.inside.get(key, Range::Bytes { offset: 0, len: 0 }, &mut vec![]) {
            Ok(()) => return Err(self.exists(key)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        self.inside.put_new(key, content)?;
        if read(&*self.inside, key)? == content { Ok(()) } else { Err(self.exists(key)) }
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inside.get(key, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.inside.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inside.delete(key)
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        // A pack, whose name is its hash.
        self.inside.put_pack(key, content, reads)
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
    }
}

/// For a store whose ranges are wrong: whole objects are fetched and cut here. The last one is kept, because the
/// ranges of one pack are asked for one after the other.
pub struct WholeReads {
    inside: Arc<dyn Store>,
    last: Mutex<Option<(Key, Arc<Vec<u8>>)>>,
}

impl WholeReads {
    /// Around a store whose ranges are wrong.
    pub fn new(inside: Arc<dyn Store>) -> Self {
        Self { inside, last: Mutex::new(None) }
    }

    fn whole(&self, key: &Key) -> Result<Arc<Vec<u8>>, StoreError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, content)) = last.filter(|(of, _)| of == key) {
            return Ok(content);
        }
        let content = Arc::new(read(&*self.inside, key)?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), content.clone()));
        Ok(content)
    }
}

impl Store for WholeReads {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.inside.put_new(key, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let (offset, len) = match range {
            Range::All | Range::Bytes { len: 0, .. } => return self.inside.get(key, range, into),
            Range::Bytes { offset, len } => (offset, len),
        };
        let content = self.whole(key)?;
        let part = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(len).ok())
            .and_then(|(offset, len)| content.get(offset..offset.checked_add(len)?));
        let part = part.ok_or_else(|| StoreError::Short { key: key.to_string(), place: self.location() })?;
        into.clear();
        into.extend_from_slice(part);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.inside.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.inside.delete(key);
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(of, _)| of == key);
        deleted
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.inside.put_pack(key, content, reads)
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[test]
    fn both_conform_around_a_sound_store() {
        crate::conformance::run(&CheckFirst::new(Arc::new(MemoryStore::new())));
        crate::conformance::run(&WholeReads::new(Arc::new(MemoryStore::new())));
    }
}
