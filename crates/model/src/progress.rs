//! How far a long verb is: counters that the work advances and a face looks at whenever it likes; and warnings, which the
//! face takes when the work is over.
//!
//! The work never waits for a face, and knows of none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shared counters; clones are the same counters.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    phase: Mutex<&'static str>,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    items: AtomicU64,
    warnings: Mutex<Vec<String>>,
}

/// What a face sees at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What is being done, in one word.
    pub phase: &'static str,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes to do; 0 while nobody knows.
    pub bytes_total: u64,
    /// Files, blobs or the like that are done.
    pub items: u64,
}

impl Progress {
    /// All at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begin another phase of `bytes_total` bytes (0 where nobody knows).
    pub fn begin(&self, phase: &'static str, bytes_total: u64) {
        *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.0.bytes.store(0, Ordering::Relaxed);
        self.0.items.store(0, Ordering::Relaxed);
        self.0.bytes_total.store(bytes_total, Ordering::Relaxed);
    }

    /// `bytes` more are done.
    pub fn advance(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One more item is done.
    pub fn item(&self) {
        self.0.items.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that people must see, although the work goes on.
    pub fn warn(&self, words: String) {
        self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }

    /// What nobody has taken yet of it.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counters now.
    pub fn look(&self) -> Seen {
        Seen {
            phase: *self.0.phase.lock().unwrap_or_else(PoisonError::into_inner),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            bytes_total: self.0.bytes_total.load(Ordering::Relaxed),
            items: self.0.items.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_phase_begins_at_zero() {
        let progress = Progress::new();
        progress.advance(5);
        progress.begin("reading", 10);
        progress.advance(3);
        progress.item();
        assert_eq!(progress.look(), Seen { phase: "reading", bytes: 3, bytes_total: 10, items: 1 });
    }

    #[test]
    fn warnings_are_taken_once() {
        let progress = Progress::new();
        progress.clone().warn("odd".to_owned());
        assert_eq!(progress.take_warnings(), ["odd"]);
        assert!(progress.take_warnings().is_empty());
    }
}
