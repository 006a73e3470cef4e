//! A store through which several actors work, one call at a time, in an order that a seed chooses.
//!
//! Every call of every thread stops at the turnstile. When all threads of the process sleep ([`Quiet`]), the director
//! lets one call through, maybe with a fault, and lets time pass. Invariant: nothing of the production code runs while
//! the director decides, so the same seed meets the same choices. Of several calls of one actor (its worker threads)
//! the order is that of what they ask for, not of who came first.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use store::{Key, Object, Range, Store, StoreError};

use crate::world::objects::Objects;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It works.
    Works,
    /// It fails and nothing happened: refused, throttled, a connection that was not made.
    FailsBefore,
    /// It took effect, and the answer is lost.
    FailsAfter,
    /// A listing as it was so many changes ago.
    Stale(u64),
    /// A read that gives other bytes, as many as were asked for.
    WrongBytes,
    /// The actor ends without another word, before the call takes effect.
    CrashesBefore,
    /// The same, after it took effect.
    CrashesAfter,
}

/// A call that waits at the turnstile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Whose.
    pub actor: usize,
    /// `put`, `get`, `list`, `delete`, or `sleep`.
    pub action: &'static str,
    /// What about: the folder of an object that has a random name, the whole name otherwise.
    pub about: String,
    /// The age of the object in the store, or the bytes that are to be stored: tells calls apart that look alike.
    pub rank: u64,
    /// A number that no other call has.
    pub ticket: u64,
    /// The object or folder.
    pub key: String,
    /// Not before this moment.
    pub not_before: Duration,
}

#[derive(Default)]
struct State {
    now: Duration,
    places: Vec<Objects>,
    waiting: BTreeMap<u64, Call>,
    granted: BTreeMap<u64, Turn>,
    tickets: u64,
    crashed: Vec<bool>,
    is_directed: bool,
}

/// The store of all actors, and the turnstile before it.
#[derive(Default)]
pub struct Stage {
    state: Mutex<State>,
    granted: Condvar,
}

/// Time zero of every simulated world.
pub fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

impl Stage {
    /// A stage for `actors`, with these places; from now on every call waits for its turn.
    ///
    /// # Panics
    /// Where somebody still acts.
    pub fn set(&self, actors: usize, places: Vec<Objects>, now: Duration) {
        let mut state = self.state();
        assert!(state.waiting.is_empty(), "the world before has not ended");
        *state = State { now, places, crashed: vec![false; actors], is_directed: true, ..State::default() };
    }

    /// Everybody goes as they like, before the first world and after one, in these places.
    pub fn free(&self, places: Option<Vec<Objects>>) {
        let mut state = self.state();
        state.is_directed = false;
        if let Some(places) = places {
            state.places = places;
        }
    }

    /// A door to place number `place` for an actor; `None` for one who need not wait and whom nothing hinders.
    pub fn door(self: &Arc<Self>, actor: Option<usize>, place: usize) -> Door {
        Door { stage: Arc::clone(self), actor, place }
    }

    /// How long the world has stood.
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Let time pass.
    pub fn advance(&self, by: Duration) {
        self.state().now += by;
    }

    /// The objects of a place.
    pub fn objects<T>(&self, place: usize, look: impl FnOnce(&mut Objects) -> T) -> T {
        look(&mut self.state().places[place])
    }

    /// The calls that wait, in an order that does not depend on who came first.
    pub fn waiting(&self) -> Vec<Call> {
        let mut calls: Vec<_> = self.state().waiting.values().cloned().collect();
        calls.sort();
        calls
    }

    /// Let a call through.
    pub fn grant(&self, call: &Call, turn: Turn) {
        let mut state = self.state();
        state.waiting.remove(&call.ticket);
        state.granted.insert(call.ticket, turn);
        if matches!(turn, Turn::CrashesBefore | Turn::CrashesAfter) {
            state.crashed[call.actor] = true;
            let others: Vec<_> =
                state.waiting.values().filter(|other| other.actor == call.actor).cloned().collect();
            for other in others {
                state.waiting.remove(&other.ticket);
                state.granted.insert(other.ticket, Turn::FailsBefore);
            }
        }
        self.granted.notify_all();
    }

    /// An actor begins anew after a crash.
    pub fn rise(&self, actor: usize) {
        self.state().crashed[actor] = false;
    }

    /// Whether an actor has crashed and not begun anew.
    pub fn is_crashed(&self, actor: usize) -> bool {
        self.state().crashed[actor]
    }

    /// Called by an actor: do nothing for a time.
    pub fn sleep(&self, actor: usize, span: Duration) {
        let not_before = self.now() + span;
        self.pass(actor, "sleep", "sleep".to_owned(), 0, String::new(), not_before);
    }

    fn pass(
        &self,
        actor: usize,
        action: &'static str,
        about: String,
        rank: u64,
        key: String,
        not_before: Duration,
    ) -> Turn {
        let mut state = self.state();
        if !state.is_directed {
            return Turn::Works;
        }
        if state.crashed[actor] {
            return Turn::FailsBefore;
        }
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiting.insert(ticket, Call { actor, action, about, rank, ticket, key, not_before });
        loop {
            if let Some(turn) = state.granted.remove(&ticket) {
                return turn;
            }
            state = self.granted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store as one actor sees it.
pub struct Door {
    stage: Arc<Stage>,
    actor: Option<usize>,
    place: usize,
}

impl Door {
    fn call<T>(
        &self,
        action: &'static str,
        key: &str,
        size: u64,
        work: impl FnOnce(&mut Objects, Duration, Turn) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let turn = match self.actor {
            None => Turn::Works,
            Some(actor) => {
                let born = key
                    .parse()
                    .ok()
                    .and_then(|key| self.stage.objects(self.place, |o| Some(o.last(&key)?.born)));
                let about = format!("{}/{}", self.place, plain_part(key));
                self.stage.pass(actor, action, about, born.unwrap_or(size), key.to_owned(), Duration::ZERO)
            }
        };
        let fails = || StoreError::Io {
            action: if action == "put" { "write" } else { action },
            key: key.to_owned(),
            place: self.location(),
            cause: io::Error::other(format!("planned: {turn:?}")),
        };
        if matches!(turn, Turn::FailsBefore | Turn::CrashesBefore) {
            return Err(fails());
        }
        let now = self.stage.now();
        let done = self.stage.objects(self.place, |objects| work(objects, now, turn));
        match turn {
            Turn::FailsAfter | Turn::CrashesAfter => Err(fails()),
            _ => done,
        }
    }

    fn missing(&self, key: &Key) -> StoreError {
        StoreError::NotFound { key: key.to_string(), place: self.location() }
    }
}

/// A name as far as it is no hash and no random number, which differ between two runs of one seed.
fn plain_part(key: &str) -> String {
    let is_random = |part: &str| part.len() >= 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = |part: &str| part.rsplit('-').next().is_none_or(|last| !is_random(last)) && !is_random(part);
    let parts = key.split('/').map(|part| match plain(part) {
        true if part.len() == 2 && key.starts_with("data/") => "#",
        true => part,
        false => "#",
    });
    parts.collect::<Vec<_>>().join("/")
}

impl Store for Door {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.call("put", key.as_str(), content.len() as u64, |objects, now, _| {
            match objects.put(key, content, now) {
                true => Ok(()),
                false => Err(StoreError::AlreadyExists { key: key.to_string(), place: self.location() }),
            }
        })
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.call("get", key.as_str(), 0, |objects, _, turn| {
            let version = objects.get(key).ok_or_else(|| self.missing(key))?;
            let (offset, len) = match range {
                Range::All => (0, version.content.len()),
                Range::Bytes { offset, len } => (offset as usize, len as usize),
            };
            let part = offset.checked_add(len).and_then(|end| version.content.get(offset..end));
            let short = || StoreError::Short { key: key.to_string(), place: self.location() };
            into.clear();
            into.extend_from_slice(part.ok_or_else(short)?);
            if turn == Turn::WrongBytes && !into.is_empty() {
                into.rotate_left(1);
                into[0] ^= 1;
            }
            Ok(())
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.call("list", prefix, 0, |objects, _, turn| {
            let changes_ago = if let Turn::Stale(changes) = turn { changes } else { 0 };
            let found = objects.list(prefix, changes_ago).into_iter();
            Ok(found
                .map(|(key, version)| Object {
                    key,
                    size: version.content.len() as u64,
                    modified: start() + version.stored_at,
                })
                .collect())
        })
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call("delete", key.as_str(), 0, |objects, now, _| {
            objects.delete(key, now);
            Ok(())
        })
    }

    fn location(&self) -> String {
        format!("world/{}", self.place)
    }
}
