//! How long to go on trying when a store does not answer.
//!
//! The pause before the n-th new try is drawn evenly from zero to `pause_first · 2ⁿ`, at most `pause_max`
//! (full jitter), so that many clients of a store that comes back do not return in one wave. No new try begins
//! after the deadline; then the last error is passed on. A store that has never answered is given up much sooner: a
//! wrong address looks like an outage, and nobody should wait a quarter of an hour to learn of it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::store::StoreError;

/// How long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Upper bound of the first pause.
    pub pause_first: Duration,
    /// Upper bound of every pause.
    pub pause_max: Duration,
    /// After this time from the beginning of a call nothing is tried again.
    pub deadline: Duration,
    /// The same for a store that has not answered once, where it is shorter.
    pub deadline_first: Duration,
}

impl Default for Patience {
    /// Rides out a restart or a short outage of a store or network, as restic's fifteen minutes do.
    fn default() -> Self {
        Self {
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(30),
            deadline: Duration::from_secs(15 * 60),
            deadline_first: Duration::from_secs(30),
        }
    }
}

/// Evenly distributed numbers.
pub type Dice = Box<dyn Fn() -> u32 + Send + Sync>;
/// Told before each pause: what went wrong, and how long the pause is.
pub type Witness = Box<dyn Fn(&StoreError, Duration) + Send + Sync>;

/// Tries calls of one store again.
pub struct Retry {
    patience: Patience,
    clock: Arc<dyn Clock>,
    dice: Dice,
    witness: Witness,
    pub(crate) has_answered: AtomicBool,
}

impl Retry {
    /// By the machine's clock and randomness.
    pub fn new(patience: Patience) -> Self {
        // Without randomness the longest pause is taken: slow is the safe side.
        let dice = || getrandom::u32().unwrap_or(u32::MAX);
        Self::with(patience, Arc::new(SystemClock::new()), Box::new(dice))
    }

    /// By a clock and randomness of the caller's.
    pub fn with(patience: Patience, clock: Arc<dyn Clock>, dice: Dice) -> Self {
        let witness: Witness = Box::new(|_, _| ());
        Self { patience, clock, dice, witness, has_answered: AtomicBool::new(false) }
    }

    /// The same, where `witness` hears of each pause.
    #[must_use]
    pub fn witnessed(mut self, witness: Witness) -> Self {
        self.witness = witness;
        self
    }

    /// Call until there is a result that trying again would not better.
    ///
    /// # Errors
    /// The last one.
    pub fn persist<T>(&self, mut call: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let begin = self.clock.now();
        let mut bound = self.patience.pause_first;
        loop {
            let outcome = call();
            if outcome.as_ref().err().is_none_or(is_answer) {
                self.has_answered.store(true, Ordering::Relaxed);
            }
            let error = match outcome {
                Err(error) if error.is_transient() => error,
                done => return done,
            };
            let pause =
                bound.min(self.patience.pause_max).mul_f64(f64::from((self.dice)()) / f64::from(u32::MAX));
            if self.clock.now() - begin + pause > self.deadline() {
                return Err(error);
            }
            (self.witness)(&error, pause);
            self.clock.sleep(pause);
            bound = bound.saturating_mul(2);
        }
    }

    fn deadline(&self) -> Duration {
        let Patience { deadline, deadline_first, .. } = self.patience;
        if self.has_answered.load(Ordering::Relaxed) { deadline } else { deadline.min(deadline_first) }
    }
}

/// Whether the store itself said this, be it only that it is busy.
fn is_answer(error: &StoreError) -> bool {
    let asks_for_peace =
        matches!(error, StoreError::Io { cause, .. } if cause.kind() == ErrorKind::ResourceBusy);
    asks_for_peace || !error.is_transient()
}
