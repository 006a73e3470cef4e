//! The file through which libpq gets a password: libpq's own way, invisible to `ps` and `/proc`.
//!
//! Form: one line `*:*:*:*:password`, `:` and `\` escaped by `\`. Invariant: directory and file belong to us alone
//! (0700, 0600) and are gone when this value is.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::secret::Secret;

/// A password on disk for as long as it is needed.
pub(super) struct PassFile {
    path: PathBuf,
    /// Removes the directory with the file when dropped.
    _directory: tempfile::TempDir,
}

impl PassFile {
    pub(super) fn write(password: &Secret) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("mainstay-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let path = directory.path().join("pass");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(line_for(password).expose().as_bytes())?;
        Ok(Self { path, _directory: directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn line_for(password: &Secret) -> Secret {
    let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
    Secret::new(format!("*:*:*:*:{escaped}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_escaped_and_gone_in_the_end() {
        let file = PassFile::write(&Secret::new(r"a:b\c")).unwrap();
        let path = file.path().to_owned();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "*:*:*:*:a\\:b\\\\c\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = path.parent().unwrap().to_owned();
        assert_eq!(std::fs::metadata(&parent).unwrap().permissions().mode() & 0o777, 0o700);
        drop(file);
        assert!(!parent.exists());
    }
}
