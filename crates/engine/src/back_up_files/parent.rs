//! The snapshot that a backup is compared with, so that files as they were need not be read again.
//!
//! A file is as it was if size, times, change time and inode are, and if it did not change so shortly before the parent
//! was made that a later change may bear the same time. Then its pieces must still be in the index.

use files::origin::Origin;
use jiff::{SignedDuration, Timestamp};
use model::digest::Digest;
use model::entry::Entry;
use repo::index::Index;
use repo::node::Node;
use repo::repository::FileKind;
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, RepoError, Repository};

use crate::error::Result;
use crate::stored_tree::{Subject, TreeSource, locate};
use crate::writing::{Order, Writing};

/// The newest snapshot of the same source, or of the same path by whomever. Where nothing but size and time tells files
/// from each other, the path has to be the same in any case. One that cannot be read is no parent.
///
/// # Errors
/// When the store cannot list or read.
pub(super) fn find(
    repository: &Repository,
    order: &Order,
    origin: &dyn Origin,
) -> Result<Option<(Digest, SnapshotFile)>> {
    let (tenant, source) = (order.tenant.as_str(), order.source.as_str());
    let mut listed = repository.list(FileKind::Snapshot)?;
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.modified));
    for listed in listed {
        let snapshot = match repository.load_snapshot(&listed.id) {
            Ok(snapshot) => snapshot,
            Err(error) if error.is_damage() => continue,
            Err(RepoError::Store(error)) if error.is_not_found() => continue,
            Err(error) => return Err(error.into()),
        };
        let is_source = snapshot.tag("kind") == Some("directory")
            && (snapshot.tag("tenant"), snapshot.tag("source")) == (Some(tenant), Some(source));
        let is_path = snapshot.paths == [origin.name()];
        let is_ours = snapshot.hostname == order.identity.hostname;
        if (is_source && (origin.knows_files() || is_path)) || (is_path && is_ours) {
            return Ok(Some((listed.id, snapshot)));
        }
    }
    Ok(None)
}

/// What the parent knows of a file.
pub(super) enum Known {
    /// Nothing.
    New,
    /// Another state of it.
    Changed,
    /// This state; these are its pieces.
    Unmodified(Vec<Digest>),
}

/// Walks the parent beside the walk over the directory.
pub(super) struct Parent<'a> {
    trees: TreeSource<'a>,
    index: &'a Index,
    writing: &'a Writing,
    /// Changes after this are not to be trusted.
    trusted_until: Timestamp,
    subject: Option<Subject>,
    stack: Vec<std::iter::Peekable<std::vec::IntoIter<Node>>>,
}

impl<'a> Parent<'a> {
    /// `snapshot` as the parent; without one everything is new, and so is what changed within `doubt` before it. A parent that cannot be read is no parent. Its trees
    /// may lie in packs that prune has `marked`: they stay as long as we hold a lease, and are stored anew.
    pub(super) fn open(
        writing: &'a Writing,
        snapshot: Option<&SnapshotFile>,
        doubt: SignedDuration,
    ) -> Result<Self> {
        let Writing { repository, index, marked, .. } = writing;
        let mut trees = TreeSource::new(repository, index)?.and(marked);
        let subject = snapshot.and_then(|snapshot| locate(&mut trees, snapshot).ok());
        trees.take_damaged().iter().for_each(|(tree, why)| writing.distrust(tree, *why));
        let began = |snapshot: &SnapshotFile| {
            let start = snapshot.summary.as_ref().map_or(snapshot.time, |summary| summary.backup_start);
            snapshot.time.min(start) - doubt
        };
        let trusted_until = snapshot.map_or(Timestamp::MIN, began);
        Ok(Self { trees, index, writing, trusted_until, subject, stack: vec![] })
    }

    /// The walk enters a directory.
    pub(super) fn enter(&mut self, name: &[u8]) {
        let tree = match self.stack.is_empty() {
            true => match self.subject.take() {
                Some(Subject::Directory { tree, .. }) => Some(tree),
                _ => None,
            },
            false => self.take(name).and_then(|node| node.subtree),
        };
        // What cannot be read is read from the directory again, and stored again where the same tree comes of it.
        let nodes = tree.and_then(|tree| self.trees.load(&tree).ok()).unwrap_or_default();
        self.trees.take_damaged().iter().for_each(|(tree, why)| self.writing.distrust(tree, *why));
        self.stack.push(nodes.into_iter().peekable());
    }

    /// The walk leaves the directory that it entered last.
    pub(super) fn leave(&mut self) {
        self.stack.pop();
    }

    /// What is known of a file in the present directory. Ask in the order of the names.
    pub(super) fn look_up(&mut self, entry: &Entry) -> Known {
        let node = match (self.stack.is_empty(), &self.subject) {
            (true, Some(Subject::Single(node))) if node.entry.name == entry.name => Some((**node).clone()),
            _ => self.take(&entry.name),
        };
        match node {
            None => Known::New,
            Some(node) if self.is_unmodified(&node, entry) => Known::Unmodified(node.content),
            Some(_) => Known::Changed,
        }
    }

    fn take(&mut self, name: &[u8]) -> Option<Node> {
        let nodes = self.stack.last_mut()?;
        while nodes.next_if(|node| &node.entry.name[..] < name).is_some() {}
        nodes.next_if(|node| node.entry.name == name)
    }

    fn is_unmodified(&self, node: &Node, entry: &Entry) -> bool {
        let (was, is) = (&node.entry.metadata, &entry.metadata);
        // Not found, or not to be found out: then the file is read.
        let length = |id| {
            let place = self.index.find(BlobKind::Data, id).ok()??;
            self.writing.saver.trusts(&place).then(|| u64::from(place.plain_length()))
        };
        node.entry.is_file()
            && (was.size, was.mtime, was.ctime, was.inode) == (is.size, is.mtime, is.ctime, is.inode)
            && is.ctime < self.trusted_until
            && node.content.iter().map(length).sum::<Option<u64>>() == Some(is.size)
    }
}
