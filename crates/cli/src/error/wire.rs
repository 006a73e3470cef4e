//! The same of servers that are spoken to without libpq.

use pg::wire::WireError;

use super::{CliError, Kind};

impl From<WireError> for CliError {
    fn from(error: WireError) -> Self {
        let message = error.to_string();
        let hint = match &error {
            WireError::Unsupported(_) | WireError::Parameter { .. } => return Self::usage(message),
            WireError::NoPassword => "give it with --db-password-file, PGPASSWORD or a password file",
            WireError::Server(error) if error.sqlstate.starts_with("28") => {
                "the user needs LOGIN and REPLICATION, and pg_hba.conf a line for the database `replication`"
            }
            WireError::Tls { .. } => {
                "PGSSLMODE and PGSSLROOTCERT say whether TLS is spoken and who is believed"
            }
            WireError::Server(error) if error.sqlstate == "XX001" => {
                "pages on the server are damaged; on its own machine, --via local takes them as they are, names each, and the \
                 backup is incomplete"
            }
            WireError::Server(error) if error.sqlstate == "42704" => "--create-slot makes the slot",
            _ => return Self::new(Kind::Failed, message),
        };
        Self::new(Kind::Failed, message).hint(hint)
    }
}
