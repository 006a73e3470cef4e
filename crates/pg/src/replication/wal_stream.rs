//! WAL as it is written, piece by piece, timeline after timeline.
//!
//! Form: within the stream the server sends `w` (start, end of its log, its clock, bytes) and `k` (end, clock, whether
//! it wants an answer now); we send `r` (written, flushed and applied up to, our clock, whether we want an answer). Clocks
//! are microseconds since 2000. Invariant: pieces follow each other without a gap, or the stream is an error.

use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, Bytes};
use model::lsn::{Lsn, Timeline};

use super::commands::{SlotName, read, timeline};
use crate::wire::{Answer, Body, Conversation, Piece, WireError};

/// From 1970 to 2000.
const EPOCH: Duration = Duration::from_secs(946_684_800);
/// Kind, start, end, clock.
const WAL_HEAD_LEN: usize = 25;

/// What comes on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of the log.
    Wal {
        /// Where they begin.
        start: Lsn,
        /// They themselves.
        bytes: Bytes,
        /// What the server has, and will send.
        server_end: Lsn,
    },
    /// The server lives.
    Alive {
        /// Whether it wants to hear from us now.
        wants_answer: bool,
    },
    /// Nothing came in time.
    Quiet,
    /// This timeline goes no further; [`WalStream::end`] tells where the next one begins.
    End,
}

/// How far we have the log. A synchronous commit waits for the second or, with `remote_apply`, the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Written.
    pub written: Lsn,
    /// On disk.
    pub flushed: Lsn,
    /// Of use to somebody who restores.
    pub applied: Lsn,
}

/// A running stream.
pub struct WalStream {
    server: Conversation,
    /// Where the next piece has to begin.
    position: Lsn,
}

impl WalStream {
    /// Ask for the log of `timeline` from `start` on. Nothing comes, and the server says where the timeline ended, if it
    /// ended just there.
    ///
    /// # Errors
    /// The server has no such WAL any more (SQLSTATE 58P01), the slot is missing or in use, or the conversation ends.
    pub fn start(
        mut server: Conversation,
        slot: Option<&SlotName>,
        timeline: Timeline,
        start: Lsn,
    ) -> Result<Started, WireError> {
        let slot = slot.map(|name| format!("SLOT {name} ")).unwrap_or_default();
        server.send_query(&format!("START_REPLICATION {slot}PHYSICAL {start} TIMELINE {timeline}"))?;
        match server.answer()? {
            Answer::CopyBoth => Ok(Started::Streams(Self { server, position: start })),
            Answer::Rows(rows) => {
                let next = next_timeline(&rows.only("START_REPLICATION", 2)?)?;
                server.ready()?;
                Ok(Started::Ended { server, next })
            }
            // A timeline that ends there, and is the last that this server knows.
            Answer::Ready => Err(WireError::nonsense("no stream and no next timeline")),
            other => Err(WireError::nonsense(format!("{other:?} in place of a stream"))),
        }
    }

    /// Where the next piece begins.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// What comes next, waiting for it until `until`.
    ///
    /// # Errors
    /// A gap, or the conversation ends.
    pub fn next(&mut self, until: Instant) -> Result<Event, WireError> {
        let mut bytes = match self.server.piece_before(until)? {
            None => return Ok(Event::Quiet),
            Some(Piece::End) => return Ok(Event::End),
            Some(Piece::Bytes(bytes)) => bytes,
        };
        let mut body = Body::new(&bytes);
        match body.u8()? {
            b'w' => {
                let (start, server_end) = (Lsn(body.u64()?), Lsn(body.u64()?));
                body.take(8)?;
                bytes.advance(WAL_HEAD_LEN);
                self.follow(start, bytes, server_end)
            }
            b'k' => {
                body.take(16)?;
                Ok(Event::Alive { wants_answer: body.u8()? != 0 })
            }
            other => Err(WireError::nonsense(format!("a piece of kind {other} in the stream of WAL"))),
        }
    }

    fn follow(&mut self, start: Lsn, bytes: Bytes, server_end: Lsn) -> Result<Event, WireError> {
        let end = start.0.checked_add(bytes.len() as u64).map(Lsn);
        match end {
            Some(end) if start == self.position => {
                self.position = end;
                Ok(Event::Wal { start, bytes, server_end })
            }
            _ => {
                let what = format!("WAL at {start} where {} follows", self.position);
                Err(WireError::nonsense(what))
            }
        }
    }

    /// Tell the server how far we are; it answers at once where we want to know whether it lives.
    ///
    /// # Errors
    /// The conversation ends.
    pub fn report(&mut self, progress: Flushed, wants_answer: bool) -> Result<(), WireError> {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + EPOCH).unwrap_or_default();
        let clock = u64::try_from(clock.as_micros()).unwrap_or_default();
        let mut message = vec![b'r'];
        for number in [progress.written.0, progress.flushed.0, progress.applied.0, clock] {
            message.extend(number.to_be_bytes());
        }
        message.push(wants_answer.into());
        self.server.send_piece(&message)
    }

    /// After [`Event::End`]: end our side too. Gives back the conversation and where the next timeline begins; without
    /// one the server is shutting down.
    ///
    /// # Errors
    /// The conversation ends.
    pub fn end(mut self) -> Result<(Conversation, Option<(Timeline, Lsn)>), WireError> {
        self.server.send_end()?;
        let next = match self.server.answer()? {
            Answer::Rows(rows) => {
                let next = next_timeline(&rows.only("the end of a timeline", 2)?)?;
                self.server.ready()?;
                Some(next)
            }
            Answer::Ready => None,
            other => return Err(WireError::nonsense(format!("{other:?} after the end of a timeline"))),
        };
        Ok((self.server, next))
    }

    /// Leave the stream, and the server.
    pub fn close(mut self) {
        // Whoever does not hear it notices all the same.
        self.server.send_end().ok();
        self.server.close();
    }
}

/// What a start gives.
pub enum Started {
    /// The stream.
    Streams(WalStream),
    /// The timeline ended there already.
    Ended {
        /// The conversation, ready for more.
        server: Conversation,
        /// The next timeline and where it begins.
        next: (Timeline, Lsn),
    },
}

fn next_timeline(row: &[crate::wire::Value]) -> Result<(Timeline, Lsn), WireError> {
    Ok((timeline(row, 0)?, read(row, 1)?))
}
