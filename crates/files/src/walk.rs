//! Walk a directory depth first, every directory's names in the order of their bytes, as a stream of events.
//!
//! Nothing is dropped silently: what cannot be read or vanished is an event of its own. Every entry is looked at relative
//! to its open directory, so that a directory swapped for a link meanwhile leads nowhere.
//!
//! A root that is a symbolic link is refused, because a backup of a link in place of what it points to looks fine until
//! the restore; with a slash at its end the kernel follows it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::entry::Entry;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, openat, readlinkat, statx};

use crate::beneath;
use crate::error::Error;
use crate::exclude::{CACHE_TAG, Excludes};
use crate::listing::{DIRECTORY, LISTING_BYTES, OpenDirectory, is_cache, list, open_directory};
use crate::metadata::{At, Identity, Inspected, describe, device_of, stat_at, stat_open};
use crate::owner::Owners;
use crate::relative::RelativePath;
use crate::root::Root;
use crate::xattr::Bearer;

/// Directories kept open at once; those above are closed and opened again on the way back.
const OPEN_DEPTH_MAX: usize = 128;

/// What a walk meets.
#[derive(Debug)]
pub enum Event {
    /// A directory begins; the root has the empty path.
    Enter {
        /// Path below the root.
        path: RelativePath,
        /// The directory itself.
        entry: Entry,
    },
    /// Anything that is not a directory.
    Entry {
        /// Path below the root.
        path: RelativePath,
        /// What is there.
        entry: Entry,
    },
    /// The directory that was entered last, and not left yet, ends.
    Leave {
        /// Path below the root.
        path: RelativePath,
    },
    /// Something, or a part of it, cannot be backed up.
    Problem {
        /// Path below the root.
        path: RelativePath,
        /// Why.
        error: Error,
    },
}

/// A walk in progress: an iterator over events.
pub struct Walk {
    root: Arc<Root>,
    device: u64,
    excludes: Excludes,
    owners: Arc<Owners>,
    excluded: u64,
    stack: Vec<Directory>,
    /// Events that are due before the walk goes on, last first.
    due: Vec<Event>,
    list: Vec<u8>,
    listing: Vec<u8>,
}

/// A directory on the way.
struct Directory {
    path: RelativePath,
    identity: Identity,
    open: Option<OpenDirectory>,
    names: std::vec::IntoIter<(Vec<u8>, FileType)>,
}

impl Walk {
    /// Walk what is at `root`: a directory with all below it, or one single other thing, which then has its own name
    /// as its path and no directory around it.
    pub fn open(root: &Path, excludes: Excludes, owners: Arc<Owners>) -> Result<Self, Error> {
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        let stat = statx(CWD, root, no_follow, StatxFlags::BASIC_STATS)
            .map_err(|e| Error::io("look at", root, e))?;
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        if kind == FileType::Symlink {
            let target = readlinkat(CWD, root, Vec::new()).map_err(|e| Error::io("read link", root, e))?;
            let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
            return Err(Error::RootIsSymlink { path: root.to_path_buf(), target });
        }
        let (start, single) = match (kind, root.parent(), root.file_name()) {
            (FileType::Directory, ..) | (_, None, _) | (_, _, None) => (root, None),
            (_, Some(parent), Some(name)) if parent.as_os_str().is_empty() => (Path::new("."), Some(name)),
            (_, Some(parent), Some(name)) => (parent, Some(name)),
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, start, flags, Mode::empty()).map_err(|e| Error::io("open", start, e))?;
        let mut walk = Self {
            root: Arc::new(Root { fd, path: start.to_path_buf() }),
            device: device_of(&stat),
            excludes,
            owners,
            excluded: 0,
            stack: Vec::new(),
            due: Vec::new(),
            list: Vec::new(),
            listing: Vec::with_capacity(LISTING_BYTES),
        };
        match single {
            Some(name) => walk.begin_with_single(name.as_bytes())?,
            None => walk.begin_with_directory(root)?,
        }
        Ok(walk)
    }

    /// The directory that readers open files in.
    pub fn root(&self) -> Arc<Root> {
        Arc::clone(&self.root)
    }

    /// How many entries the excludes left out so far (what lies below them is not counted).
    pub fn excluded(&self) -> u64 {
        self.excluded
    }

    fn begin_with_single(&mut self, name: &[u8]) -> Result<(), Error> {
        let path = RelativePath::root().child(name);
        let fd = self.root.fd.try_clone().map_err(|e| Error::io("open", &self.root.path, e))?;
        let mut dir = OpenDirectory::new(fd, &self.root.path);
        let found = dir
            .look_at(name.to_vec(), &mut self.list, &self.owners)
            .map_err(|e| Error::io("look at", self.root.full(&path), e))?;
        self.due_with_attributes(path.clone(), found.xattr_error);
        self.due.push(Event::Entry { path, entry: found.entry });
        Ok(())
    }

    fn begin_with_directory(&mut self, given: &Path) -> Result<(), Error> {
        let named = |path: &Path| path.file_name().map(|name| name.as_bytes().to_vec());
        let canonical = || std::fs::canonicalize(given).ok().as_deref().and_then(named);
        let name = named(given).or_else(canonical).unwrap_or_else(|| b"root".to_vec());
        let fd = self.root.fd.try_clone().map_err(|e| Error::io("open", given, e))?;
        let found = stat_open(fd.as_fd()).and_then(|stat| {
            let scratch = (Bearer::Open(fd.as_fd()), &mut self.list);
            Ok((Identity::of(&stat), describe(&stat, name, At::Itself(fd.as_fd()), scratch, &self.owners)?))
        });
        let (identity, found) = found.map_err(|e| Error::io("look at", given, e))?;
        let path = RelativePath::root();
        self.enter(path.clone(), identity, Some(fd));
        self.due_with_attributes(path.clone(), found.xattr_error);
        self.due.push(Event::Enter { path, entry: found.entry });
        Ok(())
    }

    fn due_with_attributes(&mut self, path: RelativePath, error: Option<std::io::Error>) {
        if let Some(source) = error {
            let error = Error::io("read extended attributes of", self.root.full(&path), source);
            self.due.push(Event::Problem { path, error });
        }
    }

    /// Push a directory with its names; `None` has none (it could not be opened, or is left out).
    fn enter(&mut self, path: RelativePath, identity: Identity, fd: Option<OwnedFd>) {
        let mut names = Vec::new();
        if let Some(fd) = &fd {
            if let Err(error) = list(fd.as_fd(), &mut self.listing, &mut names) {
                let error = Error::listed("list", self.root.full(&path), error);
                self.due.push(Event::Problem { path: path.clone(), error });
            }
            if self.excludes.exclude_caches && is_cache(fd.as_fd(), &names) {
                let all = names.len();
                names.retain(|(name, _)| name == CACHE_TAG);
                self.excluded += (all - names.len()) as u64;
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let open = fd.map(|fd| OpenDirectory::new(fd, &self.root.full(&path)));
        self.stack.push(Directory { path, identity, open, names: names.into_iter() });
        if let Some(above) = self.stack.len().checked_sub(OPEN_DEPTH_MAX + 1) {
            self.stack[above].open = None;
        }
    }

    /// One more name of the directory on top. `None`: nothing to tell about it.
    fn visit(&mut self, name: Vec<u8>, listed_as: FileType) -> Option<Event> {
        let dir = self.stack.last_mut()?;
        let path = dir.path.child(&name);
        let known = listed_as != FileType::Unknown;
        if known && self.excludes.is_excluded(&path, listed_as == FileType::Directory) {
            self.excluded += 1;
            return None;
        }
        let open = match dir.reopened(&self.root) {
            Ok(open) => open,
            Err(error) => {
                dir.names = Vec::new().into_iter();
                return Some(Event::Problem { path: dir.path.clone(), error });
            }
        };
        let found = match open.look_at(name, &mut self.list, &self.owners) {
            // It went between two questions about it.
            Ok(Inspected { xattr_error: Some(error), .. }) if error.kind() == ErrorKind::NotFound => {
                return Some(Event::Problem { error: Error::Vanished { path: self.root.full(&path) }, path });
            }
            Ok(found) => found,
            Err(error) => {
                let error = Error::listed("look at", self.root.full(&path), error);
                return Some(Event::Problem { path, error });
            }
        };
        let is_dir = found.entry.is_dir();
        if !known && self.excludes.is_excluded(&path, is_dir) {
            self.excluded += 1;
            return None;
        }
        if is_dir {
            return Some(self.visit_directory(path, found));
        }
        self.due_with_attributes(path.clone(), found.xattr_error);
        Some(Event::Entry { path, entry: found.entry })
    }

    fn visit_directory(&mut self, path: RelativePath, found: Inspected) -> Event {
        let name = &found.entry.name;
        let elsewhere = self.excludes.one_file_system && found.entry.metadata.device_id != self.device;
        let parent = self
            .stack
            .last()
            .and_then(|dir| dir.open.as_ref())
            .map_or(self.root.as_fd(), |open| open.fd.as_fd());
        let opened = if elsewhere { Ok(None) } else { open_directory(parent, name).map(Some) };
        let opened = opened.and_then(|fd| match fd {
            None => stat_at(parent, name).map(|stat| (Identity::of(&stat), None)),
            Some(fd) => stat_open(fd.as_fd()).map(|stat| (Identity::of(&stat), Some(fd))),
        });
        self.excluded += u64::from(elsewhere);
        match opened {
            Ok((identity, fd)) => self.enter(path.clone(), identity, fd),
            Err(error) => {
                self.due.push(Event::Leave { path: path.clone() });
                let error = Error::listed("open", self.root.full(&path), error);
                self.due.push(Event::Problem { path: path.clone(), error });
            }
        }
        self.due_with_attributes(path.clone(), found.xattr_error);
        Event::Enter { path, entry: found.entry }
    }
}

impl Iterator for Walk {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.due.pop() {
                return Some(event);
            }
            match self.stack.last_mut()?.names.next() {
                Some((name, listed_as)) => {
                    if let Some(event) = self.visit(name, listed_as) {
                        return Some(event);
                    }
                }
                None => {
                    let path = self.stack.pop()?.path;
                    return Some(Event::Leave { path });
                }
            }
        }
    }
}

impl Directory {
    /// The open directory, opened again if it was closed because the walk went deep.
    fn reopened(&mut self, root: &Root) -> Result<&mut OpenDirectory, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let full = root.full(&self.path);
                let fd = beneath::open(root.as_fd(), &self.path, DIRECTORY);
                let fd = fd.map_err(|e| Error::listed("open", &full, e))?;
                let stat = stat_open(fd.as_fd()).map_err(|e| Error::io("look at", &full, e))?;
                if Identity::of(&stat) != self.identity {
                    return Err(Error::Replaced { path: full });
                }
                OpenDirectory::new(fd, &full)
            }
        };
        Ok(self.open.insert(open))
    }
}
