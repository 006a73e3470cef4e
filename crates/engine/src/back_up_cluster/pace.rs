//! How fast files are read: the server comes first, at its disk and on its cores.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use model::cancel::{CancelToken, Cancelled};
use repo::step_back::{SHARE, SHARE_SLOW, StepBack};
use store::bucket::Bucket;
use store::clock::{Clock, SystemClock};

/// How long a reader may wait for cores in sum: the server keeps all WAL for the backup meanwhile.
const WAITED_MAX: Duration = Duration::from_secs(30 * 60);
/// How long it waits without a word about it.
const WAITED_TOLD: Duration = Duration::from_secs(10);
/// How often a pause looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The pace that all readers keep together.
pub(super) struct Pace<'a> {
    bucket: Option<Bucket>,
    step_back: Option<StepBack>,
    clock: SystemClock,
    readers: AtomicU32,
    /// Milliseconds that readers waited for cores, all together.
    waited_ms: AtomicU64,
    tell: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Pace<'a> {
    /// So many KiB a second at most, and as fast as the cores have nothing better to do; for so many readers.
    pub(super) fn new(kib_max: Option<u32>, readers: usize, tell: &'a (dyn Fn(&str) + Sync)) -> Self {
        let bytes = kib_max.and_then(|kib| NonZeroU64::new(u64::from(kib) << 10));
        let step_back = StepBack::new(if bytes.is_some() { SHARE_SLOW } else { SHARE });
        let (bucket, clock) = (bytes.map(Bucket::new), SystemClock::new());
        let readers = AtomicU32::new(u32::try_from(readers).unwrap_or(u32::MAX).max(1));
        Self { bucket, step_back, clock, readers, waited_ms: AtomicU64::new(0), tell }
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
        self.wait_for_cores(cancel)
    }

    fn wait_for_cores(&self, cancel: &CancelToken) -> Result<(), Cancelled> {
        let Some(step_back) = &self.step_back else { return cancel.check() };
        while self.waited() < WAITED_MAX {
            let pause = step_back.pause();
            if pause.is_zero() {
                break;
            }
            cancel.check()?;
            std::thread::sleep(pause);
            self.note_wait(pause);
        }
        cancel.check()
    }

    /// From now on one reads alone.
    pub(super) fn go_on_alone(&self) {
        let each = self.waited();
        self.readers.store(1, Ordering::Relaxed);
        self.waited_ms.store(each.as_millis() as u64, Ordering::Relaxed);
    }

    /// How long each reader waited for cores that others kept busy.
    fn waited(&self) -> Duration {
        Duration::from_millis(self.waited_ms.load(Ordering::Relaxed)) / self.readers.load(Ordering::Relaxed)
    }

    fn note_wait(&self, pause: Duration) {
        let pause = (pause.as_millis() as u64).max(1);
        let before = self.waited_ms.fetch_add(pause, Ordering::Relaxed);
        let readers = self.readers.load(Ordering::Relaxed);
        let passes = |limit: Duration| {
            let limit = (limit * readers).as_millis() as u64;
            before < limit && before + pause >= limit
        };
        if passes(WAITED_TOLD) {
            (self.tell)(
                "this machine's cores are all busy: the backup takes a small share of them, and is slow",
            );
        }
        if passes(WAITED_MAX) {
            (self.tell)(
                "the backup has waited half an hour for cores that others keep busy, while the server keeps its WAL: \
                 it goes on without waiting",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn waiting_is_told_and_ends() {
        let told = Mutex::new(vec![]);
        let tell = |words: &str| told.lock().unwrap().push(words.to_owned());
        let pace = Pace::new(None, 2, &tell);
        let wait = |seconds| pace.note_wait(Duration::from_secs(seconds));
        wait(19);
        assert!(told.lock().unwrap().is_empty());
        wait(1);
        wait(1000);
        assert_eq!(told.lock().unwrap().len(), 1);
        assert_eq!(pace.waited(), Duration::from_secs(510));
        pace.go_on_alone();
        assert_eq!(pace.waited(), Duration::from_secs(510));
        wait(1300);
        assert!(told.lock().unwrap().last().unwrap().contains("goes on without waiting"));
        assert!(pace.waited() > WAITED_MAX);
    }
}
