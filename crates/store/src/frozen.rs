//! A store whose packs are in an archive class, for tests: reading one fails until it was asked for and has arrived, and
//! every attempt is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::archive::{Archive, Terms, Warmth};
use crate::key::Key;
use crate::store::{Object, Range, Refusal, Store, StoreError};

/// Packs are cold, everything else is at hand.
const COLD: &str = "data/";

/// A store with cold packs.
pub struct FrozenStore<S> {
    inside: S,
    /// Of what was asked for: how often its warmth has to be looked at before it is there.
    asked: Mutex<HashMap<Key, u32>>,
    looks: u32,
    gets: AtomicU64,
    cold_gets: AtomicU64,
}

impl<S: Store> FrozenStore<S> {
    /// `inside`, where what was asked for is there at the `looks`-th look at it.
    pub fn new(inside: S, looks: u32) -> Self {
        let asked = Mutex::default();
        Self { inside, asked, looks, gets: AtomicU64::new(0), cold_gets: AtomicU64::new(0) }
    }

    /// Reads of any object so far.
    pub fn gets(&self) -> u64 {
        self.gets.load(Ordering::SeqCst)
    }

    /// Reads of cold ones that were refused.
    pub fn cold_gets(&self) -> u64 {
        self.cold_gets.load(Ordering::SeqCst)
    }

    /// Objects that were asked for.
    pub fn asked(&self) -> usize {
        self.lock().len()
    }

    /// Everything that was asked for cools down again.
    pub fn cool_down(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_warm(&self, key: &Key) -> bool {
        !key.as_str().starts_with(COLD) || self.lock().get(key) == Some(&0)
    }
}

impl<S: Store> Store for FrozenStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.inside.put_new(key, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let read = self.inside.get(key, range, into);
        if read.is_err() || self.is_warm(key) {
            return read;
        }
        into.clear();
        self.cold_gets.fetch_add(1, Ordering::SeqCst);
        let (key, place) = (key.to_string(), self.location());
        Err(StoreError::Refused { action: "read", key, place, why: Refusal::Archived })
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
}

impl<S: Store> Archive for FrozenStore<S> {
    fn warmth(&self, key: &Key) -> Result<Warmth, StoreError> {
        self.inside.get(key, Range::Bytes { offset: 0, len: 0 }, &mut vec![])?;
        match self.lock().get_mut(key) {
            None if key.as_str().starts_with(COLD) => Ok(Warmth::Cold),
            None | Some(0) => Ok(Warmth::Warm),
            Some(looks) => {
                *looks -= 1;
                Ok(if *looks == 0 { Warmth::Warm } else { Warmth::Warming })
            }
        }
    }

    fn warm_up(&self, key: &Key, _terms: &Terms) -> Result<(), StoreError> {
        self.lock().entry(key.clone()).or_insert(self.looks);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::store::read;

    #[test]
    fn it_conforms_to_both() {
        crate::conformance::run(&FrozenStore::new(MemoryStore::new(), 1));
        let store = FrozenStore::new(MemoryStore::new(), 2);
        let key = "data/ab/abcd".parse().unwrap();
        store.put_new(&key, b"a pack").unwrap();
        let pass_time = || _ = store.warmth(&key).unwrap();
        crate::archive::conforms(&store, &store, &key, pass_time);
        assert_eq!((store.gets(), store.cold_gets(), store.asked()), (2, 1, 1));
        store.cool_down();
        assert!(read(&store, &key).is_err());
    }
}
