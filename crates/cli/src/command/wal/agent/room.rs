//! Where an agent listens: a directory that is its user's alone, and a name that says what it opens.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use repo::blob::id_of;

use crate::arguments::Global;
use crate::environment::Environment;

/// Bytes of the path of a socket at most: unix(7), less one for NUL.
const SOCKET_LEN_MAX: usize = 107;

/// How an agent is started, and where it then listens.
pub(in crate::command::wal) struct Room {
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments, without the place.
    pub(super) arguments: Vec<String>,
    /// The place.
    pub(super) socket: PathBuf,
}

/// That of the repository which these flags mean; `None` where there can be none.
pub(in crate::command::wal) fn room(global: &Global, environment: &Environment) -> Option<Room> {
    // Who is asked for its password on a terminal has time.
    if global.at.is_some() {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    let about = fs::metadata(&program).ok()?;
    let arguments = arguments(global)?;
    // Another build is another agent.
    let build = format!("{}-{}-{}", about.dev(), about.ino(), about.mtime_nsec() ^ about.mtime());
    let environment_of_home =
        ["HOME", "XDG_CACHE_HOME"].map(|name| environment.get(name).unwrap_or_default());
    let means = [&[build], &arguments[..], &environment_of_home.map(str::to_owned)].concat().join("\0");
    let name = format!("wal-{}.sock", &id_of(means.as_bytes()).to_hex()[..16]);
    let socket = folder(environment)?.join(name);
    (socket.as_os_str().len() <= SOCKET_LEN_MAX).then_some(Room { program, arguments, socket })
}

/// The flags again, with what depends on the current directory made absolute.
fn arguments(global: &Global) -> Option<Vec<String>> {
    let absolute = |path: &Path| Some(std::path::absolute(path).ok()?.to_str()?.to_owned());
    let place = |url: &str| match url.contains("://") || url.starts_with("local:") {
        true => Some(url.to_owned()),
        false => absolute(Path::new(url)),
    };
    let mut all = vec![];
    let mut say = |flag: &str, value: Option<String>| {
        all.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
    };
    let wire = &global.wire;
    // A path that is no text is no reason to guess.
    let path = |path: &Option<PathBuf>| path.as_deref().map_or(Some(None), |path| absolute(path).map(Some));
    let url = |url: &Option<String>| url.as_deref().map_or(Some(None), |url| place(url).map(Some));
    say("--config", path(&global.config)?);
    say("--repository", url(&global.repository)?);
    say("--repository-hot", url(&global.repository_hot)?);
    say("--of", global.of.clone());
    say("--password-file", path(&global.password_file)?);
    say("--cache-dir", path(&wire.cache_dir)?);
    say("--sftp-key", path(&wire.sftp_key)?);
    say("--sftp-host-key", wire.sftp_host_key.clone());
    let rate = |rate: &Option<crate::rate::Rate>| Some(format!("{}b", rate.as_ref()?.0?));
    say("--limit-upload", rate(&wire.limit_upload));
    say("--limit-download", rate(&wire.limit_download));
    say("--retry-for", Some(wire.retry_for.min(super::message::WORK_MAX.as_secs() / 2).to_string()));
    if wire.no_cache {
        all.push("--no-cache".to_owned());
    }
    Some(all)
}

/// A directory that is ours alone: in that of the session, in the system's own, or in that for temporary files.
fn folder(environment: &Environment) -> Option<PathBuf> {
    let ours = rustix::process::geteuid().as_raw();
    let session = environment.get("XDG_RUNTIME_DIR").map(Path::new).filter(|path| path.is_absolute());
    let candidates = [
        session.map(|session| session.join("mainstay")),
        Some(PathBuf::from("/run/mainstay")),
        Some(std::env::temp_dir().join(format!("mainstay-{ours}"))),
    ];
    candidates.into_iter().flatten().find(|folder| make_private(folder, ours).is_ok())
}

/// Make it, or see that it is a directory, ours, and closed to others.
fn make_private(folder: &Path, ours: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Not that of what a link names: whoever made the link could change it.
    let about = fs::symlink_metadata(folder)?;
    match about.is_dir() && about.uid() == ours && about.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_others_may_enter_or_made_is_not_used() {
        let place = tempfile::tempdir().unwrap();
        let ours = rustix::process::geteuid().as_raw();
        let folder = place.path().join("mainstay");
        make_private(&folder, ours).unwrap();
        make_private(&folder, ours).unwrap();
        assert!(make_private(&folder, ours + 1).is_err());
        std::os::unix::fs::symlink(&folder, place.path().join("link")).unwrap();
        assert!(make_private(&place.path().join("link"), ours).is_err());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_private(&folder, ours).is_err());
        assert!(make_private(&place.path().join("no/such"), ours).is_err());
    }
}
