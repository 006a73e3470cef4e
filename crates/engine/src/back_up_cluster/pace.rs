//! How fast files are read: the server comes first, at its disk and on its cores.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::cancel::{CancelToken, Cancelled};
use repo::step_back::{SHARE, SHARE_SLOW, StepBack};
use store::bucket::Bucket;
use store::clock::{Clock, SystemClock};

/// How often a pause looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The pace that all readers keep together.
pub(super) struct Pace {
    bucket: Option<Bucket>,
    step_back: Option<StepBack>,
    clock: SystemClock,
    /// Milliseconds that readers waited for cores, all together.
    waited_ms: AtomicU64,
}

impl Pace {
    /// So many KiB a second at most, and as fast as the cores have nothing better to do.
    pub(super) fn new(kib_max: Option<u32>) -> Self {
        let bytes = kib_max.and_then(|kib| NonZeroU64::new(u64::from(kib) << 10));
        let step_back = StepBack::new(if bytes.is_some() { SHARE_SLOW } else { SHARE });
        let (bucket, clock) = (bytes.map(Bucket::new), SystemClock::new());
        Self { bucket, step_back, clock, waited_ms: AtomicU64::new(0) }
    }

    /// Wait until so many bytes may be read.
    pub(super) fn wait_for(&self, bytes: usize, cancel: &CancelToken) -> Result<(), Cancelled> {
        if let Some(bucket) = &self.bucket {
            let now = self.clock.now();
            let until = now + bucket.pay(bytes as u64, now);
            loop {
                cancel.check()?;
                match until.saturating_sub(self.clock.now()) {
                    Duration::ZERO => break,
                    pause => std::thread::sleep(pause.min(LOOK_EVERY)),
                }
            }
        }
        while let Some(pause) = self.step_back.as_ref().map(StepBack::pause).filter(|pause| !pause.is_zero())
        {
            cancel.check()?;
            std::thread::sleep(pause);
            self.waited_ms.fetch_add(pause.as_millis() as u64, Ordering::Relaxed);
        }
        cancel.check()
    }

    /// How long each of so many readers waited for cores that others kept busy.
    pub(super) fn waited_for_cores(&self, readers: usize) -> Duration {
        Duration::from_millis(self.waited_ms.load(Ordering::Relaxed) / readers as u64)
    }
}
