//! A directory on this machine for what can be made again from the repository, at a price.
//!
//! Form: docs/designs/0003-index.md. Invariant: it is used only where it belongs to us alone; somebody else's would
//! tell him about our data, or us lies about what is stored.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use model::digest::Digest;

/// A private directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir(PathBuf);

impl CacheDir {
    /// The directory `path`, made where it is missing. Nothing is made above its parent's parent: a home that does
    /// not exist is nobody's.
    ///
    /// # Errors
    /// What the file system says, or `PermissionDenied` where others may write or look into it.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
            make(parent)?;
        }
        make(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The part for `name`, made where it is missing.
    ///
    /// # Errors
    /// As [`CacheDir::open`].
    pub fn part(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        make(&path)?;
        Ok(path)
    }

    /// The part for a repository.
    ///
    /// # Errors
    /// As [`CacheDir::open`].
    pub fn of_repository(&self, id: &Digest) -> io::Result<PathBuf> {
        self.part(&id.to_hex())
    }
}

/// Make `path`, or see that nobody else may use it.
fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(path)?;
    let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
    match is_ours && found.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not ours alone")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_private_and_refused_where_it_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("home/mainstay");
        let cache = CacheDir::open(&path).unwrap();
        let part = cache.of_repository(&Digest([1; 32])).unwrap();
        for made in [&path, &part] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert_eq!(CacheDir::open(&path).unwrap(), cache);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(CacheDir::open(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(CacheDir::open(&root.path().join("a/b/c")).is_err(), "a home is not made up");
    }

    #[test]
    fn a_link_to_elsewhere_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mainstay");
        std::os::unix::fs::symlink(root.path(), &path).unwrap();
        assert!(CacheDir::open(&path).is_err());
    }
}
