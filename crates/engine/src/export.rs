//! The dump itself, byte for byte what pg_dump wrote, compared with its hashes on the way out.

use std::io::Write;
use std::sync::Arc;

use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use repo::index::Index;
use repo::{RepoError, Repository};
use sha2::{Digest as _, Sha256};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::manifest::DUMP_NAME;
use crate::stored_file::StoredFile;

/// Write the dump of `record` to `out`; returns its bytes. What was written counts only when this returns `Ok`.
///
/// # Errors
/// Damage, or what `out` says.
pub fn export_dump(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    out: &mut dyn Write,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<u64> {
    if record.kind != BackupKind::Dump {
        return Err(EngineError::Unsuitable(format!("{} is no dump", record.id)));
    }
    let snapshot = catalog::load_snapshot(repository, record)?;
    let file = StoredFile::open(repository, index, &snapshot.tree, DUMP_NAME)?;
    progress.begin("exporting", file.len());
    let mut hash = Sha256::new();
    repository.read_stream(index, file.ids(), cancel, |bytes| {
        hash.update(bytes);
        progress.advance(bytes.len() as u64);
        out.write_all(bytes).map_err(EngineError::io("writing the dump"))
    })?;
    out.flush().map_err(EngineError::io("writing the dump"))?;
    let found = Digest(hash.finalize().into());
    match record.sha256 {
        Some(recorded) if recorded != found => {
            let reason = format!("sha256 {found} != recorded {recorded} (corruption or tampering)");
            Err(RepoError::damaged(format!("dump of {}", record.id), reason).into())
        }
        _ => Ok(file.len()),
    }
}
