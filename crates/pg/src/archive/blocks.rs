//! The data blocks behind the table of contents, seen as they pass.
//!
//! Form: a kind byte (1 rows, 3 large objects) and the dump id; then chunks, each an integer length and that many
//! bytes, ended by length 0. Large objects are a sequence of oid and chunks, ended by oid 0. pg_dump makes one chunk
//! per row, so the loop over whole chunks is the one that must be fast: no copy, no allocation.
//!
//! Rows: COPY's text form writes one newline per row and escapes all others, and pg_dump ends with `\.` and three
//! newlines, so rows = newlines − 3.

use super::cursor::INT_LEN;
use super::error::ArchiveError;

/// What pg_dump writes behind the last row.
const END_OF_COPY: [u8; 5] = *b"\\.\n\n\n";

/// A block that has passed.
pub(super) struct Block {
    pub(super) dump_id: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Newlines without those of the end mark.
    pub(super) rows: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Kind,
    Id,
    Oid,
    Length,
    Payload(usize),
}

/// The state between two slices of the stream.
pub(super) struct Blocks {
    state: State,
    is_blobs: bool,
    /// Bytes of an integer whose rest has not come yet.
    partial: [u8; INT_LEN],
    partial_len: usize,
    dump_id: u32,
    block_offset: u64,
    newlines: u64,
    tail: [u8; END_OF_COPY.len()],
    /// Bytes of the stream before the next one.
    offset: u64,
}

impl Blocks {
    pub(super) fn new(offset: u64) -> Self {
        Self {
            state: State::Kind,
            is_blobs: false,
            partial: [0; INT_LEN],
            partial_len: 0,
            dump_id: 0,
            block_offset: offset,
            newlines: 0,
            tail: [0; END_OF_COPY.len()],
            offset,
        }
    }

    /// Bytes of the stream so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the stream may end here.
    pub(super) fn is_between_blocks(&self) -> bool {
        self.state == State::Kind
    }

    /// Take a slice of the stream; `done` is told each block that ends in it.
    pub(super) fn push(
        &mut self,
        mut rest: &[u8],
        done: &mut dyn FnMut(Block) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        while !rest.is_empty() {
            rest = match self.state {
                State::Kind => self.kind(rest)?,
                State::Length if self.partial_len == 0 => {
                    let after = self.whole_chunks(rest);
                    if after.len() < rest.len() { after } else { self.integer(rest, done)? }
                }
                State::Payload(left) => self.payload(rest, left),
                State::Id | State::Oid | State::Length => self.integer(rest, done)?,
            };
        }
        Ok(())
    }

    /// The loop that matters: chunks that lie in `rest` from their length to their last byte.
    fn whole_chunks<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        let before = rest.len();
        let mut newlines = 0;
        while let Some((head, body)) = rest.split_first_chunk::<INT_LEN>() {
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if length == 0 || head[0] != 0 || length > i32::MAX as usize || length > body.len() {
                break;
            }
            let (chunk, after) = body.split_at(length);
            newlines += memchr::memchr_iter(b'\n', chunk).count() as u64;
            match chunk.last_chunk::<{ END_OF_COPY.len() }>() {
                Some(tail) => self.tail = *tail,
                None => self.extend_tail(chunk),
            }
            rest = after;
        }
        self.newlines += newlines;
        self.offset += (before - rest.len()) as u64;
        rest
    }

    fn payload<'a>(&mut self, rest: &'a [u8], left: usize) -> &'a [u8] {
        let (chunk, after) = rest.split_at(left.min(rest.len()));
        self.newlines += memchr::memchr_iter(b'\n', chunk).count() as u64;
        self.extend_tail(chunk);
        self.offset += chunk.len() as u64;
        self.state = if chunk.len() == left { State::Length } else { State::Payload(left - chunk.len()) };
        after
    }

    fn extend_tail(&mut self, chunk: &[u8]) {
        for byte in &chunk[chunk.len().saturating_sub(END_OF_COPY.len())..] {
            self.tail.rotate_left(1);
            self.tail[END_OF_COPY.len() - 1] = *byte;
        }
    }

    fn kind<'a>(&mut self, rest: &'a [u8]) -> Result<&'a [u8], ArchiveError> {
        self.is_blobs = match rest[0] {
            1 => false,
            3 => true,
            _ => return Err(self.malformed("the kind of a data block is unknown")),
        };
        self.block_offset = self.offset;
        self.newlines = 0;
        self.tail = [0; END_OF_COPY.len()];
        self.offset += 1;
        self.state = State::Id;
        Ok(&rest[1..])
    }

    /// Gather one integer, which may come in pieces, and act on it.
    fn integer<'a>(
        &mut self,
        rest: &'a [u8],
        done: &mut dyn FnMut(Block) -> Result<(), ArchiveError>,
    ) -> Result<&'a [u8], ArchiveError> {
        let taken = rest.len().min(INT_LEN - self.partial_len);
        let (now, after) = rest.split_at(taken);
        self.partial[self.partial_len..self.partial_len + taken].copy_from_slice(now);
        self.partial_len += taken;
        self.offset += taken as u64;
        if self.partial_len < INT_LEN {
            return Ok(after);
        }
        self.partial_len = 0;
        let [sign, a, b, c, d] = self.partial;
        let magnitude = u32::from_le_bytes([a, b, c, d]);
        match self.state {
            State::Id if sign != 0 || magnitude == 0 || magnitude > i32::MAX as u32 => {
                return Err(self.malformed("the dump id of a data block is not positive"));
            }
            State::Id => {
                self.dump_id = magnitude;
                self.state = if self.is_blobs { State::Oid } else { State::Length };
            }
            State::Oid if magnitude == 0 => self.end(done)?,
            State::Oid => self.state = State::Length,
            State::Length if magnitude == 0 && self.is_blobs => self.state = State::Oid,
            State::Length if magnitude == 0 => self.end(done)?,
            State::Length if sign != 0 || magnitude > i32::MAX as u32 => {
                return Err(self.malformed("the length of a chunk is absurd"));
            }
            State::Length => self.state = State::Payload(magnitude as usize),
            State::Kind | State::Payload(_) => {}
        }
        Ok(after)
    }

    fn end(&mut self, done: &mut dyn FnMut(Block) -> Result<(), ArchiveError>) -> Result<(), ArchiveError> {
        self.state = State::Kind;
        let end_mark = if self.tail == END_OF_COPY { 3 } else { 0 };
        done(Block {
            dump_id: self.dump_id,
            offset: self.block_offset,
            length: self.offset - self.block_offset,
            rows: self.newlines - end_mark,
        })
    }

    fn malformed(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Malformed { offset: self.offset, what }
    }
}
