//! A connection made ready for client programs: it keeps the passfile and prepares their commands.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::address::Connection;
use super::error::ConnectionError;
use super::passfile::PassFile;

/// A connection cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The password file cannot be written.
    #[error("cannot write the password file: {0}")]
    PassFile(#[from] io::Error),
    /// libpq's password file holds one line per password.
    #[error("the password contains a line break, which libpq's password files cannot hold")]
    LineBreak,
    /// The connection itself is wrong.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// A connection with its password where only libpq finds it. Clones share the file.
#[derive(Clone)]
pub struct Session {
    connection: Connection,
    passfile: Option<Arc<PassFile>>,
}

impl Session {
    /// Write the password file, if there is a password.
    pub fn open(connection: Connection) -> Result<Self, SessionError> {
        let Some(password) = connection.password() else { return Ok(Self { connection, passfile: None }) };
        if password.expose().contains(['\n', '\r']) {
            return Err(SessionError::LineBreak);
        }
        let passfile = Some(Arc::new(PassFile::write(password)?));
        // A password that was given outranks a file that was named.
        let connection = connection.with("passfile", "")?;
        Ok(Self { connection, passfile })
    }

    /// The same server and user, another database.
    pub fn with_database(&self, database: &str) -> Result<Self, SessionError> {
        let connection = self.connection.with_database(database)?;
        Ok(Self { connection, passfile: self.passfile.clone() })
    }

    /// Where this leads.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// `program`, prepared to connect here without asking for anything: the caller adds what it shall do. The
    /// session must live until the program has connected.
    pub fn command(&self, program: &Path) -> Command {
        self.prepared(Command::new(program))
    }

    /// The same for a program that is called through another one.
    pub(crate) fn prepared(&self, mut command: Command) -> Command {
        command
            .arg("--no-password")
            .arg(format!("--dbname={}", self.connection.conninfo()))
            .env_remove("PGPASSWORD")
            .env("PGAPPNAME", "mainstay")
            .env("LC_ALL", "C")
            .env("LANGUAGE", "C");
        if let Some(passfile) = &self.passfile {
            command.env("PGPASSFILE", passfile.path());
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use model::secret::Secret;

    use super::*;

    #[test]
    fn c13_the_password_is_neither_argument_nor_environment() {
        let connection = Connection::parse("postgresql://u:canary@h/d?passfile=/theirs").unwrap();
        let session = Session::open(connection).unwrap();
        let command = session.with_database("other").unwrap().command(Path::new("pg_dump"));
        assert!(!format!("{command:?}").contains("canary"), "{command:?}");
        let environment: Vec<_> = command.get_envs().collect();
        assert!(environment.contains(&("PGPASSWORD".as_ref(), None)));
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--no-password", "--dbname=user='u' host='h' dbname='other'"]);
    }

    #[test]
    fn a_password_that_a_file_cannot_hold_is_refused() {
        let connection = Connection::default().with_password(Some(Secret::new("a\nb")));
        assert!(matches!(Session::open(connection), Err(SessionError::LineBreak)));
    }
}
