//! What a store really does, tried out with objects of our own below `x/probe/`: some that call themselves S3
//! overwrite where they were told not to, or answer other bytes than those asked for.
//!
//! Decided here and nowhere else: which broken promise is lived with, and how.

use std::sync::Arc;

use crate::adapt::{CheckFirst, WholeReads};
use crate::key::Key;
use crate::store::{Range, Refusal, Store, StoreError, read};

/// Bytes of the object whose ranges are asked for.
const RANGED_LEN: usize = 70_000;
/// Writers that want one name at one moment: Ceph 20 tells all of eight that they made it, in a bucket with versions.
const WRITERS: u8 = 8;
/// Ranges that are asked for: the ends, the middle, across 64 KiB.
const RANGES: [(usize, usize); 5] = [(0, 1), (69_999, 1), (1, 69_999), (65_530, 12), (30_000, 5_000)];

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// A name that is taken is refused, and its object stays.
    pub keeps_first: bool,
    /// Of several that write one name at one moment, one is told that it made the object.
    pub one_wins: bool,
    /// A range has the bytes that were asked for.
    pub exact_ranges: bool,
    /// A listing shows what was written before it.
    pub fresh_lists: bool,
    /// Objects can be deleted with these credentials.
    pub deletes: bool,
}

impl Behaviour {
    /// Of a store that keeps every promise.
    pub const SOUND: Self =
        Self { keeps_first: true, one_wins: true, exact_ranges: true, fresh_lists: true, deletes: true };

    /// Whether who is told that he made an object can rely on it.
    pub fn creates_once(&self) -> bool {
        self.keeps_first && self.one_wins
    }

    /// Whether nothing has to be done about it.
    pub fn needs_nothing(&self) -> bool {
        self.creates_once() && self.exact_ranges && self.fresh_lists
    }
}

/// Try it out. Leaves nothing behind where deleting is allowed.
///
/// # Errors
/// What the store says where it does not work at all, and [`StoreError::Wrong`] where it cannot be trusted with
/// anything: other bytes than were written, or objects that stay when they were deleted.
pub fn probe(store: &dyn Store) -> Result<Behaviour, StoreError> {
    let folder = format!("x/probe/{}", random_name(store)?);
    let key = |name: &str| format!("{folder}/{name}").parse::<Key>().expect("plain names are a key");
    let (taken, contended, ranged) = (key("taken"), key("contended"), key("ranged"));
    let content: Vec<u8> = (0..RANGED_LEN).map(|number| (number * 31 + (number >> 8)) as u8).collect();
    store.put_new(&ranged, &content)?;
    if read(store, &ranged)? != content {
        return Err(wrong(store, "read", &ranged, "other bytes than were written"));
    }
    let keeps_first = keeps_first(store, &taken)?;
    let one_wins = keeps_first && one_wins(store, &contended)?;
    let exact_ranges = exact_ranges(store, &ranged, &content)?;
    let fresh_lists = {
        let listed = store.list(&folder)?;
        let shows = |key: &Key, size| listed.iter().any(|object| object.key == *key && object.size == size);
        listed.len() == 2 + usize::from(keeps_first) && shows(&ranged, RANGED_LEN as u64)
    };
    let deletes = deletes(store, &[&taken, &contended, &ranged])?;
    Ok(Behaviour { keeps_first, one_wins, exact_ranges, fresh_lists, deletes })
}

/// `store` with what it lacks made up for.
///
/// # Errors
/// [`StoreError::Wrong`] where that cannot be done: without fresh listings nobody sees another's lock.
pub fn adapt(store: Arc<dyn Store>, behaviour: &Behaviour) -> Result<Arc<dyn Store>, StoreError> {
    if !behaviour.fresh_lists {
        return Err(StoreError::Wrong {
            action: "list",
            key: "x/probe".into(),
            place: store.location(),
            what: "the listing does not show what was just written".into(),
        });
    }
    let store = match behaviour.exact_ranges {
        true => store,
        false => Arc::new(WholeReads::new(store)),
    };
    Ok(match behaviour.creates_once() {
        true => store,
        false => Arc::new(CheckFirst::new(store)),
    })
}

fn keeps_first(store: &dyn Store, key: &Key) -> Result<bool, StoreError> {
    store.put_new(key, b"first")?;
    match store.put_new(key, b"second") {
        Ok(()) => Ok(false),
        Err(error) if error.is_already_exists() => Ok(read(store, key)? == b"first"),
        Err(error) => Err(error),
    }
}

fn one_wins(store: &dyn Store, key: &Key) -> Result<bool, StoreError> {
    let write = |writer: u8| match store.put_new(key, &[writer; 1000]) {
        Ok(()) => Ok(true),
        Err(error) if error.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    };
    let outcomes = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let outcomes = writers.into_iter().filter_map(|writer| writer.join().ok());
        outcomes.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(outcomes.iter().filter(|won| **won).count() == 1)
}

fn exact_ranges(store: &dyn Store, key: &Key, content: &[u8]) -> Result<bool, StoreError> {
    let mut into = vec![];
    for (offset, len) in RANGES {
        match store.get(key, Range::Bytes { offset: offset as u64, len: len as u64 }, &mut into) {
            Ok(()) if into == content[offset..offset + len] => {}
            Ok(()) | Err(StoreError::Wrong { .. } | StoreError::Short { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn deletes(store: &dyn Store, keys: &[&Key]) -> Result<bool, StoreError> {
    for key in keys {
        match store.delete(key) {
            Err(StoreError::Refused { why: Refusal::Denied(_), .. }) => return Ok(false),
            other => other?,
        }
        match read(store, key) {
            Err(error) if error.is_not_found() => {}
            Ok(_) => return Err(wrong(store, "delete", key, "the object is still there")),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn wrong(store: &dyn Store, action: &'static str, key: &Key, what: &str) -> StoreError {
    StoreError::Wrong { action, key: key.to_string(), place: store.location(), what: what.into() }
}

fn random_name(store: &dyn Store) -> Result<String, StoreError> {
    let number = getrandom::u64().map_err(|error| StoreError::Io {
        action: "write",
        key: "x/probe".into(),
        place: store.location(),
        cause: std::io::Error::other(error.to_string()),
    })?;
    Ok(format!("{number:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use crate::store::Object;

    /// A store with bad habits.
    struct Strange {
        inside: MemoryStore,
        habits: Behaviour,
    }

    fn strange(habits: Behaviour) -> Arc<Strange> {
        Arc::new(Strange { inside: MemoryStore::new(), habits })
    }

    impl Store for Strange {
        fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
            if !self.habits.keeps_first || (!self.habits.one_wins && key.name() == "contended") {
                self.inside.delete(key)?;
            }
            self.inside.put_new(key, content)
        }

        fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
            let range = match range {
                Range::Bytes { offset, len } if !self.habits.exact_ranges && offset > 0 => {
                    Range::Bytes { offset: offset - 1, len }
                }
                right => right,
            };
            self.inside.get(key, range, into)
        }

        fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
            if self.habits.fresh_lists { self.inside.list(prefix) } else { Ok(vec![]) }
        }

        fn delete(&self, key: &Key) -> Result<(), StoreError> {
            match self.habits.deletes {
                true => self.inside.delete(key),
                false => Err(StoreError::Refused {
                    action: "delete",
                    key: key.to_string(),
                    place: self.location(),
                    why: Refusal::Denied("AccessDenied".into()),
                }),
            }
        }

        fn location(&self) -> String {
            self.inside.location()
        }
    }

    #[test]
    fn every_bad_habit_is_seen_and_no_other() {
        let sound = Behaviour::SOUND;
        for habits in [
            sound,
            Behaviour { keeps_first: false, one_wins: false, ..sound },
            Behaviour { one_wins: false, ..sound },
            Behaviour { exact_ranges: false, ..sound },
            Behaviour { fresh_lists: false, ..sound },
            Behaviour { deletes: false, ..sound },
            Behaviour { keeps_first: false, one_wins: false, exact_ranges: false, ..sound },
        ] {
            let store = strange(habits);
            assert_eq!(probe(&*store).unwrap(), habits);
            assert_eq!(store.inside.list("x").unwrap().is_empty(), habits.deletes);
        }
    }

    #[test]
    fn an_adapted_store_keeps_its_promises() {
        let habits = Behaviour { keeps_first: false, exact_ranges: false, ..Behaviour::SOUND };
        let store = adapt(strange(habits), &habits).unwrap();
        // Looking first does not help who looks at one moment with others.
        assert_eq!(Behaviour { one_wins: true, ..probe(&*store).unwrap() }, Behaviour::SOUND);
        let blind = Behaviour { fresh_lists: false, ..Behaviour::SOUND };
        assert!(matches!(adapt(strange(blind), &blind), Err(StoreError::Wrong { .. })));
    }
}
