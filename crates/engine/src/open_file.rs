//! A file of a backup, open for reading at any offset: what a file system, a web page or a drill that looks into a dump
//! needs, without restoring anything.

use std::sync::Arc;

use files::relative::RelativePath;
use model::backup::BackupRecord;
use model::entry::EntryKind;
use repo::Repository;
use repo::index::Index;
use repo::plain_cache::PlainCache;
use repo::random::RandomFile;

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::stored_tree::{Stored, StoredWalk, TreeSource, locate};

/// Open the file `path`, below what was backed up, of the backup `record`. Files that are open together share `cache`.
///
/// # Errors
/// [`EngineError::NoPath`], [`EngineError::Unsuitable`] for what is no file, or damage to a tree on the way.
pub fn open_file(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    path: &RelativePath,
    cache: &Arc<PlainCache>,
) -> Result<RandomFile> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    let mut trees = TreeSource::new(repository, index)?;
    let mut walk = StoredWalk::new(locate(&mut trees, &snapshot)?, vec![path.clone()]);
    while let Some(stored) = walk.next(&mut trees) {
        match stored {
            Stored::Entry { path: found, node } if found == *path => {
                return match node.entry.kind {
                    EntryKind::File => Ok(RandomFile::open(repository, index, &node.content, cache)?),
                    _ => no_file(path),
                };
            }
            Stored::Enter { path: found, .. } if found == *path => return no_file(path),
            Stored::Broken { error, .. } => return Err(error),
            _ => {}
        }
    }
    Err(EngineError::NoPath { path: path.to_string(), id: record.id.to_string() })
}

fn no_file(path: &RelativePath) -> Result<RandomFile> {
    Err(EngineError::Unsuitable(format!("{path} is no file")))
}
