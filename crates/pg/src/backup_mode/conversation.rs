//! A session that stays open while something else happens: one question after the other, each answered by a line of JSON.

use std::io::{PipeWriter, Read, Write};
use std::process::ChildStdout;

use model::cancel::CancelToken;
use serde::de::DeserializeOwned;

use crate::program::{Running, wait_ready};
use crate::psql::QueryError;
use crate::server::Server;

/// Bytes of one answer at most: a tablespace map of thousands of lines fits.
const ANSWER_LEN_MAX: usize = 16 << 20;

/// A psql that is asked one thing after the other.
pub(super) struct Conversation {
    running: Option<Running>,
    stdin: PipeWriter,
    stdout: ChildStdout,
    /// What came behind the last answer.
    rest: Vec<u8>,
}

impl Conversation {
    pub(super) fn begin(server: &Server) -> Result<Self, QueryError> {
        let (mut running, stdin) = server.psql_anywhere()?.start([])?;
        let stdout = running.take_stdout().ok_or_else(|| QueryError::Answer {
            question: "a session",
            reason: "psql has no output".to_owned(),
        })?;
        Ok(Self { running: Some(running), stdin, stdout, rest: vec![] })
    }

    pub(super) fn say(&mut self, sql: &str) -> Result<(), QueryError> {
        let written = self.stdin.write_all(sql.as_bytes()).and_then(|()| self.stdin.flush());
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(self.last_words(error)),
        }
    }

    /// The next line, which is JSON.
    pub(super) fn answer<T: DeserializeOwned>(
        &mut self,
        question: &'static str,
        cancel: &CancelToken,
    ) -> Result<T, QueryError> {
        let line = loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest) {
                let rest = self.rest.split_off(end + 1);
                break std::mem::replace(&mut self.rest, rest);
            }
            if self.rest.len() > ANSWER_LEN_MAX {
                return Err(QueryError::Answer { question, reason: "it does not end".to_owned() });
            }
            let ready = wait_ready(&self.stdout, rustix::event::PollFlags::IN, cancel);
            cancel.check().map_err(crate::ProgramError::from)?;
            let mut buffer = [0; 8192];
            match ready.and_then(|()| self.stdout.read(&mut buffer)) {
                Ok(0) => return Err(self.last_words(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(self.last_words(error)),
            }
        };
        serde_json::from_slice(&line)
            .map_err(|error| QueryError::Answer { question, reason: error.to_string() })
    }

    /// psql ended: its own words say why.
    fn last_words(&mut self, error: std::io::Error) -> QueryError {
        let Some(running) = self.running.take() else {
            return QueryError::Answer { question: "a session", reason: "psql has ended".to_owned() };
        };
        let broken = running.pipe_error(error);
        match running.finish(&CancelToken::new()) {
            Err(words) => words.into(),
            Ok(_) => broken.into(),
        }
    }
}
