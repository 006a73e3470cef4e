//! The trees of a snapshot: where a backed-up path lies in them, and a walk over all below it.
//!
//! Invariant: a tree that cannot be read is an event of the walk, named by its path, and the rest goes on.

use files::relative::RelativePath;
use model::digest::Digest;
use model::entry::Entry;
use repo::broken::Why;
use repo::index::Index;
use repo::node::Node;
use repo::opener::BlobOpener;
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, RepoError, Repository, tree};

use crate::error::{EngineError, Result};

/// Reads trees, with buffers that are reused.
pub struct TreeSource<'a> {
    repository: &'a Repository,
    indexes: Vec<&'a Index>,
    opener: BlobOpener,
    stored: Vec<u8>,
    damaged: Vec<(Digest, Why)>,
}

impl<'a> TreeSource<'a> {
    /// Trees of `repository`.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new(repository: &'a Repository, index: &'a Index) -> Result<Self> {
        let opener = BlobOpener::new(repository.sealer())?;
        Ok(Self { repository, indexes: vec![index], opener, stored: vec![], damaged: vec![] })
    }

    /// The same, with trees that only `index` knows.
    #[must_use]
    pub fn and(mut self, index: &'a Index) -> Self {
        self.indexes.push(index);
        self
    }

    /// The first index that knows a tree.
    fn index_of(&self, id: &Digest) -> Result<Option<&'a Index>> {
        for index in self.indexes.iter().copied() {
            if index.has(BlobKind::Tree, id)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The nodes of one tree.
    ///
    /// # Errors
    /// Damage, or a missing tree.
    pub fn load(&mut self, id: &Digest) -> Result<Vec<Node>> {
        let index = self.index_of(id)?.ok_or(RepoError::MissingBlob { id: *id })?;
        let Self { repository, opener, stored, .. } = self;
        let opened = repository.open_blob(index, BlobKind::Tree, id, opener, stored);
        let nodes = opened.and_then(|json| tree::decode(json, &format_args!("tree {id}")));
        if let Some(error) = nodes.as_ref().err().filter(|error| error.is_damage()) {
            self.damaged.push((*id, Why::of(error)));
        }
        Ok(nodes?)
    }

    /// Trees that turned out to be damaged since this was asked last, each with what that says of its pack.
    pub fn take_damaged(&mut self) -> Vec<(Digest, Why)> {
        std::mem::take(&mut self.damaged)
    }
}

/// What a snapshot is of.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A directory; its own metadata is missing where the snapshot is of several paths, or of `/`.
    Directory {
        /// The directory itself.
        entry: Option<Box<Entry>>,
        /// What is in it.
        tree: Digest,
    },
    /// One thing that is no directory.
    Single(Box<Node>),
}

/// Find in `snapshot` the path that was backed up: the tree holds every directory from the root of the file system on,
/// or (by restic, for a path that was relative) from some directory on the way.
///
/// # Errors
/// Damage to one of these trees.
pub fn locate(trees: &mut TreeSource<'_>, snapshot: &SnapshotFile) -> Result<Subject> {
    let parts: Vec<&str> = match &snapshot.paths[..] {
        [path] => path.split('/').filter(|part| !part.is_empty()).collect(),
        _ => vec![],
    };
    for start in 0..parts.len() {
        if let Some(subject) = descend(trees, &snapshot.tree, &parts[start..])? {
            return Ok(subject);
        }
    }
    Ok(Subject::Directory { entry: None, tree: snapshot.tree })
}

/// Every directory on the way to one path holds that one name alone.
fn descend(trees: &mut TreeSource<'_>, root: &Digest, parts: &[&str]) -> Result<Option<Subject>> {
    let mut tree = *root;
    for (depth, part) in parts.iter().enumerate() {
        let nodes = trees.load(&tree)?;
        let Ok([node]) = <[Node; 1]>::try_from(nodes) else { return Ok(None) };
        // Paths of a snapshot are text, names are bytes.
        if String::from_utf8_lossy(&node.entry.name) != *part {
            return Ok(None);
        }
        let is_last = depth + 1 == parts.len();
        match node.subtree {
            Some(subtree) if is_last => {
                return Ok(Some(Subject::Directory { entry: Some(Box::new(node.entry)), tree: subtree }));
            }
            Some(subtree) => tree = subtree,
            None if is_last => return Ok(Some(Subject::Single(Box::new(node)))),
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// What a walk over stored trees meets.
#[derive(Debug)]
pub enum Stored {
    /// A directory begins; the first one has the empty path, and no entry where nothing is known of it.
    Enter {
        /// Below the subject.
        path: RelativePath,
        /// The directory itself.
        entry: Option<Box<Entry>>,
        /// Whether all that was backed up in it follows, and not only a part that was asked for.
        is_whole: bool,
    },
    /// Anything but a directory.
    Entry {
        /// Below the subject.
        path: RelativePath,
        /// What it is, and its pieces.
        node: Box<Node>,
    },
    /// The directory that was entered last, and not left yet, ends.
    Leave {
        /// Below the subject.
        path: RelativePath,
    },
    /// A directory's tree cannot be read; `Enter` and `Leave` come nevertheless.
    Broken {
        /// Below the subject.
        path: RelativePath,
        /// Why.
        error: EngineError,
    },
}

/// A walk under way, in the order of the trees: depth first, names by their bytes.
pub struct StoredWalk {
    stack: Vec<(RelativePath, std::vec::IntoIter<Node>)>,
    due: Vec<Stored>,
    only: Vec<RelativePath>,
    start: Option<Subject>,
}

impl StoredWalk {
    /// Walk over all of `subject`, or over the paths of `only` (with the directories that lead there).
    pub fn new(subject: Subject, only: Vec<RelativePath>) -> Self {
        Self { stack: vec![], due: vec![], only, start: Some(subject) }
    }

    /// What comes next.
    pub fn next(&mut self, trees: &mut TreeSource<'_>) -> Option<Stored> {
        match self.start.take() {
            Some(Subject::Directory { entry, tree }) => {
                return Some(self.enter(RelativePath::root(), entry, &tree, trees));
            }
            Some(Subject::Single(node)) => {
                self.stack.push((RelativePath::root(), vec![*node].into_iter()));
                return Some(Stored::Enter { path: RelativePath::root(), entry: None, is_whole: false });
            }
            None => {}
        }
        loop {
            if let Some(due) = self.due.pop() {
                return Some(due);
            }
            let (dir, nodes) = self.stack.last_mut()?;
            let Some(node) = nodes.next() else {
                let (path, _) = self.stack.pop()?;
                return Some(Stored::Leave { path });
            };
            // Names of a decoded tree are plain.
            let Ok(path) = dir.join(&node.entry.name) else { continue };
            if !self.is_wanted(&path) {
                continue;
            }
            return Some(match node.subtree {
                Some(tree) => self.enter(path, Some(Box::new(node.entry)), &tree, trees),
                None => Stored::Entry { path, node: Box::new(node) },
            });
        }
    }

    fn enter(
        &mut self,
        path: RelativePath,
        entry: Option<Box<Entry>>,
        tree: &Digest,
        trees: &mut TreeSource<'_>,
    ) -> Stored {
        let nodes = trees.load(tree).unwrap_or_else(|error| {
            self.due.push(Stored::Broken { path: path.clone(), error });
            vec![]
        });
        let is_whole = self.due.is_empty() && self.is_whole(&path);
        self.stack.push((path.clone(), nodes.into_iter()));
        Stored::Enter { path, entry, is_whole }
    }

    fn is_whole(&self, path: &RelativePath) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| path.is_within(only))
    }

    /// Whether `path` was asked for, or leads there.
    fn is_wanted(&self, path: &RelativePath) -> bool {
        self.is_whole(path) || self.only.iter().any(|only| only.is_within(path))
    }
}
