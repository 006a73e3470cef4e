//! An archive of pg_dump on its way into the repository, understood while it passes.

use std::io::Read;
use std::sync::Arc;

use model::backup::BackupKind;
use model::digest::Digest;
use pg::archive::{ArchiveReader, ArchiveSummary};
use repo::saver::Content;
use repo::sha256::StreamHash;
use repo::stream::StreamSaver;

use crate::error::{EngineError, Result};
use crate::writing::{FileCounts, Order, Outcome};

/// What passed through.
pub(crate) struct Passed {
    pub(crate) content: Arc<Content>,
    pub(crate) sha256: Digest,
    pub(crate) length: u64,
    pub(crate) summary: ArchiveSummary,
}

/// Store all of `reader`; `what` says what it is doing when it fails.
pub(crate) fn pass_through(
    reader: &mut impl Read,
    what: &str,
    stream: StreamSaver<'_>,
    order: &Order,
) -> Result<Passed> {
    let mut archive = ArchiveReader::new();
    let mut hash = StreamHash::default();
    let mut stream = stream.hashing(&mut hash);
    let mut length = 0;
    loop {
        let room = stream.room();
        let count = reader.read(room).map_err(EngineError::io(what))?;
        order.cancel.check()?;
        if count == 0 {
            break;
        }
        archive.push(&room[..count])?;
        stream.filled(count)?;
        length += count as u64;
        order.progress.advance(count as u64);
    }
    let summary = archive.finish()?;
    let content = stream.finish()?;
    Ok(Passed { content, sha256: hash.finish(), length, summary })
}

impl Passed {
    /// What a backup of it is, of the database `database`, in chunks of nominally `chunk` bytes.
    pub(crate) fn outcome(&self, database: &str, chunk: usize, order: &Order) -> Outcome {
        Outcome {
            kind: BackupKind::Dump,
            database: database.to_owned(),
            size_bytes: self.length,
            sha256: Some(self.sha256),
            relation_count: self.summary.tables().count() as u64,
            positions: None,
            paths: vec![format!("/{}/{}", order.tenant, order.source)],
            excludes: vec![],
            parent: None,
            tags: vec![format!("chunk={chunk}")],
            incomplete: false,
            files: FileCounts { new: 1, ..FileCounts::default() },
        }
    }
}

/// As it is stored beside the dump.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| EngineError::Unsuitable(error.to_string()))
}
