//! Sees an archive as it passes, in slices of any size, and says in the end what it was.
//!
//! Invariant: memory is bounded by the table of contents; rows are looked at where they lie and never kept.
//! `finish` succeeds only if every entry that promises data had its block, complete.

use std::collections::HashMap;

use super::blocks::{Block, Blocks};
use super::error::ArchiveError;
use super::header::Compression;
use super::summary::{ArchiveEntry, ArchiveSummary};
use super::toc::{Toc, TocReading};

/// An archive that is passing.
#[derive(Default)]
pub struct ArchiveReader {
    stage: Stage,
    hasher: blake3::Hasher,
}

enum Stage {
    Head(TocReading),
    Body(Box<Body>),
    /// An error was given; whatever comes is refused again.
    Broken(ArchiveError),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Head(TocReading::default())
    }
}

struct Body {
    toc: Toc,
    blocks: Blocks,
    index: HashMap<u32, usize>,
    entries: Vec<ArchiveEntry>,
}

impl ArchiveReader {
    /// A reader that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Take the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let pushed = self.try_push(bytes);
        if let Err(error) = &pushed {
            self.stage = Stage::Broken(error.clone());
        }
        pushed
    }

    /// The table of contents, once it has passed.
    pub fn toc(&self) -> Option<&Toc> {
        match &self.stage {
            Stage::Body(body) => Some(&body.toc),
            Stage::Head(_) | Stage::Broken(_) => None,
        }
    }

    /// The stream ended here: what was it?
    pub fn finish(self) -> Result<ArchiveSummary, ArchiveError> {
        match self.stage {
            Stage::Head(reading) => Err(reading.truncated()),
            Stage::Broken(error) => Err(error),
            Stage::Body(body) => body.finish(self.hasher.finalize()),
        }
    }

    fn try_push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        match &mut self.stage {
            Stage::Broken(error) => Err(error.clone()),
            Stage::Body(body) => {
                self.hasher.update(bytes);
                body.push(bytes)
            }
            Stage::Head(reading) => {
                let Some((toc, used)) = reading.push(bytes)? else { return Ok(()) };
                self.hasher.update(&toc.bytes[..toc.header.created.start]);
                self.hasher.update(&toc.bytes[toc.header.created.end..]);
                self.stage = Stage::Body(Box::new(Body::new(toc)?));
                self.try_push(&bytes[used..])
            }
        }
    }
}

impl Body {
    fn new(toc: Toc) -> Result<Self, ArchiveError> {
        let mut index = HashMap::new();
        for (position, entry) in toc.entries.iter().enumerate() {
            if index.insert(entry.dump_id, position).is_some() {
                let (offset, what) = (entry.bytes.start as u64, "two entries have the same dump id");
                return Err(ArchiveError::Malformed { offset, what });
            }
        }
        let entries = toc.entries.iter().map(ArchiveEntry::without_block).collect();
        Ok(Self { blocks: Blocks::new(toc.bytes.len() as u64), index, entries, toc })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let Self { toc, blocks, index, entries } = self;
        let is_plain = toc.header.compression == Compression::None;
        blocks.push(bytes, &mut |block: Block| {
            let stray = ArchiveError::StrayBlock { offset: block.offset, dump_id: i64::from(block.dump_id) };
            let Some(position) = index.get(&block.dump_id) else { return Err(stray) };
            let entry = &mut entries[*position];
            if !entry.has_data || entry.length != 0 {
                return Err(stray);
            }
            entry.offset = block.offset;
            entry.length = block.length;
            entry.rows = (is_plain && toc.entries[*position].is_copy).then_some(block.rows);
            Ok(())
        })
    }

    fn finish(self, hash: blake3::Hash) -> Result<ArchiveSummary, ArchiveError> {
        if !self.blocks.is_between_blocks() {
            return Err(ArchiveError::Truncated { offset: self.blocks.offset(), part: "a data block" });
        }
        let mut missing = self.entries.iter().filter(|entry| entry.has_data && entry.length == 0);
        if let Some(first) = missing.next() {
            let name = format!("{} {}.{}", first.desc, first.namespace, first.tag);
            return Err(ArchiveError::MissingData { count: 1 + missing.count(), first: name });
        }
        let header = self.toc.header;
        Ok(ArchiveSummary {
            archive_version: format!("{}.{}", header.version.0, header.version.1),
            server_version: header.server_version,
            dump_version: header.dump_version,
            database: header.database,
            compression: header.compression,
            toc_length: self.toc.bytes.len() as u64,
            length: self.blocks.offset(),
            content_hash: hash.to_hex().to_string(),
            entries: self.entries,
        })
    }
}
