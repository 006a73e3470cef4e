//! The same of WAL.

use engine::wal_error::WalError;

use super::{CliError, Kind};

impl From<WalError> for CliError {
    fn from(error: WalError) -> Self {
        let message = error.to_string();
        match error {
            WalError::Name(_) => Self::usage(message)
                .hint("archive_command = 'mainstay wal push %p' and restore_command = 'mainstay wal fetch %f \"%p\"'"),
            WalError::Differs { .. } => Self::new(Kind::Refused, message).hint(
                "two servers wrote different WAL under one name: is this a copy of the one that archives here, or was it \
                 started from an old backup? a copy needs archive_mode=off, or a repository of its own",
            ),
            WalError::Owned { .. } | WalError::Forked { .. } => Self::new(Kind::Refused, message).hint(
                "a restored copy must not archive here: set archive_mode=off, or name another repository. Where the other \
                 one will never go on, run this once with --take-over (docs: how-to/archive-wal)",
            ),
            WalError::OwnersDiffer { .. } => Self::new(Kind::Refused, message).hint(
                "which of them is the cluster? say so with `mainstay wal push --take-over` in one of the repositories, or \
                 copy into another one",
            ),
            WalError::Gap(_) => Self::new(Kind::Failed, message).hint(
                "no recovery leads across it: make a base backup, and go on behind the gap with --accept-gap",
            ),
            WalError::TokenInside { .. } => {
                Self::usage(message).hint("name a file elsewhere with --owner-file or MAINSTAY_OWNER_FILE")
            }
            WalError::Unhealthy { .. } => {
                Self::new(Kind::Failed, message).hint("is the repository's disk mounted, and the address right?")
            }
            WalError::Segment { .. } | WalError::History { .. } | WalError::Backup(_) => {
                Self::new(Kind::Failed, message).hint("it was not archived: is it whole, and of this cluster?")
            }
        }
    }
}
