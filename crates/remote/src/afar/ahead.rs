//! Directories listed ahead of the walk, on several connections, in the order in which the walk will ask for them.
//!
//! Bounded: when many entries wait for the walk, nobody lists ahead; the walk itself then lists what it needs next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use files::exclude::Excludes;
use files::relative::RelativePath;

use super::far::{Far, Trouble};
use super::talk::{ENTRIES_MAX, Listing};

/// Threads that list ahead.
const LISTERS: usize = 4;
/// Entries that may wait for the walk, at some 300 bytes each.
const HELD_MAX: usize = 100_000;
const _: () = assert!(HELD_MAX <= ENTRIES_MAX);

/// Entries of one directory by name, or why there are none.
pub(super) type Listed = Result<Listing, Trouble>;

/// Listing in progress; ends with its value.
pub(super) struct Ahead(Arc<Shared>);

struct Shared {
    far: Arc<Far>,
    excludes: Excludes,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// To be listed, in the order of the walk.
    wanted: BTreeMap<Vec<u8>, RelativePath>,
    /// Being listed, or listed and not asked for yet.
    begun: HashMap<RelativePath, Option<Listed>>,
    held: usize,
    is_over: bool,
}

/// Sorts as the walk goes: a directory before what is in it, and that before the next name.
fn order_of(path: &RelativePath) -> Vec<u8> {
    path.as_bytes().iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect()
}

impl Ahead {
    /// Begin.
    pub(super) fn start(far: &Arc<Far>, excludes: &Excludes) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { far: far.clone(), excludes: excludes.clone(), state, changed });
        for _ in 0..LISTERS {
            let shared = shared.clone();
            // Where there is no thread to be had the walk lists alone.
            std::thread::Builder::new().name("lister".into()).spawn(move || shared.run()).ok();
        }
        Self(shared)
    }

    /// What is in the directory `path`; asked once for each.
    pub(super) fn take(&self, path: &RelativePath) -> Listed {
        let mut state = self.0.state();
        loop {
            match state.begun.get_mut(path) {
                None => {
                    state.wanted.remove(&order_of(path));
                    drop(state);
                    let listing = self.0.list(path);
                    self.0.want_below(&mut self.0.state(), path, &listing);
                    return listing;
                }
                Some(listed) => {
                    if let Some(listing) = listed.take() {
                        state.begun.remove(path);
                        state.held -= listing.as_ref().map_or(0, Listing::len);
                        self.0.changed.notify_all();
                        return listing;
                    }
                }
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Ahead {
    /// Whoever is listing ends when he has; nobody waits for him.
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, path: &RelativePath) -> Listed {
        let mut listing = self.far.ask("list", path, |talk| talk.list(&self.far.at(path)))?;
        listing.entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(listing)
    }

    fn run(&self) {
        let mut state = self.state();
        while !state.is_over {
            let next = if state.held < HELD_MAX { state.wanted.pop_first() } else { None };
            let Some((_, path)) = next else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.begun.insert(path.clone(), None);
            drop(state);
            let listing = self.list(&path);
            state = self.state();
            self.want_below(&mut state, &path, &listing);
            state.held += listing.as_ref().map_or(0, Listing::len);
            state.begun.insert(path, Some(listing));
            self.changed.notify_all();
        }
    }

    /// The directories in one that was listed come next.
    fn want_below(&self, state: &mut State, path: &RelativePath, listing: &Listed) {
        for entry in listing.iter().flat_map(|listing| &listing.entries).filter(|entry| entry.is_dir()) {
            let Ok(child) = path.join(&entry.name) else { continue };
            if !self.excludes.is_excluded(&child, true) {
                state.wanted.insert(order_of(&child), child);
            }
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_walk() {
        let mut paths = ["b0", "b/z/deep", "b-", "a", "b/z", "b/inside", "b"]
            .map(|path| RelativePath::parse(path).unwrap());
        paths.sort_by_key(order_of);
        let sorted: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["a", "b", "b/inside", "b/z", "b/z/deep", "b-", "b0"]);
    }
}
