//! Of which cluster a file of `pg_wal` is, by where it lies.

use std::path::{Path, PathBuf};

use engine::archive_wal::header_of;
use model::lsn::SystemId;
use pg::which_cluster;
use repo::Repository;

use crate::error::{CliError, Kind, Result};

/// The data directory in whose `pg_wal` a file lies, by its name alone: `pg_wal` may be a link to elsewhere. Where it lies in no
/// `pg_wal`, its own directory.
pub(super) fn data_directory(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new("/"));
    match folder.parent() {
        Some(above) if folder.file_name().is_some_and(|name| name == "pg_wal") => above.to_owned(),
        _ => folder.to_owned(),
    }
}

/// The cluster of a file to be archived: that of its data directory, else as the file itself says.
pub(super) fn of_file(path: &Path) -> Result<SystemId> {
    let directory = data_directory(path);
    let known = which_cluster::system_id(&directory).ok();
    known.or_else(|| Some(header_of(path)?.system_id)).ok_or_else(|| {
        CliError::new(
            Kind::Failed,
            format!(
                "{} is in no data directory, and does not tell itself of which cluster it is",
                path.display()
            ),
        )
        .hint("run this in the data directory, as archive_command does")
    })
}

/// The cluster of a place where a file is to be put, if that is a data directory.
pub(super) fn of_place(path: &Path) -> Option<SystemId> {
    which_cluster::system_id(&data_directory(path)).ok()
}

/// The one that was named, or the only one of which there is WAL.
pub(super) fn only(repository: &Repository, named: Option<SystemId>) -> Result<SystemId> {
    if let Some(system_id) = named {
        return Ok(system_id);
    }
    match *repository.list_wal_clusters()? {
        [only] => Ok(only),
        [] => Err(CliError::new(
            Kind::NotFound,
            format!("no WAL is archived in {}", repository.store().location()),
        )),
        ref several => {
            let shown: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(CliError::usage("WAL of several clusters is archived here")
                .hint(format!("name one with --system-id: {}", shown.join(", "))))
        }
    }
}
