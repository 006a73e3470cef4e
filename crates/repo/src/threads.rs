//! All cores for work that falls into independent parts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{RepoError, Result};

/// Number of threads that the machine, or the cgroup, gives us.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How far the calling thread steps back behind others (see nice(2)).
const POLITE: i32 = 10;

/// Let everybody else go first on the calling thread's core: the server that is being dumped, above all, and pg_dump,
/// on which we wait anyway.
pub fn be_polite() {
    // Where it is not allowed, we are only less polite.
    rustix::process::setpriority_process(None, POLITE).ok();
}

/// Requests for small objects at one time: a store far away answers each after tens of milliseconds.
const WAITING: usize = 16;

/// `work` on each of `items`, on all cores; the results are in the order of the items.
///
/// # Errors
/// Only where a thread stopped unexpectedly; what `work` says of an item stands in its place.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Result<Vec<R>> {
    map_on(cores(), items, || Ok(()), |(), item| work(item))
}

/// [`map`] for work that mostly waits for a store.
///
/// # Errors
/// As [`map`].
pub fn map_waiting<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Result<Vec<R>> {
    map_on(WAITING.max(cores()), items, || Ok(()), |(), item| work(item))
}

/// [`map`] on so many threads, until one fails: what was not begun by then is left.
///
/// # Errors
/// What the first of the items that failed said, by their order.
///
/// # Panics
/// Where `work` does.
pub fn each_until_error<T: Sync, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (has_failed, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let take = || {
        while !has_failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { break };
            if let Err(error) = work(item) {
                has_failed.store(true, Ordering::Relaxed);
                return Err((number, error));
            }
        }
        Ok(())
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(take)).collect();
        let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let first = outcomes.into_iter().filter_map(std::result::Result::err).min_by_key(|(number, _)| *number);
    first.map_or(Ok(()), |(_, error)| Err(error))
}

/// Two calls that wait for a store, at one time: one round trip instead of two.
///
/// # Panics
/// Where `other` does.
pub fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        (one, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// [`map`] with something that each thread makes for itself and uses for all of its items, like buffers.
///
/// # Errors
/// Where `begin` fails, or a thread stopped unexpectedly.
pub fn map_with<T: Sync, R: Send, W>(
    items: &[T],
    begin: impl Fn() -> Result<W> + Sync,
    work: impl Fn(&mut W, &T) -> R + Sync,
) -> Result<Vec<R>> {
    map_on(cores(), items, begin, work)
}

/// [`map_with`] on so many threads.
///
/// # Errors
/// As [`map_with`].
pub fn map_on<T: Sync, R: Send, W>(
    threads: usize,
    items: &[T],
    begin: impl Fn() -> Result<W> + Sync,
    work: impl Fn(&mut W, &T) -> R + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let take = || {
        let (mut own, mut done) = (begin()?, vec![]);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { return Ok(done) };
            done.push((number, work(&mut own, item)));
        }
    };
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(take)).collect();
        let parts: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        parts.into_iter().collect::<std::thread::Result<Vec<_>>>()
    });
    let parts = parts.map_err(|_| RepoError::System("a thread stopped unexpectedly".to_owned()))?;
    let parts: Vec<Vec<_>> = parts.into_iter().collect::<Result<_>>()?;
    let mut done: Vec<_> = parts.into_iter().flatten().collect();
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(
            map(&items, |item| item * 2).unwrap(),
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!(map(&[] as &[u32], |item| *item).unwrap().is_empty());
    }

    #[test]
    fn after_an_error_nothing_more_is_begun() {
        let begun = AtomicUsize::new(0);
        let items: Vec<u32> = (0..1000).collect();
        let outcome = each_until_error(2, &items, |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            match item {
                3.. => Err(RepoError::System(item.to_string())),
                _ => Ok(()),
            }
        });
        assert!(matches!(outcome, Err(RepoError::System(item)) if item == "3" || item == "4"));
        assert!(begun.into_inner() <= 5);
        assert!(each_until_error(4, &items, |_| Ok::<(), RepoError>(())).is_ok());
        let panics = || {
            each_until_error(2, &items, |item| {
                assert_ne!(*item, 7);
                Ok::<(), RepoError>(())
            })
        };
        assert!(std::panic::catch_unwind(panics).is_err(), "a panic is not taken for a store that is away");
    }

    #[test]
    fn a_thread_that_panics_is_an_error() {
        assert!(map(&[1, 2, 3], |item| assert_ne!(*item, 2)).is_err());
    }
}
