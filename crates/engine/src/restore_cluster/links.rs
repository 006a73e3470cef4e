//! The links of a chain, walked as one tree: the newest says what there is, older ones what its increments rest on.
//!
//! Form: `chain/00/…` is a complete base backup, each later one an increment; in the last one a file `INCREMENTAL.<name>`
//! is the changed pages of `<name>`, which is in the link before, whole or as an increment too. Invariant: a file comes
//! with all versions down to a whole one, or the walk is an error: nothing was written for it by then.

use std::collections::HashMap;

use files::relative::RelativePath;
use model::digest::Digest;
use model::entry::Entry;
use pg::incremental::PREFIX;
use repo::RepoError;
use repo::node::Node;

use crate::cluster_manifest::{CHAIN, link_name};
use crate::error::Result;
use crate::stored_tree::TreeSource;

/// What the walk meets.
pub(super) enum Met {
    /// A directory begins; the data directory itself has the empty path.
    Enter { path: RelativePath, entry: Box<Entry> },
    /// A file.
    File(Draft),
    /// A link, or the like.
    Special { path: RelativePath, entry: Box<Entry> },
    /// The directory that was entered last, and not left yet, ends.
    Leave,
}

/// A file, and where its pages are.
pub(super) struct Draft {
    /// Below the data directory, under its own name.
    pub(super) path: RelativePath,
    /// Newest first: increments, and one that is whole at the end.
    pub(super) versions: Vec<Node>,
}

impl Draft {
    /// Whether pages of several links make it.
    pub(super) fn is_merged(&self) -> bool {
        self.versions.len() > 1
    }

    /// Bytes that it has at most.
    pub(super) fn len_max(&self) -> u64 {
        self.versions.iter().map(|version| version.entry.metadata.size).sum()
    }
}

/// The links of a snapshot, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Links(Vec<Node>);

impl Links {
    /// Find them in the tree of a snapshot.
    pub(super) fn find(trees: &mut TreeSource<'_>, root: &Digest) -> Result<Self> {
        let damaged = |reason: &str| RepoError::damaged(format!("tree {root}"), reason);
        let nodes = trees.load(root)?;
        let chain =
            nodes.into_iter().find(|node| node.entry.name == CHAIN.as_bytes()).and_then(|node| node.subtree);
        let links = trees.load(&chain.ok_or_else(|| damaged("has no directory chain"))?)?;
        let is_named = |(number, link): (usize, &Node)| {
            link.entry.name == link_name(number).as_bytes() && link.subtree.is_some()
        };
        if links.is_empty() || !links.iter().enumerate().all(is_named) {
            return Err(damaged("has a chain in which a link is missing").into());
        }
        Ok(Self(links))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A file of the newest link, by its path there.
    pub(super) fn newest_file(&self, trees: &mut TreeSource<'_>, path: &str) -> Result<Option<Node>> {
        let mut node = self.0.last().cloned();
        for name in path.split('/') {
            let Some(tree) = node.and_then(|node| node.subtree) else { return Ok(None) };
            node = trees.load(&tree)?.into_iter().find(|node| node.entry.name == name.as_bytes());
        }
        Ok(node.filter(|node| node.entry.is_file()))
    }

    /// A file of the cluster, by its path, with all its versions.
    pub(super) fn draft(&self, trees: &mut TreeSource<'_>, path: &str) -> Result<Option<Draft>> {
        let whole = RelativePath::parse(path).map_err(|error| RepoError::damaged(path, error))?;
        let mut directories: Vec<Option<Digest>> = self.0.iter().rev().map(|link| link.subtree).collect();
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().unwrap_or_default().as_bytes();
        for part in parts {
            for directory in &mut directories {
                let nodes = directory.map(|tree| trees.load(&tree)).transpose()?.unwrap_or_default();
                let found = nodes.into_iter().find(|node| node.entry.name == part.as_bytes());
                *directory = found.and_then(|node| node.subtree);
            }
        }
        let newest = directories.remove(0).map(|tree| trees.load(&tree)).transpose()?.unwrap_or_default();
        let mut open =
            Open { path: whole.clone(), nodes: vec![].into_iter(), older: directories, loaded: None };
        let increment = [PREFIX.as_bytes(), name].concat();
        let is_it =
            |node: &&Node| node.entry.is_file() && (node.entry.name == name || node.entry.name == increment);
        let Some(node) = newest.iter().find(is_it) else { return Ok(None) };
        let mut versions = vec![node.clone()];
        if node.entry.name == increment {
            open.rest_on(name, &whole, &mut versions, trees)?;
        }
        Ok(Some(Draft { path: whole, versions }))
    }

    /// Walk over the newest link.
    pub(super) fn walk(&self) -> ChainWalk {
        let (newest, older) = self.0.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
        let older = older.iter().rev().map(|link| link.subtree).collect();
        ChainWalk { stack: vec![], start: newest.cloned().map(|newest| (newest, older)) }
    }
}

/// A directory on the way.
struct Open {
    path: RelativePath,
    nodes: std::vec::IntoIter<Node>,
    /// The same directory in the older links, newest first, where they have it.
    older: Vec<Option<Digest>>,
    /// What is in those, once somebody asked.
    loaded: Option<Vec<HashMap<Vec<u8>, Node>>>,
}

/// A walk under way, depth first.
pub(super) struct ChainWalk {
    stack: Vec<Open>,
    start: Option<(Node, Vec<Option<Digest>>)>,
}

impl ChainWalk {
    /// What comes next.
    pub(super) fn next(&mut self, trees: &mut TreeSource<'_>) -> Option<Result<Met>> {
        if let Some((newest, older)) = self.start.take() {
            return Some(self.enter(RelativePath::root(), newest, older, trees));
        }
        let open = self.stack.last_mut()?;
        let Some(node) = open.nodes.next() else {
            self.stack.pop();
            return Some(Ok(Met::Leave));
        };
        Some(self.meet(node, trees))
    }

    fn meet(&mut self, node: Node, trees: &mut TreeSource<'_>) -> Result<Met> {
        let Some(open) = self.stack.last_mut() else {
            return Err(RepoError::damaged("a tree", "ends").into());
        };
        let whole_name = node.entry.name.strip_prefix(PREFIX.as_bytes()).filter(|_| !open.older.is_empty());
        let name = whole_name.unwrap_or(&node.entry.name).to_vec();
        let path = open.path.join(&name).map_err(|error| RepoError::damaged("a tree", error))?;
        if node.subtree.is_some() {
            let older = open.older_of(&name, trees)?;
            return self.enter(path, node, older, trees);
        }
        if !node.entry.is_file() {
            return Ok(Met::Special { path, entry: Box::new(node.entry) });
        }
        let is_increment = whole_name.is_some();
        let mut versions = vec![node];
        if is_increment {
            open.rest_on(&name, &path, &mut versions, trees)?;
        }
        Ok(Met::File(Draft { path, versions }))
    }

    fn enter(
        &mut self,
        path: RelativePath,
        node: Node,
        older: Vec<Option<Digest>>,
        trees: &mut TreeSource<'_>,
    ) -> Result<Met> {
        let tree = node.subtree.ok_or_else(|| RepoError::damaged(path.to_string(), "is no directory"))?;
        let nodes = trees.load(&tree)?.into_iter();
        self.stack.push(Open { path: path.clone(), nodes, older, loaded: None });
        Ok(Met::Enter { path, entry: Box::new(node.entry) })
    }
}

impl Open {
    /// What is in this directory in the older links.
    fn loaded(&mut self, trees: &mut TreeSource<'_>) -> Result<&[HashMap<Vec<u8>, Node>]> {
        if self.loaded.is_none() {
            let mut all = vec![];
            for tree in &self.older {
                let nodes = tree.map(|tree| trees.load(&tree)).transpose()?.unwrap_or_default();
                all.push(nodes.into_iter().map(|node| (node.entry.name.clone(), node)).collect());
            }
            self.loaded = Some(all);
        }
        Ok(self.loaded.as_deref().unwrap_or_default())
    }

    /// The directory `name` in the older links.
    fn older_of(&mut self, name: &[u8], trees: &mut TreeSource<'_>) -> Result<Vec<Option<Digest>>> {
        let of = |nodes: &HashMap<_, Node>| nodes.get(name).and_then(|node| node.subtree);
        Ok(self.loaded(trees)?.iter().map(of).collect())
    }

    /// What the increments of `name` rest on, down to a whole version.
    fn rest_on(
        &mut self,
        name: &[u8],
        path: &RelativePath,
        versions: &mut Vec<Node>,
        trees: &mut TreeSource<'_>,
    ) -> Result<()> {
        let increment = [PREFIX.as_bytes(), name].concat();
        for nodes in self.loaded(trees)? {
            if let Some(whole) = nodes.get(name) {
                versions.push(whole.clone());
                return Ok(());
            }
            match nodes.get(&increment) {
                Some(earlier) => versions.push(earlier.clone()),
                None => break,
            }
        }
        Err(RepoError::damaged(path.to_string(), "has changed pages and no earlier version to put them into")
            .into())
    }
}
