//! A store that fails where a test wants it: the n-th call, before or after it took effect.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::Key;
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// What a fault does to one call. Only `Denied` says that it is useless to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and nothing happened.
    Before,
    /// The call fails although it took effect, as with an answer lost on the way.
    After,
    /// The call is refused for good, as with a missing right; nothing happened.
    Denied,
}

/// Decides for each call: its number from 0, its name (`put`, `get`, `list`, `delete`) and its key or prefix.
pub type Plan = Box<dyn Fn(u64, &str, &str) -> Option<Fault> + Send + Sync>;

/// A store with planned faults in front of a sound one.
pub struct FaultyStore<S> {
    inside: S,
    plan: Plan,
    calls: AtomicU64,
}

impl<S: Store> FaultyStore<S> {
    /// `inside`, with the faults of `plan`.
    pub fn new(inside: S, plan: Plan) -> Self {
        Self { inside, plan, calls: AtomicU64::new(0) }
    }

    /// The sound store.
    pub fn inside(&self) -> &S {
        &self.inside
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call<T>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let broken = |kind: ErrorKind| StoreError::Io {
            action,
            key: key.to_owned(),
            place: self.location(),
            cause: io::Error::new(kind, "planned fault"),
        };
        match (self.plan)(number, action, key) {
            None => work(),
            Some(Fault::Before) => Err(broken(ErrorKind::TimedOut)),
            Some(Fault::After) => work().and_then(|_| Err(broken(ErrorKind::TimedOut))),
            Some(Fault::Denied) => Err(broken(ErrorKind::PermissionDenied)),
        }
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.call("put", key.as_str(), || self.inside.put_new(key, content))
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.call("get", key.as_str(), || self.inside.get(key, range, into))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.call("list", prefix, || self.inside.list(prefix))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call("delete", key.as_str(), || self.inside.delete(key))
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.call("put", key.as_str(), || self.inside.put_pack(key, content, reads))
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
    fn a_sound_plan_conforms() {
        crate::conformance::run(&FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| None)));
    }

    #[test]
    fn a_fault_after_the_call_leaves_its_effect() {
        let plan = |number, _: &str, _: &str| (number == 0).then_some(Fault::After);
        let store = FaultyStore::new(MemoryStore::new(), Box::new(plan));
        let key = "config".parse().unwrap();
        assert!(store.put_new(&key, b"x").is_err());
        assert!(store.put_new(&key, b"x").unwrap_err().is_already_exists());
    }
}
