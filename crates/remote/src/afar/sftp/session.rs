//! One channel of one connection, with questions sent many at once and answers taken as they come.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::message::{ANSWER_LEN_MAX, Answer, Request, init, parse, verify_version};
use crate::sftp::{Channel, Dial};

/// For one answer: a slow disk; a dead connection is noticed by its missing signs of life long before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Answers that may wait for their turn: more than questions are ever under way.
const EARLY_MAX: usize = 512;

/// A conversation.
pub(super) struct Session {
    channel: Channel,
    next_id: u32,
    /// Answers that came before the one that is waited for.
    early: HashMap<u32, Answer>,
    /// Numbers of answers that nobody waits for.
    unwanted: HashSet<u32>,
    to_send: Vec<u8>,
    message: Vec<u8>,
}

impl Session {
    pub(super) async fn open(dial: &Dial) -> io::Result<Self> {
        let mut channel = Channel::open(dial).await?;
        channel.stream.write_all(&init()).await.map_err(broken)?;
        channel.stream.flush().await.map_err(broken)?;
        let (early, unwanted) = (HashMap::new(), HashSet::new());
        let mut session = Self { channel, next_id: 0, early, unwanted, to_send: vec![], message: vec![] };
        session.receive().await?;
        verify_version(&session.message)?;
        Ok(session)
    }

    /// Put a question into the next envelope; the answer has this number.
    pub(super) fn ask(&mut self, request: Request<'_>) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        request.write(id, &mut self.to_send);
        id
    }

    /// The same where the answer does not matter.
    pub(super) fn tell(&mut self, request: Request<'_>) {
        let id = self.ask(request);
        self.unwanted.insert(id);
    }

    /// Send what was asked.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        if self.to_send.is_empty() {
            return Ok(());
        }
        let sent = async {
            self.channel.stream.write_all(&self.to_send).await?;
            self.channel.stream.flush().await
        };
        timeout(ANSWER_TIMEOUT, sent)
            .await
            .map_err(|_| io::Error::from(ErrorKind::TimedOut))?
            .map_err(broken)?;
        self.to_send.clear();
        Ok(())
    }

    /// The answer of this number.
    pub(super) async fn answer(&mut self, id: u32) -> io::Result<Answer> {
        self.send().await?;
        loop {
            if let Some(answer) = self.early.remove(&id) {
                return Ok(answer);
            }
            if self.early.len() > EARLY_MAX {
                return Err(io::Error::new(
                    ErrorKind::ConnectionAborted,
                    "the server answers what was not asked",
                ));
            }
            self.receive().await?;
            let (number, answer) = parse(&self.message)?;
            if !self.unwanted.remove(&number) {
                self.early.insert(number, answer);
            }
        }
    }

    /// The answer to one question.
    pub(super) async fn call(&mut self, request: Request<'_>) -> io::Result<Answer> {
        let id = self.ask(request);
        self.answer(id).await
    }

    async fn receive(&mut self) -> io::Result<()> {
        let received = async {
            let len = self.channel.stream.read_u32().await? as usize;
            if len > ANSWER_LEN_MAX {
                return Err(io::Error::new(ErrorKind::ConnectionAborted, "the server's answer is too long"));
            }
            self.message.resize(len, 0);
            self.channel.stream.read_exact(&mut self.message).await.map(drop)
        };
        timeout(ANSWER_TIMEOUT, received)
            .await
            .map_err(|_| io::Error::from(ErrorKind::TimedOut))?
            .map_err(broken)
    }
}

/// Whatever ends a channel, it is of no more use.
fn broken(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::ConnectionAborted => error,
        _ => io::Error::new(ErrorKind::ConnectionReset, "the connection has ended"),
    }
}
