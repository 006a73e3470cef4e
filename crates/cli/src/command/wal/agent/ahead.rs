//! Work that is done before it is asked for.
//!
//! Invariants: what is asked for comes before what may be asked for; of what was done ahead and is no longer expected,
//! nothing is kept; a result is handed out once.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Work by its key, and its results.
pub(super) struct Ahead<K, V> {
    state: Mutex<State<K, V>>,
    changed: Condvar,
}

struct State<K, V> {
    jobs: HashMap<K, Job<V>>,
    waiting: VecDeque<K>,
    running: usize,
    is_over: bool,
}

struct Job<V> {
    is_wanted: bool,
    result: Option<V>,
}

/// A result, and whether it was there, or begun, before anybody asked.
pub(super) struct Done<V> {
    pub(super) result: V,
    pub(super) was_ahead: bool,
}

impl<K: Clone + Eq + Hash, V> Ahead<K, V> {
    pub(super) fn new() -> Self {
        let state = State { jobs: HashMap::new(), waiting: VecDeque::new(), running: 0, is_over: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of `key`; `is_waiting` is asked after each `beat`. `None` where nobody waits any more, or it is over.
    pub(super) fn want(
        &self,
        key: &K,
        beat: Duration,
        mut is_waiting: impl FnMut() -> bool,
    ) -> Option<Done<V>> {
        let mut state = self.lock();
        let was_ahead = state.jobs.contains_key(key);
        let job = state.jobs.entry(key.clone()).or_insert(Job { is_wanted: true, result: None });
        job.is_wanted = true;
        let is_new = !was_ahead;
        let is_late = state.waiting.iter().position(|waiting| waiting == key);
        if let Some(at) = is_late {
            state.waiting.remove(at);
        }
        if is_new || is_late.is_some() {
            state.waiting.push_front(key.clone());
            self.changed.notify_all();
        }
        loop {
            let is_over = state.is_over;
            let job = state.jobs.get_mut(key)?;
            if let Some(result) = job.result.take() {
                state.jobs.remove(key);
                return Some(Done { result, was_ahead });
            }
            if is_over {
                return None;
            }
            let (again, waited) =
                self.changed.wait_timeout(state, beat).unwrap_or_else(PoisonError::into_inner);
            state = again;
            if waited.timed_out() {
                drop(state);
                let goes_on = is_waiting();
                state = self.lock();
                if !goes_on {
                    state.jobs.entry(key.clone()).and_modify(|job| job.is_wanted = false);
                    return None;
                }
            }
        }
    }

    /// `next` will probably be wanted after `now`, in this order. All else that nobody waits for is forgotten.
    pub(super) fn expect(&self, now: &K, next: &[K]) {
        let mut state = self.lock();
        let State { jobs, waiting, .. } = &mut *state;
        let is_expected = |key: &K| key == now || next.contains(key);
        let is_kept = |key: &K, job: &Job<V>| job.is_wanted || is_expected(key);
        // What is neither done nor waiting is being worked on, and its worker looks for it when it is done.
        let is_running = |key: &K, job: &Job<V>| job.result.is_none() && !waiting.contains(key);
        let forgotten: Vec<K> = jobs
            .iter()
            .filter(|(key, job)| !is_kept(key, job) && !is_running(key, job))
            .map(|(key, _)| key.clone())
            .collect();
        let results: Vec<_> = forgotten.iter().filter_map(|key| jobs.remove(key)).collect();
        waiting.retain(|key| jobs.contains_key(key));
        for key in next {
            if !jobs.contains_key(key) {
                jobs.insert(key.clone(), Job { is_wanted: false, result: None });
                waiting.push_back(key.clone());
            }
        }
        drop(state);
        // Files that nobody wants go with their values, while nobody waits for that.
        drop(results);
        self.changed.notify_all();
    }

    /// Do what there is to do, until it is over. `run` gets the key, and whether it is the only one at work.
    pub(super) fn work(&self, mut run: impl FnMut(&K, bool) -> V) {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return;
            }
            let Some(key) = state.waiting.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running += 1;
            let is_alone = state.running == 1 && state.waiting.is_empty();
            drop(state);
            let result = run(&key, is_alone);
            state = self.lock();
            state.running -= 1;
            if let Some(job) = state.jobs.get_mut(&key) {
                job.result = Some(result);
            }
            self.changed.notify_all();
        }
    }

    /// Nothing is begun from now on, and nobody waits any longer; what was done ahead is dropped.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.waiting.clear();
        let results = std::mem::take(&mut state.jobs);
        drop(state);
        drop(results);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const BEAT: Duration = Duration::from_millis(10);

    /// `test` beside two workers that square numbers and count.
    fn with_workers(test: impl FnOnce(&Ahead<u32, u32>, &AtomicUsize)) {
        let (ahead, count) = (Ahead::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    ahead.work(|key, _| {
                        count.fetch_add(1, Ordering::SeqCst);
                        key * key
                    });
                });
            }
            test(&ahead, &count);
            ahead.end();
        });
    }

    #[test]
    fn what_is_expected_is_there_when_it_is_wanted_and_handed_out_once() {
        with_workers(|ahead, count| {
            let want = |key| ahead.want(&key, BEAT, || true).map(|done| (done.result, done.was_ahead));
            ahead.expect(&1, &[2, 3]);
            assert_eq!((want(2), want(3)), (Some((4, true)), Some((9, true))));
            assert_eq!(count.load(Ordering::SeqCst), 2);
            assert_eq!(want(2), Some((4, false)));
            assert_eq!(count.load(Ordering::SeqCst), 3);
        });
    }

    #[test]
    fn what_is_no_longer_expected_is_forgotten() {
        let ahead: Ahead<u32, u32> = Ahead::new();
        ahead.expect(&0, &[1, 2, 3]);
        ahead.expect(&2, &[3, 4]);
        let state = ahead.lock();
        assert_eq!((state.waiting.iter().copied().collect::<Vec<_>>(), state.jobs.len()), (vec![2, 3, 4], 3));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let ahead: Ahead<u32, u32> = Ahead::new();
        let mut beats = 0;
        let left = ahead.want(&1, BEAT, || {
            beats += 1;
            beats < 3
        });
        assert!(left.is_none() && beats == 3);
        ahead.end();
        assert!(ahead.want(&1, BEAT, || true).is_none());
    }
}
