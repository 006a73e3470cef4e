//! A directory on a local file system as a store; the layout is the one of restic's local repositories.
//!
//! An object is written into a nameless file (`O_TMPFILE`), synced, and only then given its name, which fails
//! where the name is taken; then its directory is synced. So nothing half-written ever has a name, and a crash
//! leaves no rubbish. File systems without nameless files get a named one in `.tmp`, linked and removed.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;

use crate::direct;
use crate::key::Key;
use crate::store::{Object, Range, Store, StoreError};

/// Objects are never changed, so not even their owner may write them.
const OBJECT_MODE: Mode = Mode::RUSR;
const TEMPORARY: &str = ".tmp";

/// A store in a directory.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    /// Something was read here: the directory is never made anew then. A disk that was unmounted leaves an empty place, and
    /// what is written there is lost when it comes back.
    was_there: AtomicBool,
}

impl LocalStore {
    /// The store in the directory `root`, which is made when the first object is kept.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), was_there: AtomicBool::new(false) }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn error(&self, action: &'static str, key: &str, cause: io::Error) -> StoreError {
        let (key, place) = (key.to_owned(), self.location());
        match cause.kind() {
            ErrorKind::NotFound => StoreError::NotFound { key, place },
            ErrorKind::AlreadyExists => StoreError::AlreadyExists { key, place },
            ErrorKind::UnexpectedEof => StoreError::Short { key, place },
            _ => StoreError::Io { action, key, place, cause },
        }
    }

    fn write_object(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        // Asked first, so that a taken name costs no write; linkat asks again, and decides.
        if fs::symlink_metadata(path).is_ok() {
            // Who put it there may have been killed before its name was durable, and the caller may rely on it now.
            File::open(folder)?.sync_all()?;
            return Err(ErrorKind::AlreadyExists.into());
        }
        if !folder.is_dir() {
            self.make_folder(folder)?;
        }
        let nameless =
            rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, OBJECT_MODE);
        let is_named = match nameless {
            Ok(file) => write_nameless(file.into(), path, content)?,
            Err(_) => false,
        };
        if !is_named {
            self.write_named(path, content)?;
        }
        File::open(folder)?.sync_all()
    }

    fn write_named(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = self.root.join(TEMPORARY);
        self.make_folder(&folder)?;
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let temporary = folder.join(format!("{:016x}", u64::from_ne_bytes(random)));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(&temporary, flags, OBJECT_MODE)?.into();
        let written = direct::write_all(&file, content)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::hard_link(&temporary, path));
        let removed = fs::remove_file(&temporary);
        written.and(removed)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if self.was_there.load(Ordering::Relaxed) && !self.root.is_dir() {
            return Err(io::Error::new(ErrorKind::NotFound, "the directory of the store is gone"));
        }
        make_folder(folder)
    }

    fn list_folder(&self, folder: &Path, prefix: &str, found: &mut Vec<Object>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}/{name}")) else {
                continue;
            };
            if entry.file_type()?.is_dir() {
                self.list_folder(&entry.path(), &name, found)?;
                continue;
            }
            let Ok(key) = name.parse() else { continue };
            match entry.metadata() {
                Ok(about) if about.is_file() => {
                    found.push(Object { key, size: about.len(), modified: about.modified()? })
                }
                Ok(_) => {}
                // Deleted between the two looks: a listing of this moment need not have it.
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }
}

/// Make `folder` and what is missing above it, durably and for the owner alone.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut missing = vec![];
    let mut above = folder;
    while !above.is_dir() {
        missing.push(above);
        match above.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => above = parent,
            _ => break,
        }
    }
    for folder in missing.into_iter().rev() {
        match rustix::fs::mkdir(folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// False where the system does not let us name the file: the named road then does it.
fn write_nameless(file: File, path: &Path, content: &[u8]) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    direct::write_all(&file, content)?;
    file.sync_all()?;
    // open(2), O_TMPFILE: the direct way needs Linux 6.10 or a capability, the other one a readable /proc/self/fd.
    let direct = linkat(&file, "", CWD, path, AtFlags::EMPTY_PATH);
    let linked = direct.or_else(|errno| match errno {
        Errno::EXIST => Err(errno),
        _ => linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, path, AtFlags::SYMLINK_FOLLOW),
    });
    match linked {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => Ok(false),
    }
}

impl Store for LocalStore {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.write_object(&self.path(key), content).map_err(|cause| match cause.kind() {
            // A missing folder while writing is a broken place, not a missing object.
            ErrorKind::NotFound => {
                StoreError::Io { action: "write", key: key.to_string(), place: self.location(), cause }
            }
            _ => self.error("write", key.as_str(), cause),
        })
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut read = || -> io::Result<()> {
            let file = File::open(self.path(key))?;
            let (offset, len) = match range {
                Range::All => (0, file.metadata()?.len()),
                Range::Bytes { offset, len } => (offset, len),
            };
            let len = usize::try_from(len).map_err(io::Error::other)?;
            if into.len() > len {
                into.truncate(len);
            }
            into.resize(len, 0);
            file.read_exact_at(into, offset)
        };
        let read = read().map_err(|cause| self.error("read", key.as_str(), cause));
        if read.is_ok() {
            self.was_there.store(true, Ordering::Relaxed);
        }
        read
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let mut found = vec![];
        match self.list_folder(&self.root.join(prefix), prefix, &mut found) {
            Err(cause) if cause.kind() == ErrorKind::NotFound && !self.root.join(prefix).exists() => {
                Ok(vec![])
            }
            Err(cause) => {
                Err(StoreError::Io { action: "list", key: prefix.to_owned(), place: self.location(), cause })
            }
            Ok(()) => Ok(found),
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match fs::remove_file(self.path(key)) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                Err(self.error("delete", key.as_str(), cause))
            }
            _ => Ok(()),
        }
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let root = tempfile::tempdir().unwrap();
        crate::conformance::run(&LocalStore::new(root.path().join("deep/er")));
        crate::conformance::odd_names_are_kept_as_they_are(&LocalStore::new(root.path().join("odd")));
    }

    #[test]
    fn a_directory_that_is_gone_is_not_made_anew_by_whoever_has_read_there() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("repository");
        let store = LocalStore::new(&root);
        let key: Key = "wal/1/one".parse().unwrap();
        store.put_new(&key, b"one").unwrap();
        crate::store::read(&store, &key).unwrap();
        fs::rename(&root, place.path().join("away")).unwrap();
        let error = store.put_new(&"wal/1/two".parse().unwrap(), b"two").unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert!(!root.exists(), "what is written there is lost");
    }

    #[test]
    fn the_named_road_conforms_where_nameless_files_are_missing() {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::new(root.path());
        let path = root.path().join("object");
        store.write_named(&path, b"one").unwrap();
        assert_eq!(store.write_named(&path, b"two").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(root.path().join(TEMPORARY)).unwrap().count(), 0);
    }

    #[test]
    fn objects_are_private_and_read_only() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::new(root.path().join("repository"));
        store.put_new(&"keys/one".parse().unwrap(), b"x").unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("repository"), mode("repository/keys"), mode("repository/keys/one")),
            (0o700, 0o700, 0o400)
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_says_so() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"").unwrap();
        let store = LocalStore::new(root.path().join("file"));
        let error = store.put_new(&"config".parse().unwrap(), b"x").unwrap_err();
        assert!(matches!(error, StoreError::Io { action: "write", .. }), "{error}");
    }
}
