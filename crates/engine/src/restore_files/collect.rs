//! From the stored trees to windows: directories, links and devices are made while the trees are walked, files are
//! collected.
//!
//! A directory's own metadata comes when everything in it is done, because whatever is made in it changes its times.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use files::compare::{Comparison, compare};
use files::error::Error as FilesError;
use files::exclude::Excludes;
use files::relative::RelativePath;
use files::root::Root;
use files::target::Target;
use model::entry::{Entry, EntryKind};
use repo::index::Index;
use repo::node::Node;

use super::order::{Counts, Notice, RestoreOrder};
use super::window::{FilePlan, Window};
use crate::error::Result;
use crate::stored_tree::Stored;

/// Where to restore to.
pub(super) struct Place {
    /// None while nothing is there and nothing may be made.
    pub(super) target: Option<Target>,
    /// To look at what is there already; `None` where nothing is.
    pub(super) existing: Option<Arc<Root>>,
}

/// A directory on the way.
struct Open {
    entry: Option<Box<Entry>>,
    /// Names that stay, where everything else goes.
    kept: Option<Vec<Vec<u8>>>,
    /// Its metadata is wanted too.
    is_ours: bool,
}

/// Takes what the walk over the stored trees meets.
pub(super) struct Collector<'a> {
    pub(super) place: &'a Place,
    pub(super) order: &'a RestoreOrder<'a>,
    pub(super) index: &'a Index,
    pub(super) counts: &'a Counts,
    /// What the backup left out is not its to remove.
    pub(super) excludes: Excludes,
    pub(super) window: Window,
    stack: Vec<Open>,
    /// Things with several names, by device and inode: the first one.
    first_names: HashMap<(u64, u64), RelativePath>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        place: &'a Place,
        order: &'a RestoreOrder<'a>,
        index: &'a Index,
        counts: &'a Counts,
        excludes: Excludes,
    ) -> Self {
        let (window, first_names) = (Window::default(), HashMap::new());
        Self { place, order, index, counts, excludes, window, stack: vec![], first_names }
    }

    /// The next thing of the walk.
    ///
    /// # Errors
    /// Only what makes going on useless.
    pub(super) fn take(&mut self, stored: Stored) -> Result<()> {
        self.order.cancel.check()?;
        let (path, outcome) = match stored {
            Stored::Enter { path, mut entry, is_whole } => {
                entry.iter_mut().for_each(|entry| self.order.owners.settle(&mut entry.metadata));
                let outcome = self.enter(&path, entry, is_whole);
                (path, outcome)
            }
            Stored::Leave { path } => {
                let outcome = self.leave(&path);
                (path, outcome)
            }
            Stored::Broken { path, error } => (path, Err(error)),
            Stored::Entry { path, mut node } => {
                self.order.owners.settle(&mut node.entry.metadata);
                let outcome = self.entry(&path, *node);
                (path, outcome)
            }
        };
        outcome.or_else(|error| self.counts.problem(self.order, &path, error))
    }

    /// What is at `path` now.
    fn found(&self, path: &RelativePath) -> Result<Option<Entry>> {
        match (&self.place.target, &self.place.existing) {
            (Some(target), Some(_)) => Ok(target.look_at(path, &self.order.owners)?),
            _ => Ok(None),
        }
    }

    /// The target, unless nothing may be changed.
    fn target(&self) -> Option<&Target> {
        self.place.target.as_ref().filter(|_| !self.order.dry_run)
    }

    fn keep(&mut self, path: &RelativePath) {
        let kept = self.stack.last_mut().and_then(|open| open.kept.as_mut());
        if let (Some(kept), Some((_, name))) = (kept, path.split()) {
            kept.push(name.to_vec());
        }
    }

    fn enter(&mut self, path: &RelativePath, entry: Option<Box<Entry>>, is_whole: bool) -> Result<()> {
        self.keep(path);
        let kept = (self.order.delete && is_whole).then(Vec::new);
        self.stack.push(Open { entry, kept, is_ours: true });
        let found = if path.is_root() { None } else { self.found(path)? };
        let is_there = path.is_root() || found.as_ref().is_some_and(Entry::is_dir);
        if let (true, Some(target), Some(_)) = (is_there, self.target(), &self.place.existing) {
            target.remove_abandoned(path);
        }
        if let Some(found) = &found {
            if found.is_dir() {
                // On the way to what was asked for: it stays as it is.
                self.stack.last_mut().expect("just pushed").is_ours = is_whole;
                return Ok(());
            }
            self.overwrite(path)?;
        }
        match self.target() {
            Some(target) => Ok(target.create_dir(path)?),
            None => Ok(()),
        }
    }

    fn leave(&mut self, path: &RelativePath) -> Result<()> {
        let Some(Open { entry, kept, is_ours }) = self.stack.pop() else { return Ok(()) };
        if let Some(entry) = entry.filter(|_| is_ours) {
            self.window.directories.push((path.clone(), *entry));
        }
        match kept {
            Some(kept) => self.delete_extraneous(path, &kept),
            None => Ok(()),
        }
    }

    fn delete_extraneous(&self, dir: &RelativePath, kept: &[Vec<u8>]) -> Result<()> {
        let (Some(target), Some(_)) = (&self.place.target, &self.place.existing) else { return Ok(()) };
        if !self.found(dir)?.is_some_and(|found| found.is_dir()) {
            return Ok(());
        }
        // Collected in the order of the trees, which is that of the bytes.
        let is_kept = |name: &[u8]| kept.binary_search_by(|kept| kept[..].cmp(name)).is_ok();
        for path in target.extraneous(dir, is_kept)? {
            let is_dir = self.found(&path)?.is_some_and(|found| found.is_dir());
            if self.excludes.is_excluded(&path, is_dir) {
                continue;
            }
            self.counts.deleted.fetch_add(1, Ordering::Relaxed);
            (self.order.tell)(&Notice::Deletes(path.clone()));
            if let Some(target) = self.target() {
                target.remove_tree(&path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &RelativePath, node: Node) -> Result<()> {
        self.keep(path);
        let Node { entry, content, .. } = node;
        self.counts.bytes.fetch_add(entry.metadata.size, Ordering::Relaxed);
        if let Some(first) = self.first_name(path, &entry) {
            return self.link(path, first);
        }
        if entry.is_file() {
            let file = FilePlan::new(path.clone(), entry, content, self.index)?;
            self.window.push(file);
            return Ok(());
        }
        self.special(path, &entry)
    }

    /// The first name of the same thing, if this is another one.
    fn first_name(&mut self, path: &RelativePath, entry: &Entry) -> Option<RelativePath> {
        if entry.metadata.links < 2 {
            return None;
        }
        let key = (entry.metadata.device_id, entry.metadata.inode);
        let first = self.first_names.entry(key).or_insert_with(|| path.clone());
        (first != path).then(|| first.clone())
    }

    fn link(&mut self, path: &RelativePath, first: RelativePath) -> Result<()> {
        let found = self.found(path)?;
        let same = |one: &Entry, other: &Entry| {
            (one.metadata.inode, one.metadata.device_id) == (other.metadata.inode, other.metadata.device_id)
        };
        // If the first name gets a new file, the window sees it and links again.
        match (&found, self.found(&first)?) {
            (Some(found), Some(first)) if same(found, &first) => {
                self.counts.unchanged.fetch_add(1, Ordering::Relaxed);
            }
            (Some(_), _) => self.overwrite(path)?,
            (None, _) => _ = self.counts.created.fetch_add(1, Ordering::Relaxed),
        }
        self.window.links.push((path.clone(), first));
        Ok(())
    }

    fn special(&mut self, path: &RelativePath, entry: &Entry) -> Result<()> {
        if entry.kind == EntryKind::Socket {
            self.counts.sockets.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let found = self.found(path)?;
        match compare(found.as_ref(), entry) {
            Comparison::Same | Comparison::MetadataDiffers => {
                self.counts.unchanged.fetch_add(1, Ordering::Relaxed);
                return match self.target() {
                    Some(target) => Ok(target.set_metadata(path, entry)?),
                    None => Ok(()),
                };
            }
            Comparison::Missing => _ = self.counts.created.fetch_add(1, Ordering::Relaxed),
            Comparison::ContentsDiffer | Comparison::OtherKind => self.overwrite(path)?,
        }
        match self.target() {
            Some(target) => Ok(target.create_special(path, entry)?),
            None => Ok(()),
        }
    }

    /// Something else is in the way.
    fn overwrite(&self, path: &RelativePath) -> Result<(), FilesError> {
        self.counts.overwritten.fetch_add(1, Ordering::Relaxed);
        (self.order.tell)(&Notice::Overwrites(path.clone()));
        self.target().map_or(Ok(()), |target| target.remove_tree(path))
    }
}
