//! A dump that somebody else put into a repository, as `restic backup --stdin` does: found, understood, and described
//! as one of our own, so that it takes the same road into a database.
//!
//! Nothing is believed: the archive is read to its end by our own parser before any other program sees a byte of it.

use std::io::Read;
use std::sync::Arc;

use model::backup::BackupRecord;
use model::digest::Digest;
use model::entry::EntryKind;
use pg::archive::{ArchiveReader, Hazard, Toc};
use repo::index::Index;
use repo::{BlobKind, Repository, tree};
use sha2::{Digest as _, Sha256};

use crate::error::{EngineError, Result};
use crate::manifest::{MANIFEST_VERSION, Manifest};
use crate::stored_file::{StoredFile, damage};

/// The first bytes of an archive in custom format.
const MAGIC: &[u8] = b"PGDMP";

/// Bytes read at once.
const READ_LEN: usize = 1 << 20;

/// An archive in a snapshot that mainstay did not make.
pub struct ForeignDump {
    /// Name of the file in the root of the snapshot.
    pub name: String,
    /// Format, such as `1.14`, as it says itself.
    pub archive_version: String,
    file: StoredFile,
}

/// The one archive in the root of a tree.
///
/// # Errors
/// [`EngineError::Unsuitable`] where there is none or more than one; damage.
pub fn find(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    root: &Digest,
    record: &BackupRecord,
) -> Result<ForeignDump> {
    let json = repository.read_blob(index, BlobKind::Tree, root)?;
    let nodes = tree::decode(&json, &format_args!("tree {root}"))?;
    let mut found = vec![];
    for node in nodes.into_iter().filter(|node| node.entry.kind == EntryKind::File) {
        let name = String::from_utf8_lossy(&node.entry.name).into_owned();
        let file = StoredFile::of(repository, index, node)?;
        let mut head = [0; MAGIC.len() + 2];
        let length = file.len().min(head.len() as u64);
        file.range(0, length)?.read_exact(&mut head[..length as usize]).map_err(damage)?;
        if let [magic @ .., major, minor] = &head
            && magic == MAGIC
        {
            found.push(ForeignDump { name, archive_version: format!("{major}.{minor}"), file });
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        count => Err(EngineError::Unsuitable(format!(
            "{} is no dump of mainstay's, and has {count} archives of pg_dump in its root instead of one",
            record.id
        ))),
    }
}

/// Read the archive to its end: what it is, as a manifest says it, and what in it deserves a look.
///
/// # Errors
/// [`EngineError::Archive`] for one that is cut or manipulated so that it cannot be understood; damage.
pub fn examine(dump: &ForeignDump, record: &BackupRecord) -> Result<(Manifest, Vec<Hazard>)> {
    let mut archive = ArchiveReader::new();
    let mut hash = Sha256::new();
    let mut stream = dump.file.range(0, dump.file.len())?;
    let mut buffer = vec![0; READ_LEN];
    let mut hazards = None;
    loop {
        let count = stream.read(&mut buffer).map_err(damage)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        archive.push(&buffer[..count])?;
        hazards = hazards.or_else(|| archive.toc().map(Toc::hazards));
    }
    let archive = archive.finish()?;
    let sha256 = Digest(hash.finalize().into());
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        record: record.clone(),
        sha256,
        size_bytes: dump.file.len(),
        server_version: archive.server_version.clone(),
        client_version: archive.dump_version.clone(),
        no_owner: false,
        no_acl: false,
        is_imported: false,
        extensions: vec![],
        database: None,
        warnings: vec![],
        archive,
    };
    Ok((manifest, hazards.unwrap_or_default()))
}
