//! Time, handed in: the machine's, or one that a test turns by hand.
//!
//! Two times, never mixed: `now` is what people call the time, which may be wrong and may be set; `elapsed` only
//! goes on, also while the machine sleeps, and says how long something took.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A timer of the system stands still while the machine sleeps, so nobody waits longer than this without a look.
const SLICE: Duration = Duration::from_secs(30);

/// Where time comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<Hand>>>);

#[derive(Debug)]
struct Hand {
    now: Timestamp,
    elapsed: Duration,
    waiting: Vec<(Duration, Sender<()>)>,
}

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(None)
    }

    /// One that stands at `now` until somebody turns it.
    pub fn by_hand(now: Timestamp) -> Self {
        Self(Some(Arc::new(Mutex::new(Hand { now, elapsed: Duration::ZERO, waiting: vec![] }))))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.hand().map_or_else(Timestamp::now, |hand| hand.now)
    }

    /// How long it is since some moment before; never less than before.
    pub fn elapsed(&self) -> Duration {
        self.hand().map_or_else(since_boot, |hand| hand.elapsed)
    }

    /// What time it is where it was `now` when [`Clock::elapsed`] said `begun`.
    pub fn later(&self, now: Timestamp, begun: Duration) -> Timestamp {
        now.saturating_add(self.elapsed().saturating_sub(begun)).unwrap_or(now)
    }

    /// Let time pass; the machine's is left alone.
    pub fn advance(&self, by: Duration) {
        let Some(mut hand) = self.hand() else { return };
        hand.elapsed += by;
        hand.now = hand.now.saturating_add(by).unwrap_or(hand.now);
        let elapsed = hand.elapsed;
        for (_, wake) in hand.waiting.extract_if(.., |(due, _)| *due <= elapsed) {
            // Whoever waited may have been stopped meanwhile.
            wake.try_send(()).ok();
        }
    }

    /// Set what time it is, as a person or a time server does; the machine's is left alone.
    pub fn set(&self, now: Timestamp) {
        if let Some(mut hand) = self.hand() {
            hand.now = now;
        }
    }

    /// Wait for `span`; false when `stopped` says something, or its other end is gone, before.
    pub fn wait(&self, span: Duration, stopped: &Receiver<()>) -> bool {
        let due = self.elapsed() + span;
        let Some(mut hand) = self.hand() else { return wait_for_machine(due, stopped) };
        let (wake, woken) = bounded(1);
        hand.waiting.push((due, wake));
        drop(hand);
        select! {
            recv(stopped) -> _ => false,
            recv(woken) -> _ => true,
        }
    }

    fn hand(&self) -> Option<MutexGuard<'_, Hand>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn wait_for_machine(due: Duration, stopped: &Receiver<()>) -> bool {
    loop {
        let left = due.saturating_sub(since_boot());
        if left.is_zero() {
            return true;
        }
        if stopped.recv_timeout(left.min(SLICE)) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn by_hand_it_goes_as_it_is_turned_and_setting_it_passes_no_time() {
        let clock = Clock::by_hand(at(100));
        clock.advance(Duration::from_secs(5));
        assert_eq!((clock.now(), clock.elapsed()), (at(105), Duration::from_secs(5)));
        clock.set(at(3));
        assert_eq!((clock.now(), clock.elapsed()), (at(3), Duration::from_secs(5)));
    }

    #[test]
    fn who_waits_is_woken_in_time_or_stopped() {
        for stops in [false, true] {
            let clock = Clock::by_hand(at(0));
            let (stop, stopped) = bounded::<()>(0);
            let waiting = clock.clone();
            let waiter = std::thread::spawn(move || waiting.wait(Duration::from_secs(9), &stopped));
            while clock.hand().unwrap().waiting.is_empty() {
                std::thread::yield_now();
            }
            clock.advance(Duration::from_secs(8));
            assert_eq!(clock.hand().unwrap().waiting.len(), 1);
            if stops {
                drop(stop);
            } else {
                clock.advance(Duration::from_secs(1));
            }
            assert_eq!(waiter.join().unwrap(), !stops);
        }
    }

    #[test]
    fn the_machines_clock_goes_on_by_itself() {
        let clock = Clock::system();
        let before = clock.elapsed();
        let (stop, stopped) = bounded::<()>(0);
        assert!(clock.wait(Duration::from_millis(1), &stopped));
        assert!(clock.elapsed() > before);
        drop(stop);
        assert!(!clock.wait(Duration::from_secs(3600), &stopped));
    }
}
