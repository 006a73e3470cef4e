//! What became of a file that another thread reads: promised when the walk meets it, kept when it was read.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use files::read::Steadiness;
use model::digest::Digest;
use model::entry::Entry;

/// A file that was read.
#[derive(Debug)]
pub(super) struct ReadFile {
    /// As it was when it was opened, with the size that was read.
    pub(super) entry: Entry,
    /// Its pieces.
    pub(super) content: Vec<Digest>,
    /// Whether it held still.
    pub(super) steadiness: Steadiness,
}

/// How reading went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was read.
    Read(Box<ReadFile>),
    /// The file could not be read, for this reason; the backup goes on.
    Unreadable(String),
    /// The backup stops.
    Stopped,
}

/// One file's outcome, for everybody who waits for it: a file may have several names.
#[derive(Debug, Default)]
pub(super) struct Promise {
    outcome: Mutex<Option<Arc<Outcome>>>,
    kept: Condvar,
}

impl Promise {
    /// Tell it.
    pub(super) fn keep(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(outcome));
        self.kept.notify_all();
    }

    /// Wait for it.
    pub(super) fn wait(&self) -> Arc<Outcome> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*outcome {
                Some(outcome) => return Arc::clone(outcome),
                None => outcome = self.kept.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
