//! A dump that somebody else made becomes a backup: read to its end by our own parser, stored as one of ours is, and never
//! believed: what comes out of it takes the road of foreign archives (threat 11).

use std::io::Read;
use std::sync::Arc;

use model::backup::BackupRecord;
use model::digest::Digest;
use pg::archive::ArchiveReader;
use repo::Repository;
use repo::stream::StreamSaver;
use sha2::{Digest as _, Sha256};

use crate::catalog;
use crate::cutter;
use crate::dump_stream::{json, pass_through};
use crate::error::{EngineError, Result};
use crate::manifest::{DUMP_NAME, MANIFEST_NAME, MANIFEST_VERSION, Manifest};
use crate::writing::{Order, Writing, plain_node, save_small_file, save_tree};

/// Bytes that are hashed at once.
const READ_LEN: usize = 1 << 20;

/// The database that was dumped, as the head of the archive says it.
///
/// # Errors
/// [`EngineError::Archive`] for what is no archive in custom format.
pub fn database_of(mut dump: impl Read) -> Result<String> {
    let mut archive = ArchiveReader::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        match dump.read(&mut buffer).map_err(EngineError::io("reading the dump"))? {
            0 => return Ok(archive.finish()?.database),
            count => archive.push(&buffer[..count])?,
        }
        if let Some(toc) = archive.toc() {
            return Ok(toc.header.database.clone());
        }
    }
}

/// The backup of the order's tenant that has these very bytes already.
///
/// # Errors
/// Where `dump` cannot be read, or the repository not listed.
pub fn same_already(
    repository: &Arc<Repository>,
    dump: &mut impl Read,
    order: &Order,
) -> Result<Option<BackupRecord>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        order.cancel.check()?;
        match dump.read(&mut buffer).map_err(EngineError::io("reading the dump"))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let found = Digest(hash.finalize().into());
    let records = catalog::list(repository)?;
    Ok(records.into_iter().find(|record| record.tenant == order.tenant && record.sha256 == Some(found)))
}

/// Store `dump`, of about `size` bytes; the order's time is when it was made.
///
/// # Errors
/// [`EngineError::Archive`] for what is no archive in custom format, or is cut; then there is no backup.
pub fn import_dump(
    repository: &Arc<Repository>,
    dump: &mut impl Read,
    size: u64,
    order: &Order,
) -> Result<BackupRecord> {
    order.progress.begin("importing", size);
    let chunk = cutter::size_for(size);
    let writing = Writing::begin(repository, order)?;
    let cutter = cutter::load(repository, chunk)?;
    let passed = pass_through(dump, "reading the dump", StreamSaver::new(&writing.saver, &cutter), order)?;
    let outcome = passed.outcome(&passed.summary.database, chunk, order);
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        record: writing.record(&outcome),
        sha256: passed.sha256,
        size_bytes: passed.length,
        server_version: passed.summary.server_version.clone(),
        client_version: passed.summary.dump_version.clone(),
        no_owner: false,
        no_acl: false,
        is_imported: true,
        extensions: vec![],
        database: None,
        warnings: vec![],
        archive: passed.summary,
    };
    let content = passed.content.wait()?;
    let mut nodes = vec![
        plain_node(DUMP_NAME, passed.length, content, order),
        save_small_file(&writing.saver, MANIFEST_NAME, &json(&manifest)?, order)?,
    ];
    let root = save_tree(&writing.saver, &mut nodes)?;
    writing.commit(root, &outcome)
}
