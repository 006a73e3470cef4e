//! From an open file to the ids of its pieces.
//!
//! A file of up to [`WHOLE_MAX`] is read in one go, and saved whole by the reading thread itself. A larger one is
//! streamed, so that all cores work on it; its holes are not read at all.

use files::error::Error as FilesError;
use files::origin::{Contents, Origin};
use files::read::Extent;
use files::relative::RelativePath;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::Entry;
use model::progress::Progress;
use repo::BlobKind;
use repo::chunk::Cutter;
use repo::saver::{Hand, Saver};
use repo::stream::StreamSaver;

use super::promise::{Outcome, ReadFile};
use crate::error::{EngineError, Result};

/// Bytes of a file that is one blob: cutting it costs more compression than it finds again in a changed file.
const WHOLE_MAX: u64 = 1 << 20;
/// Bytes of a large file that are read at once.
const READ_LEN: usize = 256 << 10;
/// A file on another server that was another one each time the connection was made again.
const BEGINNINGS_MAX: u32 = 5;

/// Reads files, one after the other.
pub(super) struct ContentReader<'a> {
    saver: &'a Saver,
    hand: Hand,
    cutter: &'a Cutter,
    origin: &'a dyn Origin,
    progress: Progress,
    cancel: CancelToken,
    buffer: Vec<u8>,
}

impl<'a> ContentReader<'a> {
    /// A reader for one thread.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub(super) fn new(
        saver: &'a Saver,
        cutter: &'a Cutter,
        origin: &'a dyn Origin,
        (progress, cancel): (Progress, CancelToken),
    ) -> Result<Self> {
        let hand = saver.hand()?;
        let buffer = vec![0; READ_LEN.max(WHOLE_MAX as usize)];
        Ok(Self { saver, hand, cutter, origin, progress, cancel, buffer })
    }

    /// Read and save the file that the walk met as `walked`.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled, or the server is gone. That the file cannot be read is an outcome.
    pub(super) fn read(&mut self, path: &RelativePath, walked: &Entry) -> Result<Outcome> {
        let mut beginnings = 1;
        loop {
            return match self.save(path, walked) {
                Ok(read) => Ok(Outcome::Read(Box::new(read))),
                Err(EngineError::Files(FilesError::BeginAgain { .. })) if beginnings < BEGINNINGS_MAX => {
                    beginnings += 1;
                    continue;
                }
                Err(EngineError::Files(error)) if !error.is_lost() => Ok(Outcome::Unreadable(words(&error))),
                Err(error) => Err(error),
            };
        }
    }

    fn save(&mut self, path: &RelativePath, walked: &Entry) -> Result<ReadFile> {
        let mut file = self.origin.open(path, walked)?;
        let (content, size) = match file.entry().metadata.size <= WHOLE_MAX {
            true => self.save_small(&mut *file)?,
            false => self.save_large(&mut *file)?,
        };
        let mut entry = file.entry().clone();
        entry.metadata.size = size;
        Ok(ReadFile { entry, content, steadiness: file.finish()? })
    }

    fn save_small(&mut self, file: &mut dyn Contents) -> Result<(Vec<Digest>, u64)> {
        let count = match file.entry().metadata.size as usize {
            0 => return Ok((vec![], 0)),
            size => file.read_at(0, &mut self.buffer[..size])?,
        };
        self.progress.advance(count as u64);
        let content = match &self.buffer[..count] {
            [] => vec![],
            bytes => vec![self.hand.save(BlobKind::Data, bytes)?.id],
        };
        Ok((content, count as u64))
    }

    fn save_large(&mut self, file: &mut dyn Contents) -> Result<(Vec<Digest>, u64)> {
        let mut stream = StreamSaver::new(self.saver, self.cutter);
        let mut size = 0;
        'file: while let Some(extent) = file.next_extent()? {
            match extent {
                Extent::Hole { len, .. } => {
                    stream.push_zeros(len)?;
                    self.progress.advance(len);
                    size += len;
                }
                Extent::Data { offset, len } => {
                    let end = offset + len;
                    while size < end {
                        self.cancel.check()?;
                        let wanted = (end - size).min(READ_LEN as u64) as usize;
                        let count = file.read_at(size, &mut self.buffer[..wanted])?;
                        stream.push(&self.buffer[..count])?;
                        self.progress.advance(count as u64);
                        size += count as u64;
                        if count < wanted {
                            break 'file; // it became shorter, which `finish` tells
                        }
                    }
                }
            }
        }
        Ok((stream.finish_now()?, size))
    }
}

/// The error with its cause, which is a chain of its own.
pub(super) fn words(error: &FilesError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
