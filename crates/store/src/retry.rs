//! A store that does not give up at once: transient errors are tried again, with growing random pauses.
//!
//! **A put whose answer was lost** may have taken effect. If a later try finds the name taken, the object is read
//! and compared: our bytes mean that we made it. So whoever wants to know that it was *he* who took a name puts
//! bytes there that nobody else would, as everything sealed is.

use std::sync::Arc;

use crate::adapt::is_named_by_hash;
use crate::archive::{Archive, Terms, Warmth};
use crate::clock::Clock;
use crate::key::Key;
pub use crate::patience::{Dice, Patience, Retry, Witness};
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// A store, tried again.
pub struct RetryStore<S> {
    inside: S,
    retry: Retry,
    /// Whether the name of an object, where it is a hash, says enough about its bytes.
    trusts_hashes: bool,
}

impl<S> RetryStore<S> {
    /// `inside`, by the machine's clock and randomness.
    pub fn new(inside: S, patience: Patience) -> Self {
        Self { inside, retry: Retry::new(patience), trusts_hashes: false }
    }

    /// `inside`, by a clock and randomness of the caller's.
    pub fn with(inside: S, patience: Patience, clock: Arc<dyn Clock>, dice: Dice) -> Self {
        Self { inside, retry: Retry::with(patience, clock, dice), trusts_hashes: false }
    }

    /// The same, where `witness` hears of each pause.
    #[must_use]
    pub fn witnessed(mut self, witness: Witness) -> Self {
        self.retry = self.retry.witnessed(witness);
        self
    }

    /// The same, where what is named by the hash of its bytes is not read back, since that takes long or is not allowed.
    /// Who finds such a name taken after a lost answer has stored it.
    #[must_use]
    pub fn trusting_hashes(mut self) -> Self {
        self.trusts_hashes = true;
        self
    }
}

impl<S: Store> RetryStore<S> {
    /// Whether the object under `key` is `content`; `None` where there is no object any more.
    fn holds(&self, key: &Key, content: &[u8]) -> Result<Option<bool>, StoreError> {
        if self.trusts_hashes && is_named_by_hash(key) {
            return Ok(Some(true));
        }
        let mut found = vec![];
        match self.inside.get(key, Range::All, &mut found) {
            Ok(()) => Ok(Some(found == content)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `put` until it is known who made the object.
    fn put(
        &self,
        key: &Key,
        content: &[u8],
        put: impl Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut in_doubt = false;
        // Once the name was found taken there is only to be read whose bytes it has.
        let mut taken = None;
        self.retry.persist(|| {
            if taken.is_none() {
                match put() {
                    Err(error) if error.is_already_exists() && in_doubt => taken = Some(error),
                    done => {
                        in_doubt |= done.as_ref().is_err_and(StoreError::is_transient);
                        return done;
                    }
                }
            }
            match (self.holds(key, content)?, taken.take()) {
                (Some(false), Some(error)) => Err(error),
                // Made and deleted since, by whomever: the name is free again.
                (None, _) => put(),
                _ => Ok(()),
            }
        })
    }
}

impl<S: Store> Store for RetryStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.put(key, content, || self.inside.put_new(key, content))
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.retry.persist(|| self.inside.get(key, range, into))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.retry.persist(|| self.inside.list(prefix))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.retry.persist(|| self.inside.delete(key))
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.put(key, content, || self.inside.put_pack(key, content, reads))
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
    }
}

impl<A: Archive> Archive for RetryStore<A> {
    fn warmth(&self, key: &Key) -> Result<Warmth, StoreError> {
        self.retry.persist(|| self.inside.warmth(key))
    }

    fn warm_up(&self, key: &Key, terms: &Terms) -> Result<(), StoreError> {
        self.retry.persist(|| self.inside.warm_up(key, terms))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::StandingClock;
    use crate::faulty::{Fault, FaultyStore, Plan};
    use crate::memory::MemoryStore;
    use crate::store::read;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    /// A store with faults, tried again by a standing clock with the longest pauses.
    fn trying(plan: Plan) -> (RetryStore<FaultyStore<MemoryStore>>, Arc<StandingClock>) {
        let clock = Arc::new(StandingClock::new());
        let inside = FaultyStore::new(MemoryStore::new(), plan);
        (RetryStore::with(inside, Patience::default(), clock.clone(), Box::new(|| u32::MAX)), clock)
    }

    /// The same, once it has answered.
    fn trying_again(plan: Plan) -> (RetryStore<FaultyStore<MemoryStore>>, Arc<StandingClock>) {
        let (store, clock) = trying(plan);
        store.retry.has_answered.store(true, Ordering::Relaxed);
        (store, clock)
    }

    #[test]
    fn conforms_also_when_two_of_three_calls_fail_before_or_after_their_effect() {
        crate::conformance::run(&trying(Box::new(|_, _, _| None)).0);
        for fault in [Fault::Before, Fault::After] {
            let calls = AtomicU32::new(0);
            let plan =
                move |_, _: &str, _: &str| (calls.fetch_add(1, Ordering::Relaxed) % 3 != 2).then_some(fault);
            let clock = Arc::new(StandingClock::new());
            let inside = FaultyStore::new(MemoryStore::new(), Box::new(plan));
            // Eight threads share the faults, so one may meet many in a row: time is free here.
            let forever = Duration::from_secs(1 << 30);
            let patience = Patience { deadline: forever, deadline_first: forever, ..Patience::default() };
            let random = AtomicU32::new(1);
            let dice = move || random.fetch_add(0x9e37_79b9, Ordering::Relaxed);
            crate::conformance::run(&RetryStore::with(inside, patience, clock, Box::new(dice)));
        }
    }

    #[test]
    fn pitfall_24_a_put_whose_answer_was_lost_is_known_by_its_bytes() {
        let (store, _) = trying(Box::new(|number, _, _| (number == 0).then_some(Fault::After)));
        store.put_new(&key("locks/mine"), b"mine").unwrap();
        assert_eq!(read(&store, &key("locks/mine")).unwrap(), b"mine");
    }

    #[test]
    fn what_cannot_be_read_back_is_known_by_its_name() {
        let no_get = |number, action: &str, _: &str| match (number, action) {
            (0, _) => Some(Fault::After),
            (_, "get") => Some(Fault::Denied),
            _ => None,
        };
        for name in ["data/ab/abcd", "index/ab", "snapshots/ab", "keys/ab", "locks/ab"] {
            let (store, _) = trying(Box::new(no_get));
            let store = store.trusting_hashes();
            store.put_new(&key(name), b"content").unwrap();
            assert!(store.put_new(&key(name), b"content").unwrap_err().is_already_exists());
        }
        for name in ["config", "x/lease/backup-1/2", "x/record/ab"] {
            let (store, _) = trying(Box::new(no_get));
            assert!(store.trusting_hashes().put_new(&key(name), b"c").is_err());
        }
    }

    #[test]
    fn somebody_elses_object_is_never_taken_for_ours() {
        let (store, _) = trying(Box::new(|number, _, _| (number == 1).then_some(Fault::Before)));
        store.put_new(&key("locks/one"), b"theirs").unwrap();
        let error = store.put_new(&key("locks/one"), b"ours").unwrap_err();
        assert!(error.is_already_exists(), "{error}");
        // Without a doubt, not even the same bytes count: the other one was first.
        assert!(store.put_new(&key("locks/one"), b"theirs").unwrap_err().is_already_exists());
    }

    #[test]
    fn an_object_that_came_and_went_is_put_again() {
        struct Vanishing(MemoryStore, AtomicU32);
        impl Store for Vanishing {
            fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
                let place = self.location();
                match self.1.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(StoreError::Io {
                        action: "write",
                        key: key.to_string(),
                        place,
                        cause: std::io::ErrorKind::TimedOut.into(),
                    }),
                    1 => Err(StoreError::AlreadyExists { key: key.to_string(), place }),
                    _ => self.0.put_new(key, content),
                }
            }
            fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
                self.0.get(key, range, into)
            }
            fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
                self.0.list(prefix)
            }
            fn delete(&self, key: &Key) -> Result<(), StoreError> {
                self.0.delete(key)
            }
            fn location(&self) -> String {
                self.0.location()
            }
        }
        let inside = Vanishing(MemoryStore::new(), AtomicU32::new(0));
        let clock = Arc::new(StandingClock::new());
        let store = RetryStore::with(inside, Patience::default(), clock, Box::new(|| 0));
        store.put_new(&key("a"), b"x").unwrap();
        assert_eq!(read(&store, &key("a")).unwrap(), b"x");
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_end_with_the_deadline() {
        let (store, clock) = trying_again(Box::new(|_, _, _| Some(Fault::Before)));
        let pauses = Arc::new(std::sync::Mutex::new(vec![]));
        let seen = pauses.clone();
        let store = store.witnessed(Box::new(move |_, pause| seen.lock().unwrap().push(pause.as_millis())));
        let error = read(&store, &key("config")).unwrap_err();
        assert!(error.to_string().contains("planned fault"), "{error}");
        let pauses = pauses.lock().unwrap();
        assert_eq!(pauses[..8], [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        let Patience { deadline, pause_max, .. } = Patience::default();
        assert!(clock.now() <= deadline && clock.now() + pause_max > deadline, "{:?}", clock.now());
    }

    #[test]
    fn a_store_that_never_answered_is_given_up_sooner() {
        let Patience { deadline_first, .. } = Patience::default();
        let (store, clock) = trying(Box::new(|_, _, _| Some(Fault::Before)));
        read(&store, &key("config")).unwrap_err();
        let first = clock.now();
        assert!(first <= deadline_first, "{first:?}");
        // One answer, be it a no, and it is waited for.
        let (store, clock) = trying(Box::new(|number, _, _| (number > 0).then_some(Fault::Before)));
        assert!(read(&store, &key("config")).unwrap_err().is_not_found());
        read(&store, &key("config")).unwrap_err();
        assert!(clock.now() > deadline_first, "{:?}", clock.now());
    }

    #[test]
    fn what_will_not_pass_by_itself_is_said_at_once() {
        let (store, clock) = trying(Box::new(|_, _, _| Some(Fault::Denied)));
        read(&store, &key("config")).unwrap_err();
        store.put_new(&key("config"), b"x").unwrap_err();
        assert_eq!((store.inside.calls(), clock.now()), (2, Duration::ZERO));
        let (store, _) = trying(Box::new(|_, _, _| None));
        assert!(read(&store, &key("config")).unwrap_err().is_not_found());
        assert_eq!(store.inside.calls(), 1);
    }
}
