//! The directory that a restore writes into: nothing that is done through it touches anything outside.
//!
//! Every path is opened beneath the open root, without following any link. The order of a restore: directories, then
//! files, links and devices in them, then hard links, then [`Target::set_metadata`] of the directories, deepest first,
//! then [`Target::sync`].

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::entry::{Entry, EntryKind, Metadata};
use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, mknodat, symlinkat, syncfs, unlinkat};
use rustix::io::Errno;

use crate::apply::apply_pinned;
use crate::beneath;
use crate::compare::{Comparison, compare};
use crate::directories::{DirHandle, Directories};
use crate::error::Error;
use crate::listing::DIRECTORY;
use crate::losses::Loss;
use crate::metadata::{At, describe, is_kind, stat_at, stat_open};
use crate::owner::Owners;
use crate::partial;
use crate::relative::RelativePath;
use crate::remove::{names, remove_tree};
use crate::site::{Existing, Site};
use crate::write::{FileWriter, Space};
use crate::xattr::{Bearer, proc_path};

/// An open restore target; clones are the same one.
#[derive(Clone, Debug)]
pub struct Target(Arc<Site>);

impl Target {
    /// Open the directory, made if it is not there (with its parents).
    pub fn create(root: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(root).map_err(|e| Error::io("create", root, e))?;
        Self::open(root)
    }

    /// Open a directory that is there.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self(Site::open(Directories::open(root)?)))
    }

    /// The open directory at `path`.
    pub fn directory(&self, path: &RelativePath) -> Result<DirHandle, Error> {
        self.0.directories.get(path)
    }

    /// Make a directory for the owner only; one that is there already is fine. Anything else there is in the way: the
    /// caller decides whether to remove it first.
    pub fn create_dir(&self, path: &RelativePath) -> Result<(), Error> {
        let Some(_) = path.split() else { return Ok(()) };
        let (dir, name) = self.0.directories.parent(path)?;
        match dir.writing(|fd| mkdirat(fd, name, Mode::RWXU)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => match dir.pin(name).and_then(|pinned| Directories::kind_of(&pinned)) {
                Ok(FileType::Directory) => Ok(()),
                _ => Err(Error::InTheWay { path: self.0.directories.full(path) }),
            },
            Err(error) => Err(self.error("create", path, error)),
        }
    }

    /// Make a file that will have `size` bytes, written in pieces.
    pub fn create_file(
        &self,
        path: &RelativePath,
        size: u64,
        space: Space,
        existing: Existing,
    ) -> Result<FileWriter, Error> {
        FileWriter::create(&self.0, path, size, space, existing)
    }

    /// Write into the file that is there. Refused if it has other hard links, which may lie outside.
    pub fn open_file(&self, path: &RelativePath, size: u64) -> Result<FileWriter, Error> {
        FileWriter::open(&self.0, path, size)
    }

    /// Make, write and finish a file in one call: the fast way for small ones.
    pub fn write_whole_file(
        &self,
        parent: &DirHandle,
        name: &[u8],
        contents: &[u8],
        metadata: &Metadata,
        existing: Existing,
    ) -> Result<(), Error> {
        self.0.write_whole(parent, name, contents, metadata, existing)
    }

    /// Make what has neither contents nor children (symbolic link, pipe, device), with its metadata.
    pub fn create_special(&self, path: &RelativePath, entry: &Entry) -> Result<(), Error> {
        let (dir, name) = self.0.directories.parent(path)?;
        let private = Mode::RUSR | Mode::WUSR;
        let node = |kind, device| dir.writing(|fd| mknodat(fd, name, kind, private, device));
        let made = match &entry.kind {
            EntryKind::Symlink { target } => dir.writing(|fd| symlinkat(&target[..], fd, name)),
            EntryKind::Fifo => node(FileType::Fifo, 0),
            EntryKind::CharDevice { device } => node(FileType::CharacterDevice, *device),
            EntryKind::BlockDevice { device } => node(FileType::BlockDevice, *device),
            EntryKind::Socket => {
                return Err(Error::SocketNotRestored { path: self.0.directories.full(path) });
            }
            EntryKind::File | EntryKind::Directory => {
                return Err(Error::OtherKind { path: self.0.directories.full(path) });
            }
        };
        let is_device = matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        match made {
            Err(Errno::PERM) if is_device => {
                return Err(Error::DeviceNotPermitted { path: self.0.directories.full(path) });
            }
            outcome => outcome.map_err(|e| self.error("create", path, e))?,
        }
        self.set_metadata(path, entry)
    }

    /// Give a file that was restored one more name.
    pub fn create_hard_link(&self, existing: &RelativePath, path: &RelativePath) -> Result<(), Error> {
        let (from, old_name) = self.0.directories.parent(existing)?;
        let (to, new_name) = self.0.directories.parent(path)?;
        let outcome = to.writing(|fd| linkat(from.fd(), old_name, fd, new_name, AtFlags::empty()));
        outcome.map_err(|e| self.error("create", path, e))
    }

    /// Owner, mode, attributes and times. For a directory: after everything in it. Refused for what has more names than
    /// `entry` knows of, because they may lie outside.
    pub fn set_metadata(&self, path: &RelativePath, entry: &Entry) -> Result<(), Error> {
        let full = self.0.directories.full(path);
        let pinned = match path.split() {
            None => self.0.directories.root().pin(b"."),
            Some((parent, name)) => self.0.directories.get(&parent)?.pin(name),
        };
        let pinned = pinned.map_err(|e| self.error("open", path, e))?;
        let stat = stat_open(pinned.as_fd()).map_err(|e| self.error("look at", path, e))?;
        if !is_kind(&stat, &entry.kind) {
            return Err(Error::OtherKind { path: full });
        }
        if !entry.is_dir() && u64::from(stat.stx_nlink) > entry.metadata.links.max(1) {
            return Err(Error::Linked { path: full });
        }
        apply_pinned(pinned.as_fd(), &entry.metadata, &full, &self.0.losses)
    }

    /// What is at `path`, if anything. A link or file on the way is nothing.
    pub fn look_at(&self, path: &RelativePath, owners: &Owners) -> Result<Option<Entry>, Error> {
        let opened = match path.split() {
            None => self.0.directories.root().pin(b".").map_err(|e| self.error("open", path, e)),
            Some((parent, name)) => self
                .0
                .directories
                .get(&parent)
                .and_then(|dir| dir.pin(name).map_err(|e| self.error("open", path, e))),
        };
        let pinned = match opened {
            Ok(pinned) => pinned,
            Err(Error::InTheWay { .. }) => return Ok(None),
            Err(error) if error.kind() == Some(std::io::ErrorKind::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = path.split().map_or_else(|| b"root".to_vec(), |(_, name)| name.to_vec());
        let proc = proc_path(pinned.as_fd());
        let found = stat_open(pinned.as_fd()).and_then(|stat| {
            let bearer = (Bearer::Pinned(&proc), &mut Vec::new());
            describe(&stat, name, At::Itself(pinned.as_fd()), bearer, owners)
        });
        found.map(|found| Some(found.entry)).map_err(|e| self.error("look at", path, e))
    }

    /// Whether `path` has what `wanted` describes.
    pub fn compare(&self, path: &RelativePath, wanted: &Entry) -> Result<Comparison, Error> {
        Ok(compare(self.look_at(path, &Owners::default())?.as_ref(), wanted))
    }

    /// Names in a directory that are not to be kept, in order.
    pub fn extraneous(
        &self,
        dir: &RelativePath,
        is_kept: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<RelativePath>, Error> {
        // A descriptor of our own: handles share their place in the listing.
        let handle = self.0.directories.get(dir)?;
        let own = beneath::open(handle.fd(), &RelativePath::root(), DIRECTORY);
        let mut names = own.and_then(|own| names(own.as_fd())).map_err(|e| self.error("list", dir, e))?;
        names.retain(|name| !is_kept(name));
        names.sort_unstable();
        Ok(names.iter().map(|name| dir.child(name)).collect())
    }

    /// Remove from a directory what killed restores left unfinished. It is only litter: where it cannot be removed, it
    /// stays.
    pub fn remove_abandoned(&self, dir: &RelativePath) {
        let Ok(handle) = self.0.directories.get(dir) else { return };
        let Ok(own) = beneath::open(handle.fd(), &RelativePath::root(), DIRECTORY) else { return };
        for name in names(own.as_fd()).unwrap_or_default() {
            let modified = || {
                let stat = stat_at(own.as_fd(), &name).ok()?;
                let seconds = u64::try_from(stat.stx_mtime.tv_sec).ok()?;
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            };
            if partial::is_abandoned(&name, modified) {
                handle.writing(|fd| unlinkat(fd, &name[..], AtFlags::empty())).ok();
            }
        }
    }

    /// Remove what is at `path` with all below it; that there is nothing is fine.
    pub fn remove_tree(&self, path: &RelativePath) -> Result<(), Error> {
        let (dir, name) = self.0.directories.parent(path)?;
        self.0.directories.forget(path);
        remove_tree(&dir, name).map_err(|e| self.error("remove", path, e))
    }

    /// Wait until everything is on disk.
    pub fn sync(&self) -> Result<(), Error> {
        let root = self.0.directories.root();
        syncfs(root.fd()).map_err(|e| self.error("sync", &RelativePath::root(), e))
    }

    /// Metadata that could not be restored since the last call, one per kind.
    pub fn take_losses(&self) -> Vec<Loss> {
        self.0.losses.take()
    }

    fn error(&self, action: &'static str, path: &RelativePath, error: Errno) -> Error {
        self.0.directories.error(action, path, error)
    }
}
