//! What a secret is asked for with, and why it could not be had.

use std::path::PathBuf;

use model::reference::SecretReference;
use model::secret::Secret;

use crate::keeper_error::KeeperError;
use crate::sops_error::SopsError;

/// Looks into the environment; `None` for what is not set, or empty.
pub type Variable<'a> = dyn Fn(&str) -> Option<Secret> + 'a;
/// Bytes of a file with a secret at most; one that is longer is another one.
pub(crate) const LEN_MAX: u64 = 64 << 10;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set, or empty.
    #[error("variable {0} is not set")]
    Unset(String),
    /// A file that cannot be read.
    #[error("secret file {path}: {cause}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Others can read the file.
    #[error("secret file {path} can be read by others (mode {mode:03o})")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Nothing stands there.
    #[error("{0} is empty")]
    Empty(SecretReference),
    /// A command that could not be run, or said that it failed. Its words are its own; its output is not shown.
    #[error("secret command failed: {0}")]
    Command(String),
    /// A file of SOPS that gives no secret.
    #[error("secret file {path} {cause}")]
    Sops {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: SopsError,
    },
    /// A file of pgBackRest that does not give this value.
    #[error("secret file {path}: {key} {what}")]
    PgBackRest {
        /// Which.
        path: PathBuf,
        /// The name of the value.
        key: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Longer than a secret is.
    #[error("secret file {0} is longer than {max} KiB", max = LEN_MAX >> 10)]
    TooLong(PathBuf),
    /// A keeper that was asked over the network.
    #[error("{place}: {cause}")]
    Keeper {
        /// What was asked for.
        place: SecretReference,
        /// Why there is none.
        cause: Box<KeeperError>,
    },
}
