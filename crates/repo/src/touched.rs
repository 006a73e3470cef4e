//! Which files of which snapshots a loss touches: every one of them, not only the first that was found.
//!
//! Two passes, so that a loss in one tree that a thousand snapshots share costs one read: first each tree learns
//! whether anything below it is lost, then each snapshot follows only those trees.

use std::collections::HashMap;

use model::cancel::CancelToken;
use model::digest::Digest;

use crate::blob::{BlobId, BlobKind};
use crate::error::{RepoError, Result};
use crate::go_quote::quote;
use crate::index::{IdMap, Index};
use crate::node::Node;
use crate::repository::Repository;
use crate::tree;

/// Files that are named at most; beyond it they are only counted.
pub const NAMED_MAX: usize = 10_000;

/// A file or directory that cannot be restored whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The snapshot.
    pub snapshot: Digest,
    /// Path inside it, quoted as in trees.
    pub path: String,
    /// What it lacks.
    pub reason: String,
}

/// What is lost of a tree: of its own files, and below it.
struct Seen {
    /// Names of files that lack something, with the reason.
    files: Vec<(String, String)>,
    /// Directories with a loss below them, or that are lost themselves.
    directories: Vec<(String, BlobId)>,
    /// Why the tree itself cannot be read.
    lost: Option<String>,
}

impl Seen {
    fn is_touched(&self) -> bool {
        self.lost.is_some() || !self.files.is_empty() || !self.directories.is_empty()
    }
}

enum Step {
    Enter(BlobId),
    Leave(BlobId, Seen, Vec<(String, BlobId)>),
}

/// Looks for lost blobs in trees.
struct Search<'a> {
    repository: &'a Repository,
    index: &'a Index,
    unsound: &'a dyn Fn(BlobKind, &BlobId) -> bool,
    seen: IdMap<Seen>,
}

/// Every file below `roots` (snapshot, its tree) that needs a blob which is in no index or is `unsound`, and how many
/// there are in all; [`NAMED_MAX`] of them are named.
///
/// # Errors
/// [`RepoError::Cancelled`], or what the store says of anything but damage.
pub fn touched(
    repository: &Repository,
    index: &Index,
    roots: &[(Digest, BlobId)],
    unsound: &dyn Fn(BlobKind, &BlobId) -> bool,
    cancel: &CancelToken,
) -> Result<(Vec<Touched>, usize)> {
    let mut search = Search { repository, index, unsound, seen: HashMap::default() };
    for (_, tree) in roots {
        search.look_below(*tree, cancel)?;
    }
    let (mut named, mut count) = (vec![], 0);
    for (snapshot, tree) in roots {
        search.follow(snapshot, *tree, &mut |found| {
            count += 1;
            if named.len() < NAMED_MAX {
                named.push(found);
            }
        });
    }
    Ok((named, count))
}

impl Search<'_> {
    fn look_below(&mut self, root: BlobId, cancel: &CancelToken) -> Result<()> {
        let mut steps = vec![Step::Enter(root)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(id) if self.seen.contains_key(&id) => {}
                Step::Enter(id) => {
                    cancel.check()?;
                    let (seen, below) = self.look(&id)?;
                    let enter: Vec<_> = below.iter().map(|(_, tree)| Step::Enter(*tree)).collect();
                    steps.push(Step::Leave(id, seen, below));
                    steps.extend(enter);
                }
                Step::Leave(id, mut seen, below) => {
                    let is_touched = |tree: &BlobId| self.seen.get(tree).is_some_and(Seen::is_touched);
                    seen.directories = below.into_iter().filter(|(_, tree)| is_touched(tree)).collect();
                    self.seen.insert(id, seen);
                }
            }
        }
        Ok(())
    }

    /// What one tree says, and the trees below it.
    fn look(&self, id: &BlobId) -> Result<(Seen, Vec<(String, BlobId)>)> {
        let mut seen = Seen { files: vec![], directories: vec![], lost: None };
        let nodes = match self.nodes(id) {
            Ok(nodes) => nodes,
            Err(error) if error.is_damage() => {
                seen.lost = Some(error.to_string());
                return Ok((seen, vec![]));
            }
            Err(error) => return Err(error),
        };
        let mut below = vec![];
        for node in &nodes {
            let name = || quote(&node.entry.name);
            if let Some(reason) = self.lack(node) {
                seen.files.push((name(), reason));
            }
            below.extend(node.subtree.map(|tree| (name(), tree)));
        }
        Ok((seen, below))
    }

    fn nodes(&self, id: &BlobId) -> Result<Vec<Node>> {
        if (self.unsound)(BlobKind::Tree, id) {
            return Err(RepoError::damaged(format!("tree {id}"), "is damaged in every copy"));
        }
        tree::decode(&self.repository.read_blob(self.index, BlobKind::Tree, id)?, &format_args!("tree {id}"))
    }

    /// What a file lacks: its first lost blob, and how many there are.
    fn lack(&self, node: &Node) -> Option<String> {
        let is_missing = |id: &BlobId| self.index.require(BlobKind::Data, id).is_err();
        let is_lost = |id: &&BlobId| is_missing(id) || (self.unsound)(BlobKind::Data, id);
        let first = node.content.iter().find(is_lost)?;
        let count = node.content.iter().filter(is_lost).count();
        let what = if is_missing(first) { "is in no index" } else { "is damaged" };
        Some(format!("{count} of its {} blobs are lost: blob {first} {what}", node.content.len()))
    }

    fn follow(&self, snapshot: &Digest, root: BlobId, tell: &mut dyn FnMut(Touched)) {
        let mut queue = vec![(String::new(), root)];
        while let Some((path, id)) = queue.pop() {
            let Some(seen) = self.seen.get(&id) else { continue };
            let below = |name: &str| format!("{path}/{name}");
            if let Some(reason) = &seen.lost {
                tell(Touched { snapshot: *snapshot, path: format!("{path}/"), reason: reason.clone() });
            }
            for (name, reason) in &seen.files {
                tell(Touched { snapshot: *snapshot, path: below(name), reason: reason.clone() });
            }
            queue.extend(seen.directories.iter().map(|(name, tree)| (below(name), *tree)));
        }
    }
}
