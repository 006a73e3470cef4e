//! Why a keeper that is asked over the network gives no secret.

use std::path::PathBuf;
use std::time::Duration;

/// Why not. Never has a word of an answer in it: that may be the secret.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Something that is needed to ask is not set.
    #[error("{0} is not set")]
    Unset(&'static str),
    /// The place is not written as this keeper's places are.
    #[error("is no place there: write {0}")]
    Place(&'static str),
    /// An address that would send secrets in the clear, or none at all.
    #[error("{0} must be https://HOST; http:// only leads to this machine")]
    Address(&'static str),
    /// Authorities that cannot be read.
    #[error("authorities in {path}: {cause}")]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The service account of Kubernetes that is not there.
    #[error("token of the service account, {path}: {cause}")]
    Account {
        /// Its file.
        path: PathBuf,
        /// Why it cannot be read.
        cause: std::io::Error,
    },
    /// A connection that could not be made, or broke, until there was no more time.
    #[error("no answer from {host} ({tries} tries in {} s): {cause}", within.as_secs())]
    Unreachable {
        /// Whom we asked.
        host: String,
        /// How often.
        tries: u32,
        /// For how long at most.
        within: Duration,
        /// The last reason.
        cause: String,
    },
    /// It answers that it cannot, until there was no more time.
    #[error("{host} answers {status}{} ({tries} tries in {} s)", meaning(*status), within.as_secs())]
    Outage {
        /// Whom we asked.
        host: String,
        /// Its status.
        status: u16,
        /// How often.
        tries: u32,
        /// For how long at most.
        within: Duration,
    },
    /// It does not know us.
    #[error("{host} refuses the credentials {names} ({status})")]
    Credentials {
        /// Whom we asked.
        host: String,
        /// The variables, or the file, that they are in.
        names: String,
        /// Its status.
        status: u16,
    },
    /// It knows us and does not let us read this.
    #[error("may not be read: {0}")]
    Forbidden(String),
    /// There is no such place.
    #[error("is not there{0}")]
    NotFound(&'static str),
    /// The place is there, without this value.
    #[error("has no value of this name")]
    NoKey,
    /// What is there is no text.
    #[error("is no text")]
    NotText,
    /// An answer that is none of this keeper's.
    #[error("{host} gave an answer ({status}) that is none: {what}")]
    Answer {
        /// Whom we asked.
        host: String,
        /// Its status.
        status: u16,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a status means where it is not plain.
fn meaning(status: u16) -> &'static str {
    match status {
        429 => ", too many requests",
        503 => ", not available or sealed",
        _ => "",
    }
}
