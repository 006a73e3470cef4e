//! The token by which a cluster is known from its copies.
//!
//! Form: a file of one line, mode 0600, in `/var/lib/mainstay` where that is ours, else in `$XDG_STATE_HOME/mainstay` or
//! `~/.local/state/mainstay`; its name has the system identifier and a hash of the path of the data directory. So a copy on
//! the same machine has another one, and so has each copy elsewhere. Invariant: it is never inside the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use engine::wal_error::WalError;
use engine::wal_owner::Claim;
use model::lsn::SystemId;
use model::secret::Secret;
use repo::blob::id_of;

use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};

/// Where packages make a directory for the user that archives.
const SYSTEM_STATE: &str = "/var/lib/mainstay";

/// Who archives, from this data directory.
pub(super) fn claim(
    named: Option<&Path>,
    data_directory: &Path,
    system_id: SystemId,
    environment: &Environment,
) -> Result<Claim> {
    let real = fs::canonicalize(data_directory).map_err(CliError::io("looking for the data directory"))?;
    let file = match named {
        Some(file) => std::path::absolute(file).map_err(CliError::io("looking for --owner-file"))?,
        None => usual_file(&real, system_id, environment)?,
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let made = || DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let what = format!("making {}", folder.display());
    let folder = made().and_then(|()| fs::canonicalize(folder)).map_err(CliError::io(&what))?;
    if folder.starts_with(&real) {
        return Err(WalError::TokenInside { token: file, data_directory: real }.into());
    }
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Claim { token: read_or_draw(&file)?, host: hostname, directory: real.display().to_string() })
}

/// Who archives what it received into this spool.
pub(super) fn of_receiver(named: Option<&Path>, spool: &Path, environment: &Environment) -> Result<Claim> {
    // Clusters have a folder each in it; the spool is known by its place.
    claim(named, spool, SystemId(0), environment)
}

fn usual_file(real: &Path, system_id: SystemId, environment: &Environment) -> Result<PathBuf> {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let is_ours = |path: &Path| {
        let ours = rustix::process::geteuid().as_raw();
        fs::metadata(path).is_ok_and(|about| about.is_dir() && about.uid() == ours)
    };
    let system = Some(PathBuf::from(SYSTEM_STATE)).filter(|path| is_ours(path));
    let state = || absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    let folder = system.or_else(|| Some(state()?.join("mainstay"))).ok_or_else(|| {
        CliError::new(
            Kind::Usage,
            "there is no place for the token by which this cluster is known from its copies",
        )
        .hint("set HOME, or name a file outside the data directory with --owner-file or MAINSTAY_OWNER_FILE")
    })?;
    let of_path = id_of(real.as_os_str().as_encoded_bytes()).to_hex();
    Ok(folder.join(format!("wal-owner-{system_id}-{}", &of_path[..16])))
}

fn read_or_draw(file: &Path) -> Result<String> {
    let what = format!("reading the owner file {}", file.display());
    let read = || fs::read_to_string(file).map_err(CliError::io(&what));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(new) => write_drawn(new, file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match read()?.trim() {
            "" => Err(CliError::usage(format!("the owner file {} is empty", file.display()))
                .hint("remove it, then run this once with --take-over")),
            token => Ok(token.to_owned()),
        },
        // Made by somebody else, for several machines, and not to be written by us.
        Err(_) if file.exists() => Ok(read()?.trim().to_owned()),
        Err(error) => Err(CliError::io(&format!("making the owner file {}", file.display()))(error)),
    }
}

fn write_drawn(mut new: File, file: &Path) -> Result<String> {
    let token = Secret::generate().map_err(|error| CliError::new(Kind::Failed, error.to_string()))?;
    let written = new.write_all(format!("{}\n", token.expose()).as_bytes()).and_then(|()| new.sync_all());
    match written {
        Ok(()) => Ok(token.expose().to_owned()),
        Err(error) => {
            // Half a token would be another one next time.
            fs::remove_file(file).ok();
            Err(CliError::io(&format!("writing the owner file {}", file.display()))(error))
        }
    }
}
