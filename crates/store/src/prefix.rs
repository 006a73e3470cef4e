//! A part of a store as a store of its own: every key begins with a folder that its users do not see.

use std::io::ErrorKind;

use crate::key::{BadKey, Key};
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// The objects of a store below one folder.
pub struct PrefixStore<S> {
    inside: S,
    folder: Key,
}

impl<S: Store> PrefixStore<S> {
    /// What is below `folder` in `inside`.
    ///
    /// # Errors
    /// [`BadKey`] where `folder` is no name of a folder.
    pub fn new(inside: S, folder: &str) -> Result<Self, BadKey> {
        Ok(Self { inside, folder: folder.parse()? })
    }

    fn outer(&self, action: &'static str, key: &Key) -> Result<Key, StoreError> {
        format!("{}/{key}", self.folder).parse().map_err(|_: BadKey| StoreError::Io {
            action,
            key: key.to_string(),
            place: self.location(),
            cause: ErrorKind::InvalidFilename.into(),
        })
    }

    fn inner(&self, mut object: Object) -> Option<Object> {
        let rest = object.key.as_str().strip_prefix(self.folder.as_str())?.strip_prefix('/')?;
        object.key = rest.parse().ok()?;
        Some(object)
    }
}

impl<S: Store> Store for PrefixStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.inside.put_new(&self.outer("write", key)?, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inside.get(&self.outer("read", key)?, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let found = self.inside.list(&format!("{}/{prefix}", self.folder))?;
        Ok(found.into_iter().filter_map(|object| self.inner(object)).collect())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inside.delete(&self.outer("delete", key)?)
    }

    fn location(&self) -> String {
        format!("{}/{}", self.inside.location().trim_end_matches('/'), self.folder)
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.inside.put_pack(&self.outer("write", key)?, content, reads)
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyStore;
    use crate::memory::MemoryStore;
    use crate::store::read;

    #[test]
    fn conforms() {
        crate::conformance::run(&PrefixStore::new(MemoryStore::new(), "tenants/acme").unwrap());
        let quiet = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| None));
        crate::conformance::run(&PrefixStore::new(quiet, "acme").unwrap());
    }

    #[test]
    fn neighbours_do_not_see_each_other() {
        let memory = std::sync::Arc::new(MemoryStore::new());
        let one = PrefixStore::new(memory.clone(), "acme").unwrap();
        let other = PrefixStore::new(memory, "acme2").unwrap();
        let key = "keys/one".parse().unwrap();
        one.put_new(&key, b"one").unwrap();
        assert!(read(&other, &key).unwrap_err().is_not_found());
        assert_eq!(other.list("keys").unwrap(), []);
        assert_eq!(one.list("keys").unwrap()[0].key, key);
        assert_eq!(one.location(), "memory/acme");
    }

    #[test]
    fn a_folder_cannot_lead_out_and_a_name_that_grows_too_long_is_refused() {
        for folder in ["", "..", "a/../b", "/a", "a/"] {
            assert!(PrefixStore::new(MemoryStore::new(), folder).is_err(), "{folder:?}");
        }
        let store = PrefixStore::new(MemoryStore::new(), &"p".repeat(600)).unwrap();
        let error = store.put_new(&"k".repeat(200).parse().unwrap(), b"").unwrap_err();
        assert!(!error.is_transient(), "{error}");
    }
}
