//! A few connections to one server: made when they are needed, lent to one thread at a time, given up when they break.
//!
//! A server that lets in fewer than we would like decides: whoever comes then waits for one that is there.

use std::io::{self, ErrorKind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::talk::Talk;

/// Makes connections.
pub(super) type Dial = Box<dyn Fn() -> io::Result<Box<dyn Talk>> + Send + Sync>;

/// Connections.
pub(super) struct Pool {
    dial: Dial,
    held: Mutex<Held>,
    returned: Condvar,
}

struct Held {
    idle: Vec<Box<dyn Talk>>,
    /// Idle, lent, or being made.
    open: usize,
    max: usize,
}

impl Pool {
    /// At most `max` connections; `first` is one.
    pub(super) fn new(dial: Dial, first: Box<dyn Talk>, max: usize) -> Self {
        Self { dial, held: Mutex::new(Held { idle: vec![first], open: 1, max }), returned: Condvar::new() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Borrow a connection; [`Pool::give_back`] or [`Pool::give_up`] has to follow.
    ///
    /// # Errors
    /// Where one is needed and cannot be made.
    pub(super) fn borrow(&self) -> io::Result<Box<dyn Talk>> {
        loop {
            let mut held = self.held();
            loop {
                if let Some(talk) = held.idle.pop() {
                    return Ok(talk);
                }
                if held.open < held.max {
                    break;
                }
                held = self.returned.wait(held).unwrap_or_else(PoisonError::into_inner);
            }
            held.open += 1;
            drop(held);
            let refused = match (self.dial)() {
                Ok(talk) => return Ok(talk),
                Err(error) => error,
            };
            let mut held = self.held();
            held.open -= 1;
            self.returned.notify_one();
            // Others are served: then this one is one too many, and not the server away.
            if held.open == 0 || !is_too_many(&refused) {
                return Err(refused);
            }
            held.max = held.open;
        }
    }

    /// Hand back a connection; one that is in the middle of something is let go of.
    pub(super) fn give_back(&self, talk: Box<dyn Talk>) {
        if !talk.is_idle() {
            return self.give_up(talk);
        }
        self.held().idle.push(talk);
        self.returned.notify_one();
    }

    /// Let go of one that cannot.
    pub(super) fn give_up(&self, talk: Box<dyn Talk>) {
        drop(talk);
        self.held().open -= 1;
        self.returned.notify_one();
    }
}

/// Whether the server says that it is busy.
fn is_too_many(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ResourceBusy
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use model::entry::Entry;

    use super::super::talk::{Listing, Look};
    use super::*;

    struct Mute;

    impl Talk for Mute {
        fn root(&mut self, _: &[u8]) -> io::Result<Entry> {
            Err(ErrorKind::NotADirectory.into())
        }
        fn list(&mut self, _: &[u8]) -> io::Result<Listing> {
            Ok(Listing::default())
        }
        fn look(&mut self, _: &[u8]) -> io::Result<Look> {
            Ok(Look::default())
        }
        fn open(&mut self, _: &[u8], _: u64, _: &Look) -> io::Result<Look> {
            Ok(Look::default())
        }
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
        fn is_idle(&self) -> bool {
            true
        }
        fn close(&mut self) -> io::Result<Look> {
            Ok(Look::default())
        }
    }

    #[test]
    fn a_server_that_lets_in_two_is_used_by_two_and_everybody_gets_his_turn() {
        let inside = Arc::new(AtomicUsize::new(1));
        let door = inside.clone();
        let dial: Dial = Box::new(move || {
            match door.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < 2).then_some(n + 1)) {
                Ok(_) => Ok(Box::new(Mute)),
                Err(_) => Err(ErrorKind::ResourceBusy.into()),
            }
        });
        let pool = Pool::new(dial, Box::new(Mute), 8);
        let turns = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let talk = pool.borrow().unwrap();
                        turns.fetch_add(1, Ordering::SeqCst);
                        pool.give_back(talk);
                    }
                });
            }
        });
        assert_eq!(turns.load(Ordering::SeqCst), 160);
        assert!(inside.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn without_any_connection_the_trouble_is_told() {
        let dial: Dial = Box::new(|| Err(ErrorKind::ResourceBusy.into()));
        let pool = Pool::new(dial, Box::new(Mute), 8);
        let talk = pool.borrow().unwrap();
        pool.give_up(talk);
        assert_eq!(pool.borrow().err().unwrap().kind(), ErrorKind::ResourceBusy);
    }
}
