//! The temporary directory of one throw-away server: data, socket, log, password.
//!
//! Form: `data/` is the data directory, `password` the superuser's password, `log` the server's stderr. A template
//! is `data/` and `password` alone. The path is short, because a socket's path has 107 bytes at most.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::secret::Secret;

use super::error::ThrowawayError;
use super::identity::Identity;

/// Name of the superuser.
pub const SUPERUSER: &str = "postgres";

/// Bytes of the log that are shown.
const LOG_TAIL_LEN: u64 = 4096;

pub(super) struct Directory {
    directory: tempfile::TempDir,
    identity: Identity,
}

impl Directory {
    pub(super) fn new(identity: Identity) -> Result<Self, ThrowawayError> {
        let action = "create the server's directory";
        let directory = tempfile::Builder::new()
            .prefix("mainstay-pg-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(ThrowawayError::io(action))?;
        identity.own(directory.path()).map_err(ThrowawayError::io(action))?;
        Ok(Self { directory, identity })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Run initdb; the password is random.
    pub(super) fn initialise(&self, bin_dir: &Path) -> Result<Secret, ThrowawayError> {
        let password = Secret::generate().map_err(|error| ThrowawayError::Random(error.to_string()))?;
        let password_file = self.path().join("password");
        self.write_private(&password_file, &password)?;
        let mut command = Command::new(bin_dir.join("initdb"));
        command.arg("-D").arg(self.data()).arg(format!("--pwfile={}", password_file.display()));
        command.arg(format!("--username={SUPERUSER}"));
        command.args(["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]);
        // The smallest segments: a server with 16 MiB ones begins with 16 MiB of zeros.
        command.arg("--wal-segsize=1");
        self.identity.apply(&mut command);
        command.current_dir(self.path()).stdin(Stdio::null()).env("LC_ALL", "C");
        let output = command.output().map_err(ThrowawayError::io("run initdb"))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
            return Err(ThrowawayError::Ended { program: "initdb", words });
        }
        Ok(password)
    }

    /// Take over a template.
    pub(super) fn copy_from(&self, template: &Path) -> Result<Secret, ThrowawayError> {
        let action = "copy the template";
        let password =
            std::fs::read_to_string(template.join("password")).map_err(ThrowawayError::io(action))?;
        copy_tree(&template.join("data"), &self.data(), self.identity).map_err(ThrowawayError::io(action))?;
        Ok(Secret::new(password))
    }

    /// Become a template.
    pub(super) fn save_as(&self, template: &Path) -> Result<(), ThrowawayError> {
        copy_tree(self.path(), template, self.identity).map_err(ThrowawayError::io("save the template"))
    }

    pub(super) fn log_tail(&self) -> String {
        let mut tail = Vec::new();
        if let Ok(mut log) = File::open(self.log()) {
            let length = log.metadata().map_or(0, |metadata| metadata.len());
            // A log that cannot be read is as good as an empty one: it only explains.
            log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_LEN))).ok();
            log.read_to_end(&mut tail).ok();
        }
        String::from_utf8_lossy(&tail).trim_end().to_owned()
    }

    fn write_private(&self, path: &Path, secret: &Secret) -> Result<(), ThrowawayError> {
        let action = "write the password";
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(ThrowawayError::io(action))?;
        file.write_all(secret.expose().as_bytes()).map_err(ThrowawayError::io(action))?;
        self.identity.own(path).map_err(ThrowawayError::io(action))
    }
}

/// Copy files and directories with their permissions; a fresh data directory holds nothing else.
fn copy_tree(from: &Path, to: &Path, identity: Identity) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target, identity)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            identity.own(&target)?;
        }
    }
    identity.own(to)
}
