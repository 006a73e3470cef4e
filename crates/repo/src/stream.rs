//! One long stream into the repository: the caller's thread finds the cuts, the pipeline's threads do the rest.

use std::sync::Arc;

use crate::blob::{BlobId, id_of};
use crate::chunk::Cutter;
use crate::error::Result;
use crate::saver::{Content, Saver};
use crate::sha256::StreamHash;

/// Takes the bytes of a stream as they come.
pub struct StreamSaver<'a> {
    saver: &'a Saver,
    cutter: &'a Cutter,
    content: Arc<Content>,
    /// Bytes that are not cut yet, between `start` and `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    whole: Option<&'a mut StreamHash>,
}

/// How many of the longest chunks the buffer holds before it is moved together; several streams may be open.
const BUFFER_CHUNKS: usize = 2;

impl<'a> StreamSaver<'a> {
    /// An empty stream.
    pub fn new(saver: &'a Saver, cutter: &'a Cutter) -> Self {
        let buffer = vec![0; cutter.max() * BUFFER_CHUNKS];
        Self { saver, cutter, content: Content::new(), buffer, start: 0, end: 0, whole: None }
    }

    /// Hash the whole stream too, which costs half as much beside its chunks as alone; `whole` has seen it all when
    /// this is finished.
    pub fn hashing(self, whole: &'a mut StreamHash) -> Self {
        Self { whole: Some(whole), ..self }
    }

    /// More bytes of the stream.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// Where the next bytes may be read into without a copy, never empty; whoever did so tells it with
    /// [`StreamSaver::filled`].
    pub fn room(&mut self) -> &mut [u8] {
        if self.end == self.buffer.len() {
            // Less than the longest chunk is left, so at least as much becomes free.
            self.buffer.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// The first `count` bytes of [`StreamSaver::room`] are the next ones of the stream.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn filled(&mut self, count: usize) -> Result<()> {
        self.end += count;
        while self.end - self.start >= self.cutter.max() {
            self.submit_chunk()?;
        }
        Ok(())
    }

    /// `len` zeros, none of which had to be read: one chunk is saved, and named as often as it fits.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn push_zeros(&mut self, len: u64) -> Result<()> {
        self.flush()?;
        let longest = self.cutter.max();
        if len >= longest as u64 {
            let zeros = vec![0; longest];
            let id = id_of(&zeros);
            for _ in 1..len / longest as u64 {
                if let Some(whole) = &mut self.whole {
                    whole.push(&zeros);
                }
                self.content.push(id);
            }
            self.submit(zeros)?;
        }
        match (len % longest as u64) as usize {
            0 => Ok(()),
            rest => self.submit(vec![0; rest]),
        }
    }

    fn submit_chunk(&mut self) -> Result<()> {
        let rest = &self.buffer[self.start..self.end];
        let len = self.cutter.cut(rest);
        let mut chunk = self.saver.buffer();
        chunk.extend_from_slice(&rest[..len]);
        self.start += len;
        self.submit(chunk)
    }

    fn submit(&mut self, chunk: Vec<u8>) -> Result<()> {
        let name = self.whole.as_mut().map(|whole| whole.push(&chunk));
        self.saver.submit(chunk, name, &self.content)
    }

    /// Save what is left; the ids of all pieces follow from [`Content::wait`].
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn finish(mut self) -> Result<Arc<Content>> {
        self.flush()?;
        Ok(self.content)
    }

    /// Cut and submit all that is left.
    fn flush(&mut self) -> Result<()> {
        while self.start < self.end {
            self.submit_chunk()?;
        }
        (self.start, self.end) = (0, 0);
        Ok(())
    }

    /// [`StreamSaver::finish`], and wait for the ids.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn finish_now(self) -> Result<Vec<BlobId>> {
        self.finish()?.wait()
    }
}
