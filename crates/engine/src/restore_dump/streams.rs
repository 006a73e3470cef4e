//! What pg_restore is fed: the stored archive, or one made of a head and some of its blocks.

use std::io::Read;

use model::progress::Progress;
use pg::archive::DataBlock;

use crate::stored_file::{RangeReader, StoredFile};

/// An archive made of a head and some blocks of the stored one, as a stream.
pub(super) struct PartialArchive<'a> {
    head: std::io::Cursor<Vec<u8>>,
    blocks: std::slice::Iter<'a, DataBlock>,
    block: Option<RangeReader>,
    file: &'a StoredFile,
    progress: &'a Progress,
}

impl<'a> PartialArchive<'a> {
    pub(super) fn new(
        head: Vec<u8>,
        blocks: &'a [DataBlock],
        file: &'a StoredFile,
        progress: &'a Progress,
    ) -> Self {
        Self { head: std::io::Cursor::new(head), blocks: blocks.iter(), block: None, file, progress }
    }
}

impl Read for PartialArchive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.head.read(buffer)?;
        if count > 0 {
            return Ok(count);
        }
        loop {
            if let Some(block) = &mut self.block {
                let count = block.read(buffer)?;
                if count > 0 {
                    self.progress.advance(count as u64);
                    return Ok(count);
                }
            }
            let Some(next) = self.blocks.next() else { return Ok(0) };
            self.block = Some(self.file.range(next.offset, next.length).map_err(std::io::Error::other)?);
        }
    }
}

/// A stream whose bytes are counted.
pub(super) struct Counted<'a, R> {
    pub(super) inside: R,
    pub(super) progress: &'a Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inside.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
