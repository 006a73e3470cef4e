//! A repository on two stores: *cold* has all of it, *hot* a copy of what is read every day.
//!
//! What is true is what cold lists. Hot is asked first for everything but packs of data, and has what cold has, or less:
//! an object is put into cold and then into hot, and deleted from hot and then from cold. So a crash between the two
//! leaves something missing in hot, never the reverse. What hot lacks is looked up in cold's listing, and read from there
//! if it is named, since all but packs is at hand. So nothing but packs of data is read from cold in a sound pair.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::adapt::is_named_by_hash;
use crate::key::Key;
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// Where packs are, of which only those of trees are in hot.
const PACKS: &str = "data";
/// Objects by which somebody learns that he was taken for dead: who did that may have known the cold part alone.
const LEASES: &str = "x/lease/";

/// Two stores as one.
pub struct Tiers {
    hot: Arc<dyn Store>,
    cold: Arc<dyn Store>,
    /// Packs that hot was asked for and did not have: each of their ranges would cost another question.
    cold_packs: Mutex<HashSet<Key>>,
    /// What cold listed, without packs.
    listed: Mutex<HashSet<Key>>,
}

impl Tiers {
    /// `cold`, with a copy in `hot` of what is read every day.
    pub fn new(hot: Arc<dyn Store>, cold: Arc<dyn Store>) -> Self {
        Self { hot, cold, cold_packs: Mutex::default(), listed: Mutex::default() }
    }

    /// The store that has a part.
    pub fn hot(&self) -> &Arc<dyn Store> {
        &self.hot
    }

    /// The store that has everything.
    pub fn cold(&self) -> &Arc<dyn Store> {
        &self.cold
    }

    /// Whether both hold parts of one repository: the names of keys are hashes of what is nowhere twice. Nothing is read.
    ///
    /// # Errors
    /// When one of them cannot list.
    pub fn are_partners(&self) -> Result<bool, StoreError> {
        let theirs: HashSet<Key> = self.cold.list("keys")?.into_iter().map(|object| object.key).collect();
        Ok(self.hot.list("keys")?.iter().any(|object| theirs.contains(&object.key)))
    }

    /// Whether cold names `key`, or named it a while ago; a listing is no read.
    fn is_in_cold(&self, key: &Key) -> Result<bool, StoreError> {
        let was_listed = lock(&self.listed).contains(key);
        Ok(was_listed || self.is_in_cold_now(key)?)
    }

    fn is_in_cold_now(&self, key: &Key) -> Result<bool, StoreError> {
        let Some((folder, _)) = key.as_str().rsplit_once('/') else { return Ok(false) };
        Ok(self.list(folder)?.iter().any(|object| object.key == *key))
    }

    fn put_both(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.after_cold(key, self.cold.put_new(key, content), || match self.hot.put_new(key, content) {
            // Cold did not have the name: what hot has is left from something that is gone.
            Err(error) if error.is_already_exists() && !is_named_by_hash(key) => {
                self.hot.delete(key)?;
                self.hot.put_new(key, content)
            }
            put => put,
        })
    }

    /// Hot takes what `cold` took, by `put_hot`.
    fn after_cold(
        &self,
        key: &Key,
        cold: Result<(), StoreError>,
        put_hot: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Whoever made it may have died before hot had it. The name of a hash says which bytes it has.
        let is_hash = is_named_by_hash(key);
        if cold.as_ref().is_err_and(|error| !(error.is_already_exists() && is_hash)) {
            return cold;
        }
        match put_hot() {
            Err(error) if error.is_already_exists() && is_hash => cold,
            hot => hot.and(cold),
        }
    }
}

fn is_pack(key: &Key) -> bool {
    key.as_str().split('/').next() == Some(PACKS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Tiers {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        if is_pack(key) { self.cold.put_new(key, content) } else { self.put_both(key, content) }
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        if lock(&self.cold_packs).contains(key) {
            return self.cold.get(key, range, into);
        }
        if key.as_str().starts_with(LEASES) && !self.is_in_cold_now(key)? {
            return Err(StoreError::NotFound { key: key.to_string(), place: self.location() });
        }
        match self.hot.get(key, range, into) {
            Err(error) if error.is_not_found() && is_pack(key) => {
                self.cold.get(key, range, into)?;
                lock(&self.cold_packs).insert(key.clone());
                Ok(())
            }
            Err(error) if error.is_not_found() && self.is_in_cold(key)? => self.cold.get(key, range, into),
            read => read,
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let found = self.cold.list(prefix)?;
        if prefix.split('/').next() != Some(PACKS) {
            lock(&self.listed).extend(found.iter().map(|object| object.key.clone()));
        }
        Ok(found)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.hot.delete(key)?;
        lock(&self.cold_packs).remove(key);
        self.cold.delete(key)
    }

    fn location(&self) -> String {
        self.cold.location()
    }

    fn lanes(&self) -> usize {
        self.cold.lanes().max(self.hot.lanes())
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        match self.cold.put_pack(key, content, Reads::Seldom) {
            cold if reads == Reads::Seldom => cold,
            cold => self.after_cold(key, cold, || self.hot.put_pack(key, content, reads)),
        }
    }

    fn get_often_read(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        match self.hot.get_often_read(key, range, into) {
            Err(error) if error.is_not_found() => self.cold.get(key, range, into),
            read => read,
        }
    }

    fn get_original(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.cold.get_original(key, range, into)
    }

    fn has_cold_packs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::{Fault, FaultyStore};
    use crate::memory::MemoryStore;
    use crate::meter::{Meter, MeterStore};
    use crate::store::read;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    struct Pair {
        hot: Arc<MemoryStore>,
        cold: Arc<MemoryStore>,
        /// Of what cold was asked.
        meter: Arc<Meter>,
        tiers: Tiers,
    }

    fn pair() -> Pair {
        let (hot, cold, meter) =
            (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()), Arc::new(Meter::new()));
        let metered = MeterStore::new(cold.clone(), meter.clone());
        let tiers = Tiers::new(hot.clone(), Arc::new(metered));
        Pair { hot, cold, meter, tiers }
    }

    #[test]
    fn conforms() {
        crate::conformance::run(&pair().tiers);
        crate::conformance::odd_names_are_kept_as_they_are(&pair().tiers);
        let quiet = || Arc::new(FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| None)));
        crate::conformance::run(&Tiers::new(quiet(), quiet()));
    }

    #[test]
    fn cold_has_everything_and_hot_what_is_read_every_day() {
        let Pair { hot, cold, meter, tiers } = pair();
        let daily = ["config", "keys/a", "index/b", "snapshots/c", "x/record/c", "locks/d", "data/ee/ee"];
        for name in daily {
            match name.starts_with("data/") {
                true => tiers.put_pack(&key(name), &Bytes::from(name), Reads::Often).unwrap(),
                false => tiers.put_new(&key(name), name.as_bytes()).unwrap(),
            }
            assert_eq!(read(&tiers, &key(name)).unwrap(), name.as_bytes());
            assert_eq!((read(&hot, &key(name)), read(&cold, &key(name))).0.unwrap(), name.as_bytes());
        }
        tiers.put_new(&key("data/ff/ff"), b"data").unwrap();
        assert!(read(&hot, &key("data/ff/ff")).unwrap_err().is_not_found());
        assert_eq!(tiers.list("data").unwrap().len(), 2);
        // So far cold was never read; a pack of data is, without asking hot each time.
        assert_eq!(meter.traffic().gets, 0);
        for _ in 0..3 {
            assert_eq!(read(&tiers, &key("data/ff/ff")).unwrap(), b"data");
        }
        assert_eq!(meter.traffic().gets, 3);
        for name in daily.iter().chain(&["data/ff/ff"]) {
            tiers.delete(&key(name)).unwrap();
            assert!(read(&cold, &key(name)).is_err() && read(&hot, &key(name)).is_err(), "{name}");
        }
    }

    fn put(store: &dyn Store, name: &str) -> Result<(), StoreError> {
        match is_pack(&key(name)) {
            true => store.put_pack(&key(name), &Bytes::from_static(b"content"), Reads::Often),
            false => store.put_new(&key(name), b"content"),
        }
    }

    #[test]
    fn a_crash_between_the_two_leaves_something_missing_in_hot_and_never_the_reverse() {
        for fault in [Fault::Before, Fault::After] {
            for name in ["index/b", "x/record/c", "data/ee/ee"] {
                let cold = Arc::new(MemoryStore::new());
                let hot = Arc::new(FaultyStore::new(
                    MemoryStore::new(),
                    Box::new(move |number, action, _| (number == 0 && action == "put").then_some(fault)),
                ));
                let tiers = Tiers::new(hot.clone(), cold.clone());
                put(&tiers, name).unwrap_err();
                assert_eq!(read(&cold, &key(name)).unwrap(), b"content");
                // Whoever comes next sees it, and reads it.
                let next = Tiers::new(hot.clone(), cold.clone());
                assert_eq!(next.list(name.split('/').next().unwrap()).unwrap().len(), 1);
                assert_eq!(read(&next, &key(name)).unwrap(), b"content");
                // Stored again by its hash, hot has it too; other names are never given bytes that cold may not have.
                assert!(put(&next, name).unwrap_err().is_already_exists());
                let is_there = read(hot.inside(), &key(name)).is_ok();
                assert_eq!(is_there, fault == Fault::After || !name.starts_with("x/"), "{name} {fault:?}");
            }
        }
    }

    #[test]
    fn a_delete_that_is_cut_short_leaves_it_in_cold_where_it_is_found_again() {
        let (hot, memory) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
        let cold = FaultyStore::new(
            memory.clone(),
            Box::new(|_, action, _| (action == "delete").then_some(Fault::Before)),
        );
        let tiers = Tiers::new(hot.clone(), Arc::new(cold));
        tiers.put_new(&key("snapshots/c"), b"content").unwrap();
        tiers.delete(&key("snapshots/c")).unwrap_err();
        assert!(read(&hot, &key("snapshots/c")).unwrap_err().is_not_found());
        let next = Tiers::new(hot, memory);
        assert_eq!(next.list("snapshots").unwrap().len(), 1);
        assert_eq!(read(&next, &key("snapshots/c")).unwrap(), b"content");
    }

    #[test]
    fn what_is_not_there_is_no_read_of_cold_and_what_others_put_there_is_found() {
        let Pair { cold, meter, tiers, .. } = pair();
        assert!(read(&tiers, &key("x/retired")).unwrap_err().is_not_found());
        assert!(read(&tiers, &key("config")).unwrap_err().is_not_found());
        assert_eq!(meter.traffic().gets, 0);
        // By whoever named the cold part alone, or by a writer on its way to hot.
        cold.put_new(&key("x/retired"), b"content").unwrap();
        assert_eq!(read(&tiers, &key("x/retired")).unwrap(), b"content");
        // Its configuration is never taken for the hot one's.
        cold.put_new(&key("config"), b"of the whole").unwrap();
        assert!(read(&tiers, &key("config")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_lease_is_gone_when_cold_does_not_list_it() {
        let Pair { hot, cold, meter, tiers } = pair();
        let lease = key("x/lease/backup-1/2");
        tiers.put_new(&lease, b"lease").unwrap();
        assert_eq!(read(&tiers, &lease).unwrap(), b"lease");
        cold.delete(&lease).unwrap();
        assert!(read(&hot, &lease).is_ok());
        assert!(read(&tiers, &lease).unwrap_err().is_not_found());
        assert_eq!(meter.traffic().gets, 0);
    }

    #[test]
    fn leftovers_in_hot_give_way_to_what_cold_takes() {
        let Pair { hot, tiers, .. } = pair();
        hot.put_new(&key("x/mark/1"), b"of a repository that is gone").unwrap();
        tiers.put_new(&key("x/mark/1"), b"content").unwrap();
        assert_eq!(read(&tiers, &key("x/mark/1")).unwrap(), b"content");
        // What cold has stays, and so does its copy.
        assert!(tiers.put_new(&key("x/mark/1"), b"other").unwrap_err().is_already_exists());
        assert_eq!(read(&tiers, &key("x/mark/1")).unwrap(), b"content");
    }

    #[test]
    fn partners_have_a_key_in_common() {
        let Pair { hot, cold, tiers, .. } = pair();
        assert!(!tiers.are_partners().unwrap());
        cold.put_new(&key("keys/a"), b"a").unwrap();
        cold.put_new(&key("keys/b"), b"b").unwrap();
        hot.put_new(&key("keys/c"), b"c").unwrap();
        assert!(!tiers.are_partners().unwrap());
        hot.put_new(&key("keys/b"), b"b").unwrap();
        assert!(tiers.are_partners().unwrap());
    }
}
