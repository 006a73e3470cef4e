//! `backup create --directory`: what is opened for it, on this machine or on another server.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use files::exclude::{Excludes, PatternError};
use files::origin::Opened;
use files::owner::Owners;
use files::relative::RelativePath;
use remote::afar::{self, Access};
use tempfile::TempDir;

use crate::arguments::{Create, FarArguments};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::original::{self, Sftp};
use crate::password;

/// A directory, opened, with the patterns of what is left out.
pub(super) struct Found {
    pub(super) opened: Opened,
    pub(super) patterns: Vec<String>,
    /// What it is called where nobody says otherwise.
    pub(super) name: String,
    /// Where its key is, until nobody needs it any more.
    pub(super) key: Option<TempDir>,
}

/// Open `directory`, where `urls` are the places that the backup goes to.
pub(super) fn open(
    order: &Create,
    directory: &Path,
    urls: &[String],
    environment: &Environment,
    face: &Face,
) -> Result<Found> {
    match directory.to_str() {
        Some(original::DIRECTORY) => originals(order, environment, face),
        Some(url) if afar::is_address(url) => far(order, url, access(&order.far, environment, face)?),
        _ => here(order, directory, urls, face),
    }
}

fn here(order: &Create, directory: &Path, urls: &[String], face: &Face) -> Result<Found> {
    let mut patterns = order.exclude.clone();
    for url in urls {
        patterns.extend(own_place_in(url, directory, face)?);
    }
    let mut excludes = excludes(order, &patterns)?;
    if order.one_file_system {
        excludes = excludes.on_one_file_system();
    }
    let owners = Owners::read(Path::new("/etc")).map_err(CliError::io("reading /etc/passwd"))?;
    let name = directory.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy());
    let opened = files::here::open(directory, excludes, Arc::new(owners))?;
    Ok(Found { opened, patterns, name: name.into_owned(), key: None })
}

fn excludes(order: &Create, patterns: &[String]) -> Result<Excludes> {
    let excludes =
        Excludes::new(patterns).map_err(|error: PatternError| CliError::usage(error.to_string()))?;
    Ok(if order.exclude_caches { excludes.without_caches() } else { excludes })
}

/// The directory that another system's variables name.
fn originals(order: &Create, environment: &Environment, face: &Face) -> Result<Found> {
    let Sftp { url, pin, key } = original::sftp(|name| environment.get(name)).map_err(CliError::usage)?;
    let mut said = order.far.clone();
    said.directory_host_key = said.directory_host_key.or(pin);
    // A key comes from a file: one that nobody else reads, in memory where that can be, gone when the connections are.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.map_err(CliError::io("keeping SFTP_USER_PRIVKEY"))?;
    if let Some(key) = key {
        let file = folder.path().join("key");
        let options = File::options().write(true).create_new(true).mode(0o600).open(&file);
        options
            .and_then(|mut file| file.write_all(key.as_bytes()))
            .map_err(CliError::io("keeping SFTP_USER_PRIVKEY"))?;
        said.directory_key = said.directory_key.or(Some(file));
    }
    let found = far(order, &url, access(&said, environment, face)?)?;
    Ok(Found { key: Some(folder), ..found })
}

fn far(order: &Create, url: &str, access: Access) -> Result<Found> {
    if order.one_file_system {
        return Err(CliError::usage("--one-file-system is for directories of this machine")
            .hint("other servers do not tell; leave directories out with --exclude"));
    }
    let patterns = order.exclude.clone();
    let opened = afar::open(url, excludes(order, &patterns)?, access);
    let name = afar::source_name(url).unwrap_or_else(|| "root".to_owned());
    Ok(Found { opened: opened.map_err(CliError::of_source)?, patterns, name, key: None })
}

/// Who we are is the same as for stores where nothing else is said; whom we believe is not.
fn access(far: &FarArguments, environment: &Environment, face: &Face) -> Result<Access> {
    let mut settings = environment.wire().settings().without("sftp-host-key", "MAINSTAY_SFTP_HOST_KEY");
    let path = |file: &std::path::PathBuf| file.to_string_lossy().into_owned();
    let chosen = [
        ("sftp-key", far.directory_key.as_ref().map(path)),
        ("sftp-host-key", far.directory_host_key.clone()),
        ("ca-file", far.directory_ca_file.as_ref().map(path)),
        ("pin", far.directory_pin.clone()),
    ];
    for (option, value) in chosen {
        if let Some(value) = value {
            settings = settings.with(option, value);
        }
    }
    let password = match &far.directory_password_file {
        Some(file) => Some(password::from_file(file, face)?),
        None => environment.secret("MAINSTAY_FTP_PASSWORD"),
    };
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ok(Access { settings, password, owner, retry: environment.wire().retry() })
}

/// The pattern that leaves a repository itself out, where it lies in `directory`: it would grow while it is read.
fn own_place_in(url: &str, directory: &Path, face: &Face) -> Result<Option<String>> {
    // What lies behind a wire lies in no directory of ours.
    let Ok(place) = store::open::local_path(url).map(std::fs::canonicalize) else {
        return Ok(None);
    };
    // What is not there is said by the walk, in its own words.
    let (Ok(place), Ok(directory)) = (place, std::fs::canonicalize(directory)) else { return Ok(None) };
    let refuse = |why| {
        let message = format!("{} {why} {}", directory.display(), place.display());
        Err(CliError::new(Kind::Refused, message).hint("back up another directory, or into another place"))
    };
    if directory.starts_with(&place) {
        return refuse("is, or lies in, the repository");
    }
    let Ok(below) = place.strip_prefix(&directory) else { return Ok(None) };
    let below = RelativePath::parse(below.as_os_str().as_encoded_bytes()).ok();
    let Some(pattern) = below.as_ref().and_then(Excludes::pattern_for) else {
        return refuse("contains, under a name that no pattern can leave out, the repository");
    };
    face.note(&format!("the repository {} lies in it and is left out", place.display()));
    Ok(Some(pattern))
}
