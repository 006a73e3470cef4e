//! Compare every byte of one backup with its hashes. Touches no database.

use std::sync::{Arc, Mutex, PoisonError};

use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use repo::index::Index;
use repo::reader::Wanted;
use repo::{BlobKind, RepoError, Repository, reachable};
use sha2::{Digest as _, Sha256};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::manifest::{DUMP_NAME, Manifest};
use crate::stored_file::StoredFile;

/// Read all of `record`'s bytes and compare them.
///
/// # Errors
/// [`EngineError::is_damage`] naming the blob or file that is not as it was.
pub fn verify(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    if record.kind == BackupKind::Dump {
        let manifest = catalog::load_manifest(repository, index, &snapshot)?;
        return verify_dump(
            repository,
            index,
            &snapshot.tree,
            DUMP_NAME,
            record,
            &manifest,
            progress,
            cancel,
        );
    }
    let id = record.snapshot.unwrap_or_default();
    let (found, broken) = reachable::collect(repository, index, &[(id, snapshot.tree)], cancel)?;
    if let Some(first) = broken.into_iter().next() {
        return Err(first.error.into());
    }
    verify_blobs(repository, index, found.data, progress, cancel)
}

/// The dump alone, under its name in the root: each piece against its name, the whole against the recorded hash and length.
///
/// # Errors
/// As [`verify`].
#[expect(clippy::too_many_arguments, reason = "the dump, what is recorded of it, and how to look")]
pub fn verify_dump(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    root: &Digest,
    name: &str,
    record: &BackupRecord,
    manifest: &Manifest,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let file = StoredFile::open(repository, index, root, name)?;
    progress.begin("verifying", file.len());
    let mut hash = Sha256::new();
    repository.read_stream(index, file.ids(), cancel, |bytes| {
        hash.update(bytes);
        progress.advance(bytes.len() as u64);
        Ok::<(), EngineError>(())
    })?;
    let found = Digest(hash.finalize().into());
    for recorded in [Some(manifest.sha256), record.sha256].into_iter().flatten() {
        if recorded != found {
            let reason = format!("sha256 {found} != recorded {recorded} (corruption or tampering)");
            return Err(RepoError::damaged(format!("dump of {}", record.id), reason).into());
        }
    }
    if file.len() != manifest.size_bytes {
        let reason = format!("{} bytes instead of {}", file.len(), manifest.size_bytes);
        return Err(RepoError::damaged(format!("dump of {}", record.id), reason).into());
    }
    Ok(())
}

fn verify_blobs(
    repository: &Repository,
    index: &Index,
    ids: impl IntoIterator<Item = Digest>,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let wanted = |(tag, id)| Ok(Wanted { id, place: index.require(BlobKind::Data, &id)?, tag });
    let mut wanted = ids.into_iter().enumerate().map(wanted).collect::<repo::error::Result<Vec<_>>>()?;
    progress.begin("verifying", wanted.iter().map(|one| u64::from(one.place.plain_length())).sum());
    let first_error = Mutex::new(None);
    repository.read_packed(index, &mut wanted, cancel, |_, bytes| {
        match bytes {
            Ok(bytes) => progress.advance(bytes.len() as u64),
            Err(error) => {
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
        Ok::<(), EngineError>(())
    })?;
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
