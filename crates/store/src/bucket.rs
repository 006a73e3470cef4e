//! So many bytes a second, whoever moves them.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What was not used may be caught up on for this long: a pause of the sender does not cost speed.
const CREDIT: Duration = Duration::from_secs(1);

/// A token bucket, kept as the one moment at which all that was let through is paid for.
pub struct Bucket {
    bytes_per_second: NonZeroU64,
    paid_at: Mutex<Duration>,
}

impl Bucket {
    /// A bucket through which so much goes.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid_at: Mutex::new(Duration::ZERO) }
    }

    /// How long to wait for these bytes, at `now` of some clock.
    pub fn pay(&self, bytes: u64, now: Duration) -> Duration {
        let price = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_at = (*paid_at).max(now.saturating_sub(CREDIT)) + price;
        paid_at.saturating_sub(now)
    }
}
