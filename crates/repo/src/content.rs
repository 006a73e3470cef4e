//! The ids of a file's pieces, while several threads save them.
//!
//! Invariant: whoever waits gets all of them in their order, or the first error.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::blob::BlobId;
use crate::error::{RepoError, Result};

/// The pieces of one file, filled in any order.
#[derive(Debug, Default)]
pub struct Content {
    state: Mutex<ContentState>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct ContentState {
    ids: Vec<BlobId>,
    outstanding: usize,
    error: Option<RepoError>,
}

impl Content {
    /// Nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Room for a piece that somebody is about to save. -> its position
    pub(crate) fn reserve(&self) -> usize {
        let mut state = lock(&self.state);
        state.ids.push(BlobId::default());
        state.outstanding += 1;
        state.ids.len() - 1
    }

    /// What became of the piece at `position`.
    pub(crate) fn fill(&self, position: usize, saved: Result<BlobId>) {
        let mut state = lock(&self.state);
        match saved {
            Ok(id) => state.ids[position] = id,
            Err(error) => _ = state.error.get_or_insert(error),
        }
        state.outstanding -= 1;
        if state.outstanding == 0 {
            self.filled.notify_all();
        }
    }

    /// Add a piece whose id is known already.
    pub fn push(&self, id: BlobId) {
        lock(&self.state).ids.push(id);
    }

    /// The ids of all pieces, once all are saved. Call it when everything was submitted.
    ///
    /// # Errors
    /// The first piece that could not be saved.
    pub fn wait(&self) -> Result<Vec<BlobId>> {
        let mut state = lock(&self.state);
        while state.outstanding > 0 {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut state.ids)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
