//! Whose turn it is at each database host.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
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
    let address = match what {
        What::Database(address) | What::Databases(address) | What::Cluster(address) => address,
        What::Directory(_) => return String::new(),
    };
    let parsed = Connection::parse(address).ok();
    let said = parsed.as_ref().and_then(|known| known.get("host")).unwrap_or_default();
    // The port is no part of the question.
    machine(said, |name| {
        (name, 0).to_socket_addrs().map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default()
    })
}

/// One name for all names of a machine, as far as they can be looked up.
fn machine(said: &str, addresses: impl Fn(&str) -> Vec<IpAddr>) -> String {
    let said = said.to_ascii_lowercase();
    // A socket is a path, or its name begins with `@`.
    if said.is_empty() || said.starts_with(['/', '@']) {
        return String::new();
    }
    match addresses(&said).into_iter().min() {
        Some(address) if address.is_loopback() => String::new(),
        Some(address) => address.to_string(),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_machine_has_one_name() {
        let addresses = |name: &str| -> Vec<IpAddr> {
            let known = match name {
                "localhost" => vec!["::1", "127.0.0.1"],
                "db1" | "db1.internal" => vec!["10.0.0.9", "10.0.0.7"],
                "10.0.0.7" => vec!["10.0.0.7"],
                _ => vec![],
            };
            known.into_iter().map(|address| address.parse().unwrap()).collect()
        };
        for name in ["", "/run/postgresql", "@abstract", "localhost", "LocalHost"] {
            assert_eq!(machine(name, addresses), "", "{name}");
        }
        for name in ["db1", "DB1.internal", "10.0.0.7"] {
            assert_eq!(machine(name, addresses), "10.0.0.7", "{name}");
        }
        assert_eq!(machine("Unknown", addresses), "unknown");
        // A real address needs nobody who knows names.
        for address in ["127.0.0.1", "[::1]"] {
            assert_eq!(host(&What::Database(format!("postgresql://u@{address}/d"))), "", "{address}");
        }
    }

    #[test]
    fn no_more_runs_than_allowed_are_at_one_host() {
        let (hosts, cancel) = (Hosts::default(), CancelToken::new());
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            let first = hosts.wait("a", Some(2), &cancel).unwrap();
            let second = hosts.wait("a", Some(2), &cancel).unwrap();
            // Others go on.
            drop(hosts.wait("b", Some(1), &cancel).unwrap());
            let (hosts, cancel) = (&hosts, &cancel);
            scope.spawn(move || {
                let third = hosts.wait("a", Some(2), cancel);
                tell.send(third.is_ok()).unwrap();
            });
            assert!(told.recv_timeout(LOOK_EVERY / 2).is_err(), "it did not wait");
            drop(first);
            assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(true));
            drop(second);
        });
        // Whoever waits hears that everything is given up.
        let _first = hosts.wait("a", Some(1), &cancel).unwrap();
        cancel.cancel();
        assert!(hosts.wait("a", Some(1), &cancel).is_err());
    }
}
