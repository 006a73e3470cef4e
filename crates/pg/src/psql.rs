//! Our own fixed queries, asked through psql; answers are JSON text that the server builds.
//!
//! Parameters go in as psql variables (`:'name'`), so that quoting is psql's. Invariant: statements are written in
//! this crate, or made of quoted names by it; text from an archive never comes here.

use std::io::{self, PipeWriter, Read, Write};
use std::process::Stdio;

use model::cancel::CancelToken;
use serde::de::DeserializeOwned;

use crate::client::Client;
use crate::connection::{Session, SessionError};
use crate::program::{ProgramError, Running};

/// Bytes of one answer at most; the globals of 100,000 roles are about 40 MB.
const ANSWER_LEN_MAX: u64 = 256 << 20;

/// A question to a server went wrong.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// psql or the server refused; the words are theirs.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The connection cannot be made ready.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server answered something that was not asked for.
    #[error("the server's answer to the query for {question} makes no sense: {reason}")]
    Answer {
        /// What was asked.
        question: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
    /// psql would end the statement there.
    #[error("a name contains a NUL byte")]
    Nul,
    /// The database that was named is not on the server.
    #[error("database {0:?} does not exist")]
    NoSuchDatabase(String),
}

/// psql with a session.
#[derive(Clone)]
pub(crate) struct Psql {
    client: Client,
    session: Session,
}

impl Psql {
    pub(crate) fn new(client: &Client, session: &Session) -> Self {
        Self { client: client.clone(), session: session.clone() }
    }

    pub(crate) fn with_database(&self, database: &str) -> Result<Self, SessionError> {
        Ok(Self { client: self.client.clone(), session: self.session.with_database(database)? })
    }

    pub(crate) fn database(&self) -> Option<&str> {
        self.session.connection().database()
    }

    /// Run `sql` and read its answer as JSON.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        question: &'static str,
        sql: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, QueryError> {
        let answer = self.run(sql, parameters)?;
        serde_json::from_slice(&answer)
            .map_err(|error| QueryError::Answer { question, reason: error.to_string() })
    }

    /// Run `sql` and read its answer as JSON values, one after the other.
    pub(crate) fn ask_each<T: DeserializeOwned>(
        &self,
        question: &'static str,
        sql: &str,
    ) -> Result<Vec<T>, QueryError> {
        let answer = self.run(sql, &[])?;
        let values = serde_json::Deserializer::from_slice(&answer).into_iter().collect::<Result<_, _>>();
        values.map_err(|error| QueryError::Answer { question, reason: error.to_string() })
    }

    /// Start psql; it takes statements until the pipe is closed, by us or by our end.
    pub(crate) fn start(
        &self,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<(Running, PipeWriter), ProgramError> {
        let mut command = self.session.command(&self.client.program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).env("PGCLIENTENCODING", "UTF8");
        command.args(arguments);
        let (reader, writer) = io::pipe().map_err(|source| not_started(&self.client, source))?;
        Ok((Running::start("psql", command, Stdio::from(reader), Stdio::piped())?, writer))
    }

    /// Run `sql`; the answer as psql prints it.
    pub(crate) fn run(&self, sql: &str, parameters: &[(&str, &str)]) -> Result<Vec<u8>, QueryError> {
        if sql.contains('\0') || parameters.iter().any(|(_, value)| value.contains('\0')) {
            return Err(QueryError::Nul);
        }
        let arguments = parameters.iter().map(|(name, value)| format!("--variable={name}={value}"));
        let (mut running, mut writer) = self.start(arguments)?;
        // If psql ended early its own words say why.
        let written = writer.write_all(sql.as_bytes());
        drop(writer);
        let mut answer = Vec::new();
        if let Some(stdout) = running.take_stdout() {
            let read = stdout.take(ANSWER_LEN_MAX).read_to_end(&mut answer);
            read.map_err(|source| running.pipe_error(source))?;
        }
        let unwritten = written.map_err(|source| running.pipe_error(source));
        running.finish(&CancelToken::new())?;
        unwritten?;
        Ok(answer)
    }
}

fn not_started(client: &Client, source: io::Error) -> ProgramError {
    ProgramError::Start { program: client.program("psql"), source }
}
