//! What was written and when: the points that a cluster can come back to, and the backups that lead there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The state behind a transaction of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Its row is the last one.
    pub(crate) number: u64,
    /// Of that row and all before it.
    pub(crate) hash: String,
    pub(crate) xid: String,
    /// Behind it, and before the next one.
    pub(crate) lsn: u64,
    /// The same as the server's time.
    pub(crate) time: String,
    /// The name of a restore point there.
    pub(crate) name: Option<String>,
    pub(crate) timeline: u32,
    /// Before it was begun.
    pub(crate) begun: SystemTime,
}

impl Point {
    /// The end of the ledger there.
    pub(crate) fn last(&self) -> Last {
        Last { number: self.number, hash: self.hash.clone() }
    }
}

/// The last row of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) number: u64,
    pub(crate) hash: String,
}

/// A backup that is listed.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) timeline: u32,
    pub(crate) stop: u64,
    /// It had ended by then.
    pub(crate) seen: SystemTime,
    /// Whether it is in the repository.
    pub(crate) is_listed: bool,
}

/// All of it.
#[derive(Default)]
pub(crate) struct History {
    /// What the cluster of now comes from.
    pub(crate) points: Vec<Point>,
    /// What was acknowledged and lost with a primary that died.
    pub(crate) lost: Vec<Point>,
    /// Where each earlier timeline was left.
    forks: BTreeMap<u32, u64>,
    pub(crate) timeline: u32,
    pub(crate) backups: BTreeMap<String, Known>,
    /// What is older may have expired.
    kept_from: Option<SystemTime>,
}

/// A position as PostgreSQL writes it.
pub(crate) fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    u64::from_str_radix(high, 16).unwrap() << 32 | u64::from_str_radix(low, 16).unwrap()
}

impl History {
    /// A timeline was left for the next one.
    pub(crate) fn fork(&mut self, timeline: u32, end: u64, next: u32) {
        self.forks.insert(timeline, end);
        self.timeline = next;
        let is_lost = |point: &Point| point.timeline == timeline && point.lsn > end;
        let (lost, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.points).into_iter().partition(is_lost);
        self.points = kept;
        self.lost.extend(lost);
    }

    /// What ended longer ago than `window` before now may go.
    pub(crate) fn expire(&mut self, window: Duration) {
        self.kept_from = self.kept_from.max(Some(SystemTime::now() - window));
    }

    /// Whether what ended at `stop` leads to the cluster of now.
    fn is_on_line(&self, timeline: u32, stop: u64) -> bool {
        timeline == self.timeline || self.forks.get(&timeline).is_some_and(|end| stop <= *end)
    }

    /// The newest backup that had ended when a point was begun.
    pub(crate) fn newest_before(&self, point: &Point) -> Option<&str> {
        let fits = |known: &Known| {
            known.is_listed && known.seen <= point.begun && self.is_on_line(known.timeline, known.stop)
        };
        let fitting = self.backups.iter().filter(|(_, known)| fits(known));
        fitting.max_by_key(|(_, known)| known.stop).map(|(id, _)| id.as_str())
    }

    /// Whether the cluster has to come back to this point.
    pub(crate) fn is_due(&self, point: &Point) -> bool {
        self.newest_before(point).is_some() && Some(point.begun) >= self.kept_from
    }

    /// Ids of what is listed.
    pub(crate) fn listed(&self) -> Vec<&str> {
        self.backups.iter().filter(|(_, known)| known.is_listed).map(|(id, _)| id.as_str()).collect()
    }

    /// A backup was found in the repository: a consolidated one had ended when what it was made of had.
    pub(crate) fn found(&mut self, id: &str, timeline: u32, stop: u64) {
        let twins = self.backups.values().filter(|known| (known.timeline, known.stop) == (timeline, stop));
        let seen = twins.map(|known| known.seen).min().unwrap_or_else(SystemTime::now);
        let known = Known { timeline, stop, seen, is_listed: true };
        self.backups.entry(id.to_owned()).or_insert(known).is_listed = true;
    }
}
