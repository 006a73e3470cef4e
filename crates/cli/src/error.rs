//! From what went wrong to what a person or script is told: the kind, a hint, the exit code. The only such place.

use std::io::ErrorKind;

use daemon::history::HistoryError;
use engine::EngineError;
use files::error::Error as FilesError;
use pg::QueryError;
use pg::connection::{ConnectionError, SessionError};
use pg::restore::RestoreError;
use repo::RepoError;
use serde::{Deserialize, Serialize};
use store::{Refusal, StoreError};

/// Exit codes, as `docs/reference/exit-codes.md` lists them. 0 is success; there are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum Kind {
    /// It failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Some sources are done, some failed.
    Partial = 3,
    /// Stored data is damaged or was tampered with.
    Damaged = 4,
    /// No such thing.
    NotFound = 5,
    /// Refused for safety.
    Refused = 6,
    /// A backup that should be there is missing or late.
    Late = 7,
    /// `wal fetch` alone: nobody knows whether there is such a file. PostgreSQL takes 1 to 125 for "there is none", ends its
    /// recovery and promotes; at more it stops.
    Unknown = 255,
}

/// An error as it is shown.
#[derive(Debug)]
pub(crate) struct CliError {
    /// What kind.
    pub(crate) kind: Kind,
    /// What happened, naming the thing.
    pub(crate) message: String,
    /// What to do next, where we know.
    pub(crate) hint: Option<String>,
    /// Whether a store failed, so that another one may still do.
    pub(crate) is_of_store: bool,
}

/// Results of this crate.
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// An error with these words.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, is_of_store: false }
    }

    /// The same with a hint.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same, said of `thing`.
    pub(crate) fn named(mut self, thing: &str) -> Self {
        self.message = format!("{thing}: {}", self.message);
        self
    }

    /// The same once more, for another thing that it keeps from being done.
    pub(crate) fn again(&self) -> Self {
        let Self { kind, message, hint, is_of_store } = self;
        Self { kind: *kind, message: message.clone(), hint: hint.clone(), is_of_store: *is_of_store }
    }

    /// What stands in the way to a directory on another server. Another place to back up into does not better it.
    pub(crate) fn of_source(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::BadUrl { .. } => {
                Some("write it like sftp://user@host//srv/data or ftps://user@host//srv/data")
            }
            StoreError::NotFound { .. } => {
                Some("with one slash behind the host, a path is below the directory of the login")
            }
            StoreError::Refused { why, .. } => what_to_mend_of_source(why),
            _ if error.is_transient() => Some("is the address right, and the server up?"),
            _ => None,
        };
        let shown = Self::from(error);
        Self { hint: hint.map(str::to_owned), is_of_store: false, ..shown }
    }

    /// What a server that recovers is told: never that there is no such file, unless it is a standby, which asks again.
    pub(crate) fn of_recovery(mut self, is_standby: bool) -> Self {
        self.kind = if is_standby { Kind::Failed } else { Kind::Unknown };
        self
    }

    /// A failure of the system while doing `what`.
    pub(crate) fn io(what: &str) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |cause| Self::new(Kind::Failed, format!("{what}: {cause}"))
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Repository(error) => error.into(),
            EngineError::Connection(error) => error.into(),
            EngineError::Session(error) => error.into(),
            EngineError::Query(error) => error.into(),
            EngineError::Archive(_) => Self::new(Kind::Damaged, message),
            EngineError::NoBackup(_) => {
                Self::new(Kind::NotFound, message).hint("`mainstay backup list` shows what there is")
            }
            EngineError::Disappeared(_) => Self::new(Kind::NotFound, message).hint(
                "find out who removed it; its data may still be there until the next `mainstay prune`, and in a versioned \
                 bucket or another copy of the repository the snapshot itself",
            ),
            EngineError::NoSuch { .. } => Self::new(Kind::NotFound, message),
            EngineError::NoPath { .. } => {
                Self::new(Kind::NotFound, message).hint("paths are those below the backed-up directory")
            }
            EngineError::Ambiguous { .. } => Self::usage(message).hint("give more of the id"),
            EngineError::Refused(_) => Self::new(Kind::Refused, message),
            EngineError::Retired { .. } => Self::new(Kind::Refused, message).hint(
                "back up into the new one, and archive WAL there; `mainstay mirror NEW OLD` takes the old one into use again",
            ),
            EngineError::Unsuitable(_) => Self::usage(message),
            EngineError::Client(_) => Self::usage(message),
            EngineError::DirectoryTooLong { .. } => Self::new(Kind::Failed, message)
                .hint("leave it out with --exclude, or spread its entries over several directories"),
            EngineError::Files(error) => error.into(),
            EngineError::Wal(error) => error.into(),
            EngineError::Wire(error) => error.into(),
            EngineError::Restore(error) => error.into(),
            EngineError::LeftBehind { cause, .. } => {
                let shown = Self::from(*cause);
                let message = if shown.kind == Kind::Damaged { of_damage(message) } else { message };
                Self { message, ..shown }
            }
            _ => Self::new(Kind::Failed, message),
        }
    }
}

mod of_store;
mod wal;
mod wire;

use of_store::what_to_mend;

impl From<HistoryError> for CliError {
    fn from(error: HistoryError) -> Self {
        Self::new(Kind::Failed, error.to_string()).hint(
            "it is a memory of this machine: moved away, it is filled again with `mainstay runs --rebuild`",
        )
    }
}

/// The words that scripts look for (C5).
fn of_damage(message: String) -> String {
    const WORDS: &str = "integrity check failed";
    if message.contains(WORDS) { message } else { format!("{WORDS}: {message}") }
}

impl From<RepoError> for CliError {
    fn from(error: RepoError) -> Self {
        let message = error.to_string();
        if error.is_damage() {
            return Self::new(Kind::Damaged, of_damage(message)).hint(
                "`mainstay check --read-data` shows how far it goes, and lets the next backup store it again",
            );
        }
        match error {
            RepoError::Store(error) => error.into(),
            RepoError::NoRepository { .. } => {
                Self::new(Kind::NotFound, message).hint("`mainstay init` makes one; is the address right?")
            }
            // Not 5: a script that makes what is missing must not make this.
            RepoError::Gone { .. } => Self::new(Kind::Refused, message).hint(
                "bring it back from a copy or the bucket's versions; `mainstay init --again` begins anew",
            ),
            RepoError::HotAlone { .. } => Self::new(Kind::Refused, message)
                .hint("name the cold part with -r, and this one with --repository-hot"),
            RepoError::NotHot { .. } => Self::usage(message)
                .hint("-r names the part that has everything, --repository-hot what `init` or `repair hot` made for it"),
            RepoError::HotLost { .. } => Self::new(Kind::Refused, message)
                .hint("is the address right? `mainstay repair hot` makes it again from the cold part"),
            RepoError::Exists { .. } => {
                Self::new(Kind::Refused, message).hint("an existing repository is never overwritten")
            }
            RepoError::WrongPassword { .. } => Self::usage(message)
                .hint("check MAINSTAY_PASSWORD or --password-file; the recovery key opens it too"),
            RepoError::Version { .. } => Self::usage(message).hint("use the newer program that made it"),
            RepoError::InUse { .. } => Self::new(Kind::Refused, message)
                .hint("wait for it; a holder that died is forgotten after 30 minutes"),
            RepoError::NotFound { .. } => Self::new(Kind::NotFound, message),
            RepoError::Ambiguous { .. } => Self::usage(message).hint("give more of the id"),
            RepoError::Refused(_) => Self::new(Kind::Refused, message),
            _ => Self::new(Kind::Failed, message),
        }
    }
}

/// The same where the server has what is to be backed up.
fn what_to_mend_of_source(why: &Refusal) -> Option<&'static str> {
    Some(match why {
        Refusal::UnknownHostKey(_) => {
            "compare the fingerprint with the server's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), \
             then log in once with ssh, or pin it with --directory-host-key SHA256:…"
        }
        Refusal::Untrusted(_) => {
            "name the authority with --directory-ca-file FILE; or compare the fingerprint with the server's own \
             (openssl x509 -noout -fingerprint -sha256) and pin it with --directory-pin sha256:…"
        }
        Refusal::NoCredentials(_) => {
            "give the password in --directory-password-file or MAINSTAY_FTP_PASSWORD"
        }
        Refusal::WrongSecret => {
            "check user and password; some servers let certain users in only from certain places"
        }
        Refusal::NoLogin(_) => {
            "give a key that the server knows: --directory-key FILE, ssh-add, or a file in ~/.ssh; ~/.ssh/config is not read"
        }
        Refusal::WrongHostKey(_) => what_to_mend(why),
        Refusal::Denied(_) => "the user of the address needs the right to read the directory",
        _ => return None,
    })
}

impl From<ConnectionError> for CliError {
    fn from(error: ConnectionError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<QueryError> for CliError {
    fn from(error: QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::NoSuchDatabase(_) => Self::new(Kind::NotFound, message),
            _ => Self::new(Kind::Failed, message),
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        let message = error.to_string();
        match error {
            RestoreError::Unpatched { .. } => Self::new(Kind::Refused, message)
                .hint("or write the archive to a file and restore it where nothing can be lost"),
            _ if message.contains("violates check constraint") => Self::new(Kind::Failed, message).hint(
                "a CHECK that reads other tables? restore into a database that does not exist yet: \
                 there such tables are loaded last",
            ),
            _ => Self::new(Kind::Failed, message),
        }
    }
}

impl From<FilesError> for CliError {
    fn from(error: FilesError) -> Self {
        let kind = match error.kind() {
            Some(ErrorKind::NotFound) => Kind::NotFound,
            _ => Kind::Failed,
        };
        // The kernel's words are the cause, which does not stand in the message itself.
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let shown = Self::new(kind, format!("{error}{cause}"));
        match error.kind() {
            _ if error.is_lost() => {
                shown.hint("nothing was made of it; run this again when the server is back: what is stored is not sent twice")
            }
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                shown.hint("make room, then go on with --delta: what is there already is not written again")
            }
            _ => shown,
        }
    }
}
