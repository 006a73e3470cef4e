//! Fetch a file of `pg_wal` from the archive, for a server that recovers.
//!
//! Invariants: a file is delivered whole and compared with its hash, under its name at once or not at all, and durable where
//! the server does not see to that itself; it is called absent only where the repository itself is there to say so (pitfalls 7 and 8).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use model::wal_name::WalName;
use repo::wal_object::WalFile;
use repo::{RepoError, Repository};
use store::Range;
use tempfile::TempPath;

use crate::error::{EngineError, Result};
use crate::wal_error::WalError;

/// What a [`Loader`] keeps of its room for the next file.
const ROOM_MAX: usize = 64 << 20;

/// How files begin that are on their way, beside the place where they will be: then comes the process, and noise.
pub const TEMPORARY: &str = ".mainstay-fetch-";

/// Loads files one after the other in the same room: new memory for each takes as long as decompressing.
#[derive(Default)]
pub struct Loader {
    sealed: Vec<u8>,
    content: Vec<u8>,
    plain: Vec<u8>,
}

impl Loader {
    /// The content of an archived file, made on so many cores; `None`: the archive certainly has none of that name. Of a
    /// segment of which only the beginning is archived, since its server is gone, that: recovery ends where its records do.
    ///
    /// # Errors
    /// Damage, what the store says, or [`WalError::Unhealthy`].
    pub fn load(&mut self, repository: &Repository, file: &WalFile, cores: usize) -> Result<Option<&[u8]>> {
        let is_there = self.fill(repository, file, cores)?;
        if let (false, WalName::Segment(name)) = (is_there, &file.name) {
            let partial = WalFile { system_id: file.system_id, name: WalName::Partial(*name) };
            return self.load_exactly(repository, &partial, cores);
        }
        Ok(is_there.then_some(&self.plain[..]))
    }

    /// The same, and nothing in its place.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_exactly(
        &mut self,
        repository: &Repository,
        file: &WalFile,
        cores: usize,
    ) -> Result<Option<&[u8]>> {
        Ok(self.fill(repository, file, cores)?.then_some(&self.plain[..]))
    }

    /// Whether there is such a file, which is in `plain` then.
    fn fill(&mut self, repository: &Repository, file: &WalFile, cores: usize) -> Result<bool> {
        let Self { sealed, content, plain } = self;
        [&mut *sealed, &mut *content, &mut *plain]
            .into_iter()
            .filter(|room| room.capacity() > ROOM_MAX)
            .for_each(|room| *room = vec![]);
        sealed.clear();
        match repository.store().get(&file.object(), Range::All, sealed) {
            Ok(_) => {
                file.open_into(repository.sealer(), sealed, cores, (content, plain))?;
                Ok(true)
            }
            Err(error) if error.is_not_found() => {
                verify_there(repository, file)?;
                Ok(false)
            }
            Err(error) => Err(RepoError::from(error).into()),
        }
    }
}

/// [`Loader::load`] for who loads one file.
///
/// # Errors
/// As there.
pub fn load_wal(repository: &Repository, file: &WalFile, cores: usize) -> Result<Option<Vec<u8>>> {
    Ok(Loader::default().load(repository, file, cores)?.map(<[u8]>::to_vec))
}

/// [`Loader::load_exactly`] for who loads one file.
///
/// # Errors
/// As there.
pub fn load_exactly(repository: &Repository, file: &WalFile, cores: usize) -> Result<Option<Vec<u8>>> {
    Ok(Loader::default().load_exactly(repository, file, cores)?.map(<[u8]>::to_vec))
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

/// Whose matter it is that a file outlasts a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Ours, before its name is there.
    Ours,
    /// Of the server that asked for it: PostgreSQL itself syncs what it keeps of that file, and never takes one that it
    /// finds under that name (`RestoreArchivedFile` and `KeepFileRestoredFromArchive` in its `xlogarchive.c`).
    Servers,
}

impl Durability {
    /// Of a file that is put there.
    pub fn of(to: &Path) -> Self {
        let name = to.file_name().unwrap_or_default();
        let is_servers = SERVERS_NAMES.iter().any(|servers| name == *servers);
        if is_servers { Self::Servers } else { Self::Ours }
    }
}

/// Where a server wants segments and histories, when it recovers.
const SERVERS_NAMES: [&str; 2] = ["RECOVERYXLOG", "RECOVERYHISTORY"];

/// Write `content` beside its place, in `folder`.
///
/// # Errors
/// What the system says; nothing is left then.
pub fn write_beside(folder: &Path, content: &[u8], durability: Durability) -> Result<TempPath> {
    let failed = || EngineError::io(format!("writing into {}", folder.display()));
    let prefix = format!("{TEMPORARY}{}-", std::process::id());
    let mut temporary = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).map_err(failed())?;
    temporary.write_all(content).map_err(failed())?;
    if durability == Durability::Ours {
        temporary.as_file().sync_all().map_err(failed())?;
    }
    Ok(temporary.into_temp_path())
}

/// Give what was written beside `to` that name.
///
/// # Errors
/// What the system says.
pub fn deliver(written: TempPath, to: &Path) -> Result<()> {
    let failed = || EngineError::io(format!("writing {}", to.display()));
    written.persist(to).map_err(|error| failed()(error.error))?;
    if Durability::of(to) == Durability::Servers {
        return Ok(());
    }
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
