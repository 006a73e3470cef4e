//! Compare every byte of one backup with its hashes. Touches no database.
//!
//! Which packs turn out to be damaged is written down, where anything can be: so that the next backup does not rest on them.
//! Also those of which another copy was read: the backup is whole, but has one copy less than it seems.

use std::sync::{Arc, Mutex, PoisonError};

use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use repo::broken::{BrokenPacks, Why};
use repo::index::Index;
use repo::reader::Wanted;
use repo::{BlobKind, RepoError, Repository, reachable};
use sha2::{Digest as _, Sha256};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::manifest::{DUMP_NAME, Manifest};
use crate::stored_file::StoredFile;

/// Read all of `record`'s bytes and compare them. What is broken and has another copy is no error, but a warning.
///
/// # Errors
/// [`EngineError::is_damage`] naming the first blob or file that is not as it was.
pub fn verify(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    // What others met before is not of this backup, and may be mended.
    drop(repository.take_passed_over());
    let verified = verify_all(repository, index, record, progress, cancel);
    let passed_over = repository.take_passed_over();
    for (pack, why) in passed_over.iter().filter(|_| verified.is_ok()) {
        progress.warn(format!(
            "pack {pack} is {}: another copy of what this backup needs of it is sound; `mainstay repair` saves what else it holds",
            why.word()
        ));
    }
    // As below.
    repo::broken::note(repository, &passed_over).ok();
    verified
}

fn verify_all(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    if record.kind == BackupKind::Dump {
        let manifest = catalog::load_manifest(repository, index, &snapshot);
        let verified = manifest.and_then(|manifest| {
            let root = &snapshot.tree;
            verify_dump(repository, index, root, DUMP_NAME, record, &manifest, progress, cancel)
        });
        let is_damage = verified.as_ref().is_err_and(EngineError::is_damage);
        // The stream ended where the damage begins; what it is of is asked below.
        if !is_damage {
            return verified;
        }
        return verify_blobs_of(repository, index, (record, snapshot.tree), progress, cancel).and(verified);
    }
    verify_blobs_of(repository, index, (record, snapshot.tree), progress, cancel)
}

/// All that lies below the `root` of `record`, blob by blob.
fn verify_blobs_of(
    repository: &Repository,
    index: &Index,
    (record, root): (&BackupRecord, Digest),
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let id = record.snapshot.unwrap_or_default();
    let (found, broken) = reachable::collect(repository, index, &[(id, root)], cancel)?;
    let mut packs = BrokenPacks::default();
    for one in broken.iter().filter(|one| one.error.is_damage()) {
        let place = one.tree.map(|tree| index.find(BlobKind::Tree, &tree)).transpose()?.flatten();
        packs.extend(place.map(|place| (index.pack_id(place.pack), Why::of(&one.error))));
    }
    // Of what is missing in the index nothing can be read.
    let there = |id: &Digest| index.has(BlobKind::Data, id).unwrap_or(true);
    let data = found.data.into_iter().filter(there);
    let verified = verify_blobs(repository, index, data, &mut packs, progress, cancel);
    // Who may only read cannot tell those who write; that it is damaged is told here anyway.
    repo::broken::note(repository, &packs).ok();
    match broken.into_iter().next() {
        Some(first) => Err(first.error.into()),
        None => verified,
    }
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
    refuse_altered(&file, record, manifest)?;
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
    Ok(())
}

/// What can be said of a dump before a byte of it is read: whether its length is that which is recorded, and whether what is
/// recorded at two places is the same.
///
/// # Errors
/// [`EngineError::is_damage`].
pub(crate) fn refuse_altered(file: &StoredFile, record: &BackupRecord, manifest: &Manifest) -> Result<()> {
    let reason = match record.sha256 {
        _ if file.len() != manifest.size_bytes => {
            format!("{} bytes instead of {}", file.len(), manifest.size_bytes)
        }
        Some(recorded) if recorded != manifest.sha256 => {
            format!(
                "sha256 {} in its manifest != recorded {recorded} (corruption or tampering)",
                manifest.sha256
            )
        }
        _ => return Ok(()),
    };
    Err(RepoError::damaged(format!("dump of {}", record.id), reason).into())
}

fn verify_blobs(
    repository: &Repository,
    index: &Index,
    ids: impl IntoIterator<Item = Digest>,
    packs: &mut BrokenPacks,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let wanted = |(tag, id)| Ok(Wanted { id, place: index.require(BlobKind::Data, &id)?, tag });
    let mut wanted = ids.into_iter().enumerate().map(wanted).collect::<repo::error::Result<Vec<_>>>()?;
    progress.begin("verifying", wanted.iter().map(|one| u64::from(one.place.plain_length())).sum());
    let (first_error, damaged) = (Mutex::new(None), Mutex::new(packs));
    repository.read_packed(index, &mut wanted, cancel, |one, bytes| {
        match bytes {
            Ok(bytes) => progress.advance(bytes.len() as u64),
            Err(error) => {
                if error.is_damage() {
                    damaged
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(index.pack_id(one.place.pack), Why::of(&error));
                }
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
