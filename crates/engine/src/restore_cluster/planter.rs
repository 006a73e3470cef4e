//! From the stored trees to windows: directories and links are made while the trees are walked, files are collected, what
//! is changed or comes last is held back.
//!
//! A directory's own metadata comes when everything in it is done, because whatever is made in it changes its times.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::atomic::Ordering;

use files::relative::RelativePath;
use files::target::Target;
use files::write::Existing;
use model::entry::{Entry, EntryKind, Metadata};
use pg::backup_manifest;
use pg::control_file::{CONTROL_FILE, without_checkpoint};
use repo::RepoError;

use super::carry_out::Restorer;
use super::links::{Draft, Met};
use super::order::Destination;
use super::selection::Selection;
use super::settle::{HeldBack, is_held_back, write};
use super::sites::locate;
use super::survey::content;
use super::window::{Located, Window};
use crate::error::Result;

/// Who may look into a data directory: its owner, and the group where the cluster was made so.
const MODES: [u32; 2] = [0o700, 0o750];

/// What makes a server recover, in this way or that.
const SIGNALS: [&str; 2] = ["standby.signal", "recovery.signal"];

/// A directory on the way.
struct Open {
    site: usize,
    path: RelativePath,
    entry: Entry,
    /// Names that stay, where everything else goes.
    kept: Option<HashSet<Vec<u8>>>,
}

/// The file that makes a server start.
pub(super) struct Control {
    path: RelativePath,
    bytes: Vec<u8>,
    metadata: Metadata,
}

impl Control {
    /// Write it, when all else is on disk.
    pub(super) fn write(self, restorer: Restorer<'_>) -> Result<()> {
        let Self { path, bytes, metadata } = self;
        let Some((folder, name)) = path.split() else { return Ok(()) };
        let folder = restorer.targets[0].directory(&folder)?;
        restorer.targets[0].write_whole_file(&folder, name, &bytes, &metadata, Existing::Replace)?;
        let (counts, len) = (restorer.counts, bytes.len() as u64);
        counts.files.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(len, Ordering::Relaxed);
        counts.bytes_written.fetch_add(len, Ordering::Relaxed);
        restorer.order.progress.advance(len);
        Ok(())
    }
}

/// Takes what the walk over the links meets.
pub(super) struct Planter<'a> {
    restorer: Restorer<'a>,
    destinations: &'a [Destination],
    selection: &'a Selection,
    links: usize,
    pub(super) window: Window,
    stack: Vec<Open>,
    /// Directories in which all is planned, deepest first.
    directories: Vec<(usize, RelativePath, Entry)>,
    held_back: HeldBack,
    control: Option<Located>,
}

impl<'a> Planter<'a> {
    pub(super) fn new(
        restorer: Restorer<'a>,
        destinations: &'a [Destination],
        selection: &'a Selection,
        links: usize,
    ) -> Self {
        let (window, held_back) = (Window::default(), HeldBack::default());
        let (stack, directories, control) = (vec![], vec![], None);
        Self { restorer, destinations, selection, links, window, stack, directories, held_back, control }
    }

    /// The next thing of the walk.
    pub(super) fn take(&mut self, met: Met) -> Result<()> {
        match met {
            Met::Enter { path, entry } => self.enter(&path, *entry),
            Met::File(draft) => self.file(draft),
            Met::Special { path, entry } => self.special(&path, *entry),
            Met::Leave => self.leave(),
        }
    }

    /// All files are there: settings and metadata. What remains is pg_control.
    pub(super) fn finish(self) -> Result<Control> {
        let Restorer { repository, index, order, targets, .. } = self.restorer;
        let damaged = |reason: &dyn Display| RepoError::damaged(CONTROL_FILE, reason);
        let located = self.control.ok_or_else(|| damaged(&"is not in the backup"))?;
        let node = &located.draft.versions[0];
        let stored = content(repository, index, node)?;
        let bytes = without_checkpoint(&stored).map_err(|error| damaged(&error))?;
        let settled = self.held_back.settled(order, self.destinations, self.links, &bytes)?;
        write(&targets[0], &settled)?;
        for (site, path, entry) in &self.directories {
            targets[*site].set_metadata(path, entry)?;
        }
        Ok(Control {
            path: located.path,
            bytes,
            metadata: Metadata { links: 1, ..node.entry.metadata.clone() },
        })
    }

    fn target(&self, site: usize) -> &'a Target {
        &self.restorer.targets[site]
    }

    fn is_occupied(&self, site: usize) -> bool {
        self.restorer.roots[site].is_some()
    }

    /// It belongs here.
    fn keep(&mut self, path: &RelativePath) {
        let kept = self.stack.last_mut().and_then(|open| open.kept.as_mut());
        if let (Some(kept), Some((_, name))) = (kept, path.split()) {
            kept.insert(name.to_vec());
        }
    }

    fn enter(&mut self, path: &RelativePath, mut entry: Entry) -> Result<()> {
        self.keep(path);
        self.restorer.order.owners.settle(&mut entry.metadata);
        let (site, below) = locate(self.destinations, path);
        let is_space = site > 0 && below.is_root();
        if is_space {
            self.link(path, site, &entry)?;
        } else if !below.is_root() {
            self.make_directory(site, &below)?;
        }
        if below.is_root() && !MODES.contains(&(entry.metadata.mode & 0o777)) {
            entry.metadata.mode = MODES[0];
        }
        // In the place of a tablespace a cluster of another version may have a directory of its own.
        let kept = (self.is_occupied(site) && !is_space).then(HashSet::new);
        self.stack.push(Open { site, path: below, entry, kept });
        Ok(())
    }

    /// The link to a tablespace, in the data directory.
    fn link(&self, path: &RelativePath, site: usize, directory: &Entry) -> Result<()> {
        if self.is_occupied(0) {
            self.target(0).remove_tree(path)?;
        }
        let place = std::os::unix::ffi::OsStrExt::as_bytes(self.destinations[site].place.as_os_str());
        let mut link = directory.clone();
        link.kind = EntryKind::Symlink { target: place.to_vec() };
        link.metadata.xattrs.clear();
        Ok(self.target(0).create_special(path, &link)?)
    }

    fn make_directory(&self, site: usize, path: &RelativePath) -> Result<()> {
        let target = self.target(site);
        if self.is_occupied(site) {
            let found = target.look_at(path, &self.restorer.order.owners)?;
            if found.is_some_and(|found| !found.is_dir()) {
                target.remove_tree(path)?;
            }
            target.create_dir(path)?;
            target.remove_abandoned(path);
            return Ok(());
        }
        Ok(target.create_dir(path)?)
    }

    fn leave(&mut self) -> Result<()> {
        let Some(Open { site, path, entry, kept }) = self.stack.pop() else { return Ok(()) };
        if let Some(kept) = kept {
            let target = self.target(site);
            for extraneous in target.extraneous(&path, |name| kept.contains(name))? {
                target.remove_tree(&extraneous)?;
                self.restorer.counts.deleted.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.directories.push((site, path, entry));
        Ok(())
    }

    fn special(&mut self, path: &RelativePath, mut entry: Entry) -> Result<()> {
        if entry.kind == EntryKind::Socket {
            return Ok(());
        }
        self.keep(path);
        self.restorer.order.owners.settle(&mut entry.metadata);
        let (site, below) = locate(self.destinations, path);
        if self.is_occupied(site) {
            self.target(site).remove_tree(&below)?;
        }
        Ok(self.target(site).create_special(&below, &entry)?)
    }

    fn file(&mut self, mut draft: Draft) -> Result<()> {
        let Restorer { repository, index, order, .. } = self.restorer;
        for node in &mut draft.versions {
            order.owners.settle(&mut node.entry.metadata);
        }
        // A standby was backed up: whether this becomes one is asked of this restore.
        if SIGNALS.iter().any(|name| draft.path.as_bytes() == name.as_bytes()) {
            return Ok(());
        }
        let is_untrue = self.links > 1 || !self.selection.names().is_empty();
        if is_untrue && draft.path.as_bytes() == backup_manifest::NAME.as_bytes() {
            // It tells of increments, and not of what is made of them; or of files that are zeros here.
            return Ok(());
        }
        self.keep(&draft.path);
        if is_held_back(&draft.path) && !draft.is_merged() {
            let node = &draft.versions[0];
            let mut metadata = node.entry.metadata.clone();
            metadata.links = 1;
            self.held_back.put(&draft.path, content(repository, index, node)?, metadata);
            return Ok(());
        }
        let (site, path) = locate(self.destinations, &draft.path);
        let is_control = draft.path.as_bytes() == CONTROL_FILE.as_bytes();
        let is_zeros = self.selection.is_zeros(&draft.path);
        let file = Located { site, path, draft, is_zeros };
        match is_control {
            true => self.control = Some(file),
            false => self.window.push(file),
        }
        Ok(())
    }
}
