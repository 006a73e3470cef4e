//! Why a throw-away server did not come up.

use std::io;
use std::time::Duration;

use crate::connection::ConnectionError;

/// How long a server may take to come up or go down.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A throw-away server did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    /// The directory or a process could not be made.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// No random password.
    #[error("no random numbers for a password: {0}")]
    Random(String),
    /// initdb or the server ended; the words are their own.
    #[error("{program} ended: {words}")]
    Ended {
        /// Which.
        program: &'static str,
        /// What it said.
        words: String,
    },
    /// No socket can be there.
    #[error("{} is too long, or has a comma or a quote in it, which no directory of a server's socket may have", .0.display())]
    BadPlace(std::path::PathBuf),
    /// It is still not there.
    #[error("the server did not come up within {} seconds: {words}", PATIENCE.as_secs())]
    TooSlow {
        /// What it said.
        words: String,
    },
    /// The address it got is no address.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl ThrowawayError {
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
