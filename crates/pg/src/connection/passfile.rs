//! The file through which libpq gets a password: libpq's own way, invisible to `ps` and `/proc`.
//!
//! Form: one line `*:*:*:*:password`, `:` and `\` escaped by `\`. It lies in memory alone and children inherit it, so
//! that nothing of it stays when this process is killed; where the system has no such files, in a private directory
//! (0700, 0600) that is gone when this value is.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::secret::Secret;
use rustix::fs::{MemfdFlags, memfd_create};

/// A password in a file for as long as it is needed.
pub(super) struct PassFile {
    path: PathBuf,
    _place: Place,
}

/// What ends with the value.
#[expect(dead_code, reason = "held until it is dropped")]
enum Place {
    Memory(File),
    Directory(tempfile::TempDir),
}

impl PassFile {
    pub(super) fn write(password: &Secret) -> io::Result<Self> {
        let line = line_for(password);
        Self::in_memory(&line).or_else(|_| Self::in_directory(&line))
    }

    fn in_memory(line: &Secret) -> io::Result<Self> {
        // Not closed on exec: the child opens it anew under its own number.
        let mut file = File::from(memfd_create("mainstay-pass", MemfdFlags::empty())?);
        // libpq ignores a password file that others may read.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(line.expose().as_bytes())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        File::open(&path)?;
        Ok(Self { path, _place: Place::Memory(file) })
    }

    fn in_directory(line: &Secret) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("mainstay-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let path = directory.path().join("pass");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(line.expose().as_bytes())?;
        Ok(Self { path, _place: Place::Directory(directory) })
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
    fn private_and_escaped_wherever_it_lies() {
        let line = line_for(&Secret::new(r"a:b\c"));
        for file in [PassFile::in_memory(&line).unwrap(), PassFile::in_directory(&line).unwrap()] {
            assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "*:*:*:*:a\\:b\\\\c\n");
            assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_on_disk_is_gone_in_the_end() {
        let file = PassFile::in_directory(&Secret::new("x")).unwrap();
        let parent = file.path().parent().unwrap().to_owned();
        assert_eq!(std::fs::metadata(&parent).unwrap().permissions().mode() & 0o777, 0o700);
        drop(file);
        assert!(!parent.exists());
    }
}
