//! Waiting for others who are at work in a repository: how long at most, and to whom it is told.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::never;
use model::cancel::Cancelled;
use model::digest::Digest;

use crate::clock::Clock;

/// The first pause; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How many leases this process holds, by repository: several values may be of one.
#[derive(Clone, Default)]
pub struct AtWork(Arc<Mutex<HashMap<Digest, Arc<AtomicUsize>>>>);

impl AtWork {
    pub(crate) fn of(&self, repository: Digest) -> Arc<AtomicUsize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(repository).or_default())
    }
}

/// How one waits.
#[derive(Clone)]
pub struct Waiting {
    /// At most so long.
    pub at_most: Duration,
    /// Told once of a wait: for whom.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
    /// Whether somebody asked to stop.
    pub is_stopped: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Shared by all that one process opens.
    pub at_work: AtWork,
}

impl Waiting {
    /// One wait, which begins now.
    pub(crate) fn begin<'a>(&'a self, at_most: Duration, clock: &'a Clock) -> Wait<'a> {
        let until = clock.elapsed() + at_most;
        Wait { how: self, clock, until, pause: PAUSE_MIN, is_told: false }
    }
}

/// A wait under way.
pub(crate) struct Wait<'a> {
    how: &'a Waiting,
    clock: &'a Clock,
    until: Duration,
    pause: Duration,
    is_told: bool,
}

impl Wait<'_> {
    /// Pause before the next look; false where one has waited long enough.
    ///
    /// # Errors
    /// [`Cancelled`] once somebody asked to stop.
    pub(crate) fn pause(&mut self, whom: &str) -> Result<bool, Cancelled> {
        let left = self.until.saturating_sub(self.clock.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.is_told, true) {
            (self.how.tell)(whom);
        }
        self.clock.wait(self.pause.min(left), &never());
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if (self.how.is_stopped)() { Err(Cancelled) } else { Ok(true) }
    }
}
