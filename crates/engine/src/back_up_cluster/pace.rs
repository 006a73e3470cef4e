//! How fast files are read, where that is bounded: the server's own reads come first.

use std::num::NonZeroU64;
use std::time::Duration;

use model::cancel::{CancelToken, Cancelled};
use store::bucket::Bucket;
use store::clock::{Clock, SystemClock};

/// How often a pause looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The pace that all readers keep together.
pub(super) struct Pace {
    bucket: Option<Bucket>,
    clock: SystemClock,
}

impl Pace {
    /// So many KiB a second at most.
    pub(super) fn new(kib_max: Option<u32>) -> Self {
        let bytes = kib_max.and_then(|kib| NonZeroU64::new(u64::from(kib) << 10));
        Self { bucket: bytes.map(Bucket::new), clock: SystemClock::new() }
    }

    /// Wait until so many bytes may be read.
    pub(super) fn wait_for(&self, bytes: usize, cancel: &CancelToken) -> Result<(), Cancelled> {
        let Some(bucket) = &self.bucket else { return cancel.check() };
        let now = self.clock.now();
        let until = now + bucket.pay(bytes as u64, now);
        loop {
            cancel.check()?;
            match until.saturating_sub(self.clock.now()) {
                Duration::ZERO => return Ok(()),
                pause => std::thread::sleep(pause.min(LOOK_EVERY)),
            }
        }
    }
}
