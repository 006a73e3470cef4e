//! What can go wrong in a verb. Kinds and hints for people are made from these at the face alone.

use std::io;

use model::cancel::Cancelled;
use model::name::BackupId;
use pg::archive::ArchiveError;
use pg::backup_mode::BackupModeError;
use pg::client::ClientError;
use pg::connection::{ConnectionError, SessionError};
use pg::restore::RestoreError;
use pg::throwaway::ThrowawayError;
use pg::wire::WireError;
use pg::{ProgramError, QueryError};
use repo::RepoError;

use crate::near::told;
use crate::wal_error::WalError;

/// An error of a verb.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The way to the server.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The password on its way to libpq.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A question to the server.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Backup mode of a cluster.
    #[error(transparent)]
    BackupMode(#[from] BackupModeError),
    /// The client programs.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A client program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// pg_restore.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// What pg_dump wrote is no archive, or the stored one is none.
    #[error("the dump is not a sound archive: {0}")]
    Archive(#[from] ArchiveError),
    /// A directory.
    #[error(transparent)]
    Files(#[from] files::error::Error),
    /// The conversation with a server that streams.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// WAL.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A server for a moment.
    #[error(transparent)]
    Throwaway(#[from] ThrowawayError),
    /// The system.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's words.
        cause: io::Error,
    },
    /// It would overwrite or lose something.
    #[error("{0}")]
    Refused(String),
    /// Everything of it is in another repository, and it takes no more.
    #[error("{place} was retired on {at:.0}: its backups and its WAL are in {to}")]
    Retired {
        /// Address of this one.
        place: String,
        /// Since when.
        at: jiff::Timestamp,
        /// Address of the other one.
        to: String,
    },
    /// Nothing has that id.
    #[error("no backup {0:?}")]
    NoBackup(String),
    /// It was there, and nobody deleted it with mainstay.
    #[error("backup {0} disappeared: its snapshot is gone, and `backup delete` or `forget` did not do it")]
    Disappeared(BackupId),
    /// Several have that prefix.
    #[error("{prefix:?} is not unique: {matches}")]
    Ambiguous {
        /// As asked for.
        prefix: String,
        /// The candidates.
        matches: String,
    },
    /// What was named is not in the backup.
    #[error("there is no {what}{}", told(near))]
    NoSuch {
        /// What was asked for.
        what: String,
        /// What there is with a name like it.
        near: Vec<String>,
    },
    /// A backup of a directory has no such path.
    #[error("{path} is not in {id}")]
    NoPath {
        /// As asked for.
        path: String,
        /// The backup.
        id: String,
    },
    /// The format keeps a directory in one piece, which has an end.
    #[error("{} has more entries than one directory of a repository can hold ({bytes_max} bytes of names and metadata)", path.display())]
    DirectoryTooLong {
        /// Which directory.
        path: std::path::PathBuf,
        /// Where it ends.
        bytes_max: usize,
    },
    /// What the backup needs went away while it was made.
    #[error("{0}")]
    Gone(String),
    /// It cannot be done with what was asked for.
    #[error("{0}")]
    Unsuitable(String),
    /// It failed, and not all that it had made could be taken back.
    #[error("{cause}; left behind: {what}")]
    LeftBehind {
        /// What is still there.
        what: String,
        /// Why it failed.
        cause: Box<EngineError>,
    },
    /// Somebody asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl EngineError {
    /// A failure of the system while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    /// Of a thread that ended without a result.
    pub(crate) fn panicked() -> Self {
        RepoError::System("a thread stopped unexpectedly".to_owned()).into()
    }

    /// The same, with something that it left behind.
    pub(crate) fn leaving(self, what: String) -> Self {
        Self::LeftBehind { what, cause: Box::new(self) }
    }

    /// Whether it says that stored bytes are wrong or gone.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Repository(error) => error.is_damage(),
            Self::Archive(_) => true,
            Self::LeftBehind { cause, .. } => cause.is_damage(),
            _ => false,
        }
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::LeftBehind { cause, .. } => cause.is_cancelled(),
            Self::Cancelled(_)
            | Self::Repository(RepoError::Cancelled(_))
            | Self::Program(ProgramError::Cancelled(_))
            | Self::Wire(WireError::Cancelled(_))
            | Self::BackupMode(BackupModeError::Query(QueryError::Program(ProgramError::Cancelled(_))))
            | Self::Restore(RestoreError::Program(ProgramError::Cancelled(_))) => true,
            _ => false,
        }
    }
}

/// Results of this crate.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
