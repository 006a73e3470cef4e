//! Everything that snapshots refer to: all trees below their roots, and all data that files in them name.
//!
//! Equal trees are read once. Several threads read, because a large repository has hundreds of thousands of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use model::cancel::CancelToken;
use model::digest::Digest;

use crate::blob::{BlobId, BlobKind};
use crate::error::{RepoError, Result};
use crate::index::{IdSet, Index};
use crate::opener::BlobOpener;
use crate::repository::Repository;
use crate::threads::cores;
use crate::tree;

/// What is referred to.
#[derive(Debug, Default)]
pub struct Reachable {
    /// Pieces of files.
    pub data: IdSet,
    /// Directories.
    pub trees: IdSet,
}

impl Reachable {
    /// Whether a blob is referred to.
    pub fn has(&self, kind: BlobKind, id: &BlobId) -> bool {
        match kind {
            BlobKind::Data => self.data.contains(id),
            BlobKind::Tree => self.trees.contains(id),
        }
    }
}

/// Something that a snapshot needs and that is not there or not sound.
#[derive(Debug)]
pub struct Broken {
    /// The snapshot through which it was found first.
    pub snapshot: Digest,
    /// Path of the file or directory inside it.
    pub path: String,
    /// The tree, where that is what cannot be read.
    pub tree: Option<BlobId>,
    /// Why.
    pub error: RepoError,
}

struct Visit {
    snapshot: Digest,
    path: String,
    tree: BlobId,
}

struct Walk<'a> {
    repository: &'a Repository,
    index: &'a Index,
    /// What is left out.
    seen: &'a Reachable,
    found: Mutex<Reachable>,
    broken: Mutex<Vec<Broken>>,
    /// Visits that are queued or under way; the walk ends when there are none.
    outstanding: AtomicUsize,
}

/// Collect what `roots` (snapshot, its tree) refer to, and what of it is broken.
///
/// # Errors
/// [`RepoError::Cancelled`] only; everything else is in the list.
pub fn collect(
    repository: &Repository,
    index: &Index,
    roots: &[(Digest, BlobId)],
    cancel: &CancelToken,
) -> Result<(Reachable, Vec<Broken>)> {
    collect_beyond(&Reachable::default(), repository, index, roots, cancel)
}

/// The same without what was `seen` before, or is reached through it alone.
///
/// # Errors
/// As [`collect`].
pub fn collect_beyond(
    seen: &Reachable,
    repository: &Repository,
    index: &Index,
    roots: &[(Digest, BlobId)],
    cancel: &CancelToken,
) -> Result<(Reachable, Vec<Broken>)> {
    let walk = Walk {
        repository,
        index,
        seen,
        found: Mutex::default(),
        broken: Mutex::default(),
        outstanding: AtomicUsize::new(0),
    };
    let (queue, queued) = unbounded();
    for (snapshot, tree) in roots {
        walk.enter(&queue, Visit { snapshot: *snapshot, path: String::new(), tree: *tree });
    }
    if walk.outstanding.load(Ordering::SeqCst) > 0 {
        std::thread::scope(|scope| {
            for _ in 0..cores() {
                let (queue, queued) = (queue.clone(), queued.clone());
                scope.spawn(|| walk.work(queue, queued, cancel));
            }
        });
    }
    cancel.check()?;
    Ok((
        walk.found.into_inner().unwrap_or_else(PoisonError::into_inner),
        walk.broken.into_inner().unwrap_or_else(PoisonError::into_inner),
    ))
}

impl Walk<'_> {
    /// Queue a tree that was not seen before.
    fn enter(&self, queue: &Sender<Option<Visit>>, visit: Visit) {
        if !self.seen.trees.contains(&visit.tree) && lock(&self.found).trees.insert(visit.tree) {
            self.outstanding.fetch_add(1, Ordering::SeqCst);
            drop(queue.send(Some(visit)));
        }
    }

    fn work(&self, queue: Sender<Option<Visit>>, queued: Receiver<Option<Visit>>, cancel: &CancelToken) {
        let mut opener = BlobOpener::new(self.repository.sealer()).ok();
        let mut stored = vec![];
        while let Ok(Some(visit)) = queued.recv() {
            if !cancel.is_cancelled() {
                let outcome = match &mut opener {
                    Some(opener) => self.visit(&visit, &queue, opener, &mut stored),
                    None => Err(RepoError::System("zstd got no memory".to_owned())),
                };
                if let Err(error) = outcome {
                    self.report(&visit, &visit.path, Some(visit.tree), error);
                }
            }
            if self.outstanding.fetch_sub(1, Ordering::SeqCst) == 1 {
                // The last one sends everybody home.
                (0..cores()).for_each(|_| drop(queue.send(None)));
            }
        }
    }

    fn visit(
        &self,
        visit: &Visit,
        queue: &Sender<Option<Visit>>,
        opener: &mut BlobOpener,
        stored: &mut Vec<u8>,
    ) -> Result<()> {
        let json = self.repository.open_blob(self.index, BlobKind::Tree, &visit.tree, opener, stored)?;
        let nodes = tree::decode(json, &format_args!("tree {}", visit.tree))?;
        for node in &nodes {
            let path = || format!("{}/{}", visit.path, crate::go_quote::quote(&node.entry.name));
            if let Err(error) =
                node.content.iter().try_for_each(|id| self.index.require(BlobKind::Data, id).map(drop))
            {
                self.report(visit, &path(), None, error);
            }
            if let Some(tree) = node.subtree {
                self.enter(queue, Visit { snapshot: visit.snapshot, path: path(), tree });
            }
        }
        let data = nodes.iter().flat_map(|node| node.content.iter().copied());
        lock(&self.found).data.extend(data.filter(|id| !self.seen.data.contains(id)));
        Ok(())
    }

    fn report(&self, visit: &Visit, path: &str, tree: Option<BlobId>, error: RepoError) {
        lock(&self.broken).push(Broken { snapshot: visit.snapshot, path: path.to_owned(), tree, error });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
