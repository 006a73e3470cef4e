//! Plaintext of blobs that were read lately, for all who read at random; the least recently used go first.
//!
//! Invariants: never more bytes than were allowed; of several threads that want one blob, one reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::blob::BlobId;
use crate::index::{IdMap, IdSet};

/// Blobs in memory.
pub struct PlainCache {
    len_max: usize,
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    blobs: IdMap<Kept>,
    /// By the time of their last use.
    order: BTreeMap<u64, BlobId>,
    now: u64,
    len: usize,
    /// Somebody reads them.
    claimed: IdSet,
}

struct Kept {
    bytes: Arc<[u8]>,
    used: u64,
}

/// Where a blob comes from.
pub(crate) enum Answer<'a> {
    /// It is there.
    Kept(Arc<[u8]>),
    /// The caller reads it, and what else it claimed.
    Claimed(Claim<'a>),
}

/// Blobs that one thread reads; what is not kept when this goes is anybody's again.
pub(crate) struct Claim<'a> {
    cache: &'a PlainCache,
    ids: Vec<BlobId>,
}

impl PlainCache {
    /// At most `len_max` bytes.
    pub fn new(len_max: usize) -> Arc<Self> {
        Arc::new(Self { len_max, state: Mutex::default(), ready: Condvar::new() })
    }

    /// Bytes that it may hold.
    pub fn len_max(&self) -> usize {
        self.len_max
    }

    /// The blob `first`; where it is not there, a claim on it, and on those `more` that are nobody's.
    pub(crate) fn get(&self, first: &BlobId, more: &[BlobId]) -> Answer<'_> {
        let mut state = lock(&self.state);
        loop {
            if let Some(bytes) = state.touch(first) {
                return Answer::Kept(bytes);
            }
            if !state.claimed.contains(first) {
                break;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut ids = vec![];
        for id in std::iter::once(first).chain(more) {
            if !state.blobs.contains_key(id) && state.claimed.insert(*id) {
                ids.push(*id);
            }
        }
        Answer::Claimed(Claim { cache: self, ids })
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).len
    }
}

impl State {
    fn touch(&mut self, id: &BlobId) -> Option<Arc<[u8]>> {
        let kept = self.blobs.get_mut(id)?;
        self.now += 1;
        self.order.remove(&kept.used);
        self.order.insert(self.now, *id);
        kept.used = self.now;
        Some(Arc::clone(&kept.bytes))
    }

    fn keep(&mut self, id: &BlobId, bytes: Arc<[u8]>, len_max: usize) {
        if bytes.len() > len_max || self.blobs.contains_key(id) {
            return;
        }
        while self.len + bytes.len() > len_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.len -= self.blobs.remove(&oldest).map_or(0, |kept| kept.bytes.len());
        }
        self.now += 1;
        self.len += bytes.len();
        self.order.insert(self.now, *id);
        self.blobs.insert(*id, Kept { bytes, used: self.now });
    }
}

impl Claim<'_> {
    /// What is to be read.
    pub(crate) fn ids(&self) -> &[BlobId] {
        &self.ids
    }

    /// One of them was read.
    pub(crate) fn keep(&self, id: &BlobId, bytes: &Arc<[u8]>) {
        lock(&self.cache.state).keep(id, Arc::clone(bytes), self.cache.len_max);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.cache.state);
        for id in &self.ids {
            state.claimed.remove(id);
        }
        self.cache.ready.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use model::digest::Digest;

    use super::*;

    fn put(cache: &PlainCache, n: u8, len: usize) -> bool {
        match cache.get(&Digest([n; 32]), &[]) {
            Answer::Kept(_) => true,
            Answer::Claimed(claim) => {
                claim.keep(&Digest([n; 32]), &vec![n; len].into());
                false
            }
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let cache = PlainCache::new(100);
        assert_eq!([put(&cache, 1, 40), put(&cache, 2, 40), put(&cache, 1, 40)], [false, false, true]);
        assert!(!put(&cache, 3, 60), "2 goes");
        assert_eq!(cache.len(), 100);
        assert_eq!([put(&cache, 1, 40), put(&cache, 3, 60)], [true, true]);
        assert!(!put(&cache, 4, 101) && !put(&cache, 4, 101), "too long to be kept");
        assert_eq!(cache.len(), 100);
    }

    #[test]
    fn one_thread_reads_what_many_want() {
        let (cache, reads) = (PlainCache::new(100), std::sync::atomic::AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match cache.get(&Digest([1; 32]), &[]) {
                    Answer::Kept(bytes) => assert_eq!(&bytes[..], [1; 10]),
                    Answer::Claimed(claim) => {
                        reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        claim.keep(&Digest([1; 32]), &vec![1; 10].into());
                    }
                });
            }
        });
        assert_eq!(reads.into_inner(), 1);
    }
}
