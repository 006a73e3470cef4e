//! A store that is held back: so many bytes a second up and down, so many requests at once.
//!
//! [`Limits`] is shared: the repositories of one tenant stay below its numbers together. The rate holds over whole
//! objects: each is sent at the line's speed, and what follows waits until the average is kept again.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::bucket::Bucket;
use crate::clock::{Clock, SystemClock};
use crate::key::Key;
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// Bounds that stores share; nothing is bound by default.
pub struct Limits {
    upload: Option<Bucket>,
    download: Option<Bucket>,
    requests: Option<Gate>,
    clock: Arc<dyn Clock>,
}

impl Limits {
    /// No bounds, by the machine's clock.
    pub fn new() -> Self {
        Self::by(Arc::new(SystemClock::new()))
    }

    /// No bounds, by a clock of the caller's.
    pub fn by(clock: Arc<dyn Clock>) -> Self {
        Self { upload: None, download: None, requests: None, clock }
    }

    /// Send at most so many bytes a second.
    #[must_use]
    pub fn upload(mut self, bytes_per_second: Option<NonZeroU64>) -> Self {
        self.upload = bytes_per_second.map(Bucket::new);
        self
    }

    /// Fetch at most so many bytes a second.
    #[must_use]
    pub fn download(mut self, bytes_per_second: Option<NonZeroU64>) -> Self {
        self.download = bytes_per_second.map(Bucket::new);
        self
    }

    /// Have at most so many requests under way as this lets in.
    #[must_use]
    pub fn requests(mut self, at_once: Option<Gate>) -> Self {
        self.requests = at_once;
        self
    }

    /// Wait until so many bytes may be sent, for what is no request of a store.
    pub fn wait_to_send(&self, bytes: usize) {
        self.pay(&self.upload, bytes);
    }

    fn pay(&self, bucket: &Option<Bucket>, bytes: usize) {
        if let Some(bucket) = bucket {
            self.clock.sleep(bucket.pay(bytes as u64, self.clock.now()));
        }
    }

    fn enter(&self) -> Option<Inside<'_>> {
        self.requests.as_ref().map(Gate::enter)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

/// A door that lets so many in at once; clones are the same one.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Door>);

#[derive(Debug)]
struct Door {
    free: Mutex<usize>,
    left: Condvar,
}

impl Gate {
    /// For so many.
    pub fn new(at_once: NonZeroUsize) -> Self {
        Self(Arc::new(Door { free: Mutex::new(at_once.get()), left: Condvar::new() }))
    }

    fn enter(&self) -> Inside<'_> {
        let Door { free, left } = &*self.0;
        let free = free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = left.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Inside(self)
    }
}

/// Being inside; dropping it makes room.
struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let Door { free, left } = &*self.0.0;
        *free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        left.notify_one();
    }
}

/// A store within limits.
pub struct LimitStore<S> {
    inside: S,
    limits: Arc<Limits>,
}

impl<S: Store> LimitStore<S> {
    /// `inside`, within `limits`.
    pub fn new(inside: S, limits: Arc<Limits>) -> Self {
        Self { inside, limits }
    }
}

impl<S: Store> Store for LimitStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.limits.pay(&self.limits.upload, content.len());
        let _inside = self.limits.enter();
        self.inside.put_new(key, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let done = {
            let _inside = self.limits.enter();
            self.inside.get(key, range, into)
        };
        // Afterwards, because nobody knows before how long an object is; what follows waits for it.
        if done.is_ok() {
            self.limits.pay(&self.limits.download, into.len());
        }
        done
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let _inside = self.limits.enter();
        self.inside.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let _inside = self.limits.enter();
        self.inside.delete(key)
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.limits.pay(&self.limits.upload, content.len());
        let _inside = self.limits.enter();
        self.inside.put_pack(key, content, reads)
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::StandingClock;
    use crate::faulty::{Fault, FaultyStore};
    use crate::memory::MemoryStore;
    use crate::store::read;

    const KIB: usize = 1024;

    fn rate(kib_per_second: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(kib_per_second * KIB as u64)
    }

    fn key(number: usize) -> Key {
        format!("data/{number}").parse().unwrap()
    }

    #[test]
    fn conforms_within_tight_limits() {
        let limits = Limits::by(Arc::new(StandingClock::new()));
        let limits = limits.upload(rate(1)).download(rate(1)).requests(NonZeroUsize::new(2).map(Gate::new));
        crate::conformance::run(&LimitStore::new(MemoryStore::new(), Arc::new(limits)));
        let quiet = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| None));
        crate::conformance::run(&LimitStore::new(quiet, Arc::new(Limits::new())));
    }

    #[test]
    fn two_repositories_of_one_tenant_share_their_rate() {
        let clock = Arc::new(StandingClock::new());
        let limits = Arc::new(Limits::by(clock.clone()).upload(rate(100)).download(rate(50)));
        let stores = [0, 1].map(|_| LimitStore::new(MemoryStore::new(), limits.clone()));
        for number in 0..10 {
            stores[number % 2].put_new(&key(number), &vec![0; 100 * KIB]).unwrap();
        }
        assert_eq!(clock.now(), Duration::from_secs(10));
        read(&stores[0], &key(0)).unwrap();
        // The second of credit comes off the two that it takes.
        assert_eq!(clock.now(), Duration::from_secs(11));
        read(&stores[1], &key(1)).unwrap();
        assert_eq!(clock.now(), Duration::from_secs(13));
    }

    #[test]
    fn a_failed_fetch_costs_nothing_and_makes_room() {
        let clock = Arc::new(StandingClock::new());
        let limits =
            Limits::by(clock.clone()).download(rate(1)).requests(NonZeroUsize::new(1).map(Gate::new));
        let faulty = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| Some(Fault::Before)));
        let store = LimitStore::new(faulty, Arc::new(limits));
        for number in 0..3 {
            read(&store, &key(number)).unwrap_err();
        }
        assert_eq!(clock.now(), Duration::ZERO);
    }

    #[test]
    fn no_more_requests_are_under_way_than_allowed() {
        struct Counting(AtomicUsize, AtomicUsize);
        impl Store for Counting {
            fn put_new(&self, _: &Key, _: &[u8]) -> Result<(), StoreError> {
                let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
                self.1.fetch_max(now, Ordering::SeqCst);
                std::thread::yield_now();
                self.0.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
            fn get(&self, _: &Key, _: Range, _: &mut Vec<u8>) -> Result<(), StoreError> {
                Ok(())
            }
            fn list(&self, _: &str) -> Result<Vec<Object>, StoreError> {
                Ok(vec![])
            }
            fn delete(&self, _: &Key) -> Result<(), StoreError> {
                Ok(())
            }
            fn location(&self) -> String {
                "nowhere".into()
            }
        }
        let limits = Arc::new(Limits::new().requests(NonZeroUsize::new(3).map(Gate::new)));
        let store = LimitStore::new(Counting(AtomicUsize::new(0), AtomicUsize::new(0)), limits);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let store = &store;
                scope.spawn(move || {
                    (0..100).for_each(|number| store.put_new(&key(thread * number), b"").unwrap())
                });
            }
        });
        let most = store.inside.1.load(Ordering::SeqCst);
        assert!((1..=3).contains(&most), "{most}");
    }
}
