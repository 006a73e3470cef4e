//! Fetch a file of `pg_wal` from the archive, for a server that recovers.
//!
//! Invariants: a file is delivered whole, compared with its hash and durable, under its name at once or not at all; it is
//! called absent only where the repository itself is there to say so (pitfalls 7 and 8).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use model::wal_name::WalName;
use repo::wal_object::WalFile;
use repo::{RepoError, Repository};
use tempfile::TempPath;

use crate::error::{EngineError, Result};
use crate::wal_error::WalError;

/// How files begin that are on their way, beside the place where they will be: then comes the process, and noise.
pub const TEMPORARY: &str = ".mainstay-fetch-";

/// The content of an archived file, made on so many cores; `None`: the archive certainly has none of that name. Of a segment
/// of which only the beginning is archived, since its server is gone, that: recovery ends where its records do.
///
/// # Errors
/// Damage, what the store says, or [`WalError::Unhealthy`].
pub fn load_wal(repository: &Repository, file: &WalFile, cores: usize) -> Result<Option<Vec<u8>>> {
    let whole = load_exactly(repository, file, cores)?;
    let WalName::Segment(name) = &file.name else { return Ok(whole) };
    if whole.is_some() {
        return Ok(whole);
    }
    let partial = WalFile { system_id: file.system_id, name: WalName::Partial(*name) };
    load_exactly(repository, &partial, cores)
}

/// The same, and nothing in its place.
///
/// # Errors
/// As [`load_wal`].
pub fn load_exactly(repository: &Repository, file: &WalFile, cores: usize) -> Result<Option<Vec<u8>>> {
    match store::store::read(repository.store(), &file.object()) {
        Ok(sealed) => Ok(Some(file.open(repository.sealer(), &sealed, cores)?.1)),
        Err(error) if error.is_not_found() => {
            verify_there(repository, file)?;
            Ok(None)
        }
        Err(error) => Err(RepoError::from(error).into()),
    }
}

/// That the repository is there: a directory that was unmounted has no such file either, and would take one for itself.
///
/// # Errors
/// [`WalError::Unhealthy`], or what the store says.
pub fn verify_there(repository: &Repository, file: &WalFile) -> Result<()> {
    let config = "config".parse().map_err(|_| unhealthy(repository, file))?;
    match store::store::read(repository.store(), &config) {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(unhealthy(repository, file).into()),
        Err(error) => Err(RepoError::from(error).into()),
    }
}

fn unhealthy(repository: &Repository, file: &WalFile) -> WalError {
    WalError::Unhealthy { place: repository.store().location(), name: file.name.to_string() }
}

/// Write `content` beside its place, durably, in `folder`.
///
/// # Errors
/// What the system says; nothing is left then.
pub fn write_beside(folder: &Path, content: &[u8]) -> Result<TempPath> {
    let failed = || EngineError::io(format!("writing into {}", folder.display()));
    let prefix = format!("{TEMPORARY}{}-", std::process::id());
    let mut temporary = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).map_err(failed())?;
    temporary.write_all(content).map_err(failed())?;
    temporary.as_file().sync_all().map_err(failed())?;
    Ok(temporary.into_temp_path())
}

/// Give what was written beside `to` that name.
///
/// # Errors
/// What the system says.
pub fn deliver(written: TempPath, to: &Path) -> Result<()> {
    let failed = || EngineError::io(format!("writing {}", to.display()));
    written.persist(to).map_err(|error| failed()(error.error))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed())
}

/// Remove what processes that are gone left in `folder` on its way.
pub fn sweep(folder: &Path, is_alive: impl Fn(u32) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process =
            name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)?.split('-').next()?.parse().ok());
        if process.is_some_and(|process| !is_alive(process)) {
            // Who cannot remove it is not harmed by it either.
            fs::remove_file(entry.path()).ok();
        }
    }
}
