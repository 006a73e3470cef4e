//! Whose turn it is at each database host.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use config::configuration::What;
use model::cancel::CancelToken;
use pg::connection::Connection;

use crate::error::Result;

/// How often somebody who waits for a host looks whether everything is given up.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How many are at each.
#[derive(Default)]
pub(super) struct Hosts {
    busy: Mutex<HashMap<String, usize>>,
    freed: Condvar,
}

/// One run at a host; gives its place back.
pub(super) struct Turn<'a> {
    hosts: &'a Hosts,
    host: String,
}

impl Hosts {
    /// Wait until fewer than `max` runs are at `host`.
    pub(super) fn wait(&self, host: &str, max: Option<usize>, cancel: &CancelToken) -> Result<Turn<'_>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while max.is_some_and(|max| busy.get(host).copied().unwrap_or_default() >= max.max(1)) {
            cancel.check().map_err(engine::EngineError::from)?;
            let waited = self.freed.wait_timeout(busy, LOOK_EVERY);
            busy = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *busy.entry(host.to_owned()).or_default() += 1;
        Ok(Turn { hosts: self, host: host.to_owned() })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.hosts.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = busy.get_mut(&self.host) {
            *count -= 1;
        }
        self.hosts.freed.notify_all();
    }
}

/// The host of a source; one name for everything on this machine.
pub(super) fn host(what: &What) -> String {
    match what {
        What::Database(address) | What::Databases(address) | What::Cluster(address) => {
            let parsed = Connection::parse(address).ok();
            parsed.and_then(|known| known.get("host").map(str::to_owned)).unwrap_or_default()
        }
        What::Directory(_) => String::new(),
    }
}
