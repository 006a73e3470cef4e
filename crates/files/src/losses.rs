//! What of the metadata could not be restored, told once per kind and not once per file.
//!
//! A restore by a user without rights must not fail for owners it may not set, and must not hide it either.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What was lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// Owner or group.
    Owner,
    /// Permission bits.
    Mode,
    /// Extended attributes of one namespace, like `trusted`.
    Attributes(String),
    /// Times.
    Times,
}

/// How often it was lost, where first, and why.
#[derive(Debug)]
pub struct Loss {
    /// What.
    pub what: Lost,
    /// Of how many entries (of how many attributes, for attributes).
    pub count: u64,
    /// Where it happened first.
    pub first: PathBuf,
    /// What the kernel said there.
    pub error: io::Error,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Lost::Owner => f.write_str("owner")?,
            Lost::Mode => f.write_str("mode")?,
            Lost::Attributes(namespace) => write!(f, "attributes of {namespace}")?,
            Lost::Times => f.write_str("times")?,
        }
        write!(f, " not restored ({} times, first of {}: {})", self.count, self.first.display(), self.error)
    }
}

/// Collects losses from all threads of a restore.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<Lost, Loss>>);

impl Losses {
    pub(crate) fn add(&self, what: Lost, path: &Path, error: rustix::io::Errno) {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || Loss { what: what.clone(), count: 0, first: path.to_path_buf(), error: error.into() };
        losses.entry(what.clone()).or_insert_with(first).count += 1;
    }

    /// All so far; the next call tells only what is new.
    pub(crate) fn take(&self) -> Vec<Loss> {
        let mut losses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *losses).into_values().collect()
    }
}
