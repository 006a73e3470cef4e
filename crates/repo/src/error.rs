//! What can go wrong in a repository, named by what the caller can do about it.

use model::cancel::Cancelled;
use model::digest::Digest;
use store::{Refusal, StoreError};

/// An error of the repository.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The place itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no repository in the place.
    #[error("no repository in {place}")]
    NoRepository {
        /// Address of the place.
        place: String,
    },
    /// There was a repository, and it is not there any more.
    #[error("the repository {} that was in {place} on {seen:.0} is gone", id.short())]
    Gone {
        /// Address of the place.
        place: String,
        /// Which repository.
        id: Digest,
        /// When it was last opened from this machine.
        seen: jiff::Timestamp,
    },
    /// The hot part of a repository on two stores was opened as if it were all of it.
    #[error("{place} is only the hot part of a repository{}", of_cold(cold.as_deref()))]
    HotAlone {
        /// Address of the hot part.
        place: String,
        /// Where the cold part was when the hot one was made.
        cold: Option<String>,
    },
    /// What was named as the hot part is none, or another repository's.
    #[error("{place} is not the hot part of the repository in {cold}")]
    NotHot {
        /// Address of what was named as the hot part.
        place: String,
        /// Address of the cold part.
        cold: String,
    },
    /// There is a cold part, and nothing of a hot one.
    #[error("the hot part of the repository in {cold} is not in {place}")]
    HotLost {
        /// Where the hot part should be.
        place: String,
        /// Address of the cold part.
        cold: String,
    },
    /// `init` found one.
    #[error("a repository exists already in {place}")]
    Exists {
        /// Address of the place.
        place: String,
    },
    /// No key opens with this password.
    #[error("wrong password for the repository in {place}")]
    WrongPassword {
        /// Address of the place.
        place: String,
    },
    /// A later or foreign format.
    #[error("repository version {found} in {place} is not supported, only 1 and 2 are")]
    Version {
        /// What the configuration says.
        found: u64,
        /// Address of the place.
        place: String,
    },
    /// Bytes are not what was stored: broken medium or tampering.
    #[error("integrity check failed: {what}: {reason}")]
    Damaged {
        /// Which object, blob or file.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// A pack that an index names is not there.
    #[error("integrity check failed: {pack}: is gone")]
    PackGone {
        /// Its key.
        pack: String,
    },
    /// A blob that something refers to is in no index.
    #[error("integrity check failed: blob {id} is in no index")]
    MissingBlob {
        /// Which blob.
        id: Digest,
    },
    /// Another process holds what this one needs for itself.
    #[error("the repository is in use by {holder}")]
    InUse {
        /// Who, since when.
        holder: String,
    },
    /// This process paused for so long that others may count it as dead.
    #[error("the lease of this process ended {seconds} s ago, so its reused data may be gone")]
    LeaseLost {
        /// Seconds since it ended.
        seconds: u64,
    },
    /// Nothing has that id or prefix.
    #[error("no {what} {id:?}")]
    NotFound {
        /// `snapshot`, `key` …
        what: &'static str,
        /// As asked for.
        id: String,
    },
    /// More than one thing has that prefix.
    #[error("{id:?} is not unique: {count} {what}s begin with it")]
    Ambiguous {
        /// `snapshot`, `key` …
        what: &'static str,
        /// As asked for.
        id: String,
        /// How many.
        count: usize,
    },
    /// Nobody could read it again.
    #[error("{bytes} bytes in one piece are too many: at most {bytes_max} can be read again")]
    TooLong {
        /// How many there are.
        bytes: u64,
        /// How many there may be.
        bytes_max: u64,
    },
    /// What was asked for would lose the last way in.
    #[error("{0}")]
    Refused(String),
    /// Somebody asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The operating system gave no random bytes, no thread or no memory.
    #[error("{0}")]
    System(String),
}

fn of_cold(cold: Option<&str>) -> String {
    cold.map_or_else(String::new, |cold| format!(", whose cold part is in {cold}"))
}

impl RepoError {
    /// Damage to `what`.
    pub fn damaged(what: impl ToString, reason: impl ToString) -> Self {
        Self::Damaged { what: what.to_string(), reason: reason.to_string() }
    }

    /// Whether what is to be read is in an archive class, and first has to be warmed up.
    pub fn is_too_cold(&self) -> bool {
        matches!(self, Self::Store(StoreError::Refused { why: Refusal::Archived, .. }))
    }

    /// Whether it says that stored bytes are wrong or gone.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::PackGone { .. }
                | Self::MissingBlob { .. }
                | Self::Store(StoreError::Short { .. })
        )
    }
}

impl From<getrandom::Error> for RepoError {
    fn from(error: getrandom::Error) -> Self {
        Self::System(format!("no random bytes from the operating system: {error}"))
    }
}

/// Results of this crate.
pub type Result<T, E = RepoError> = std::result::Result<T, E>;
