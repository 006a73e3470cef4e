//! A few connections, made when they are needed, given up when they break, made again.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{Either, select};
use tokio::sync::Mutex;

use super::address::Address;
use super::link::{Dial, Link, is_broken};

/// Connections at once: enough for several uploads, and below the ten at which OpenSSH begins to refuse strangers.
pub(super) const CONNECTIONS: usize = 4;
const _: () = assert!(CONNECTIONS < 10);

/// Connections to one server.
pub(super) struct Pool {
    dial: Dial,
    places: [Place; CONNECTIONS],
}

#[derive(Default)]
struct Place {
    link: Mutex<Option<Arc<Link>>>,
    users: AtomicUsize,
}

/// Using a place; dropping it says that we have left.
struct Seat<'a>(&'a Place);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// No connection yet.
    pub(super) fn new(dial: Dial) -> Self {
        Self { dial, places: Default::default() }
    }

    /// The address with what the server added to it.
    pub(super) fn location(&self, root: &str) -> String {
        let user = Some(self.dial.login.user.clone());
        Address { user, path: root.to_owned(), ..self.dial.address.clone() }.to_string()
    }

    /// Do `work` on the connection with the fewest users, the earliest of several.
    ///
    /// # Errors
    /// Of connecting, or of the work.
    pub(super) async fn with<T>(&self, work: impl AsyncFnOnce(&Arc<Link>) -> io::Result<T>) -> io::Result<T> {
        let fewest = self.places.iter().min_by_key(|place| place.users.load(Ordering::Relaxed));
        let place = fewest.unwrap_or(&self.places[0]);
        place.users.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(place);
        let link = self.link(seat.0).await?;
        let done = match select(pin!(work(&link)), pin!(link.ended())).await {
            Either::Left((done, _)) => done,
            Either::Right(((), _)) => {
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection has ended"))
            }
        };
        if done.as_ref().is_err_and(is_broken) {
            let mut held = seat.0.link.lock().await;
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, &link)) {
                *held = None;
            }
        }
        done
    }

    async fn link(&self, place: &Place) -> io::Result<Arc<Link>> {
        let mut held = place.link.lock().await;
        if let Some(link) = held.as_ref().filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        let link = Arc::new(Link::connect(&self.dial).await?);
        *held = Some(link.clone());
        Ok(link)
    }
}
