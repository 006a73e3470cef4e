//! Trees from nodes: each directory is saved when all in it is, and becomes a node of the one above.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use files::read::Steadiness;
use files::root::Root;
use model::cancel::CancelToken;
use model::entry::Entry;
use model::progress::Progress;
use repo::BlobKind;
use repo::node::Node;
use repo::saver::Hand;
use repo::tree::TreeWriter;

use super::choose::Item;
use super::promise::{Outcome, ReadFile};
use crate::error::{EngineError, Result};
use crate::writing::FileCounts;

/// What was assembled.
#[derive(Default)]
pub(super) struct Assembled {
    /// The root of the walk.
    pub(super) top: Option<Node>,
    /// Files.
    pub(super) counts: FileCounts,
    /// Their bytes.
    pub(super) size: u64,
    /// Things that were told of.
    pub(super) problems: u64,
}

/// Builds trees from the bottom up.
pub(super) struct Assembler<'a> {
    hand: Hand,
    root: Arc<Root>,
    tell: &'a (dyn Fn(&str) + Sync),
    progress: Progress,
    cancel: CancelToken,
    open: Vec<(Entry, TreeWriter)>,
    done: Assembled,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        hand: Hand,
        root: Arc<Root>,
        tell: &'a (dyn Fn(&str) + Sync),
        (progress, cancel): (Progress, CancelToken),
    ) -> Self {
        Self { hand, root, tell, progress, cancel, open: vec![], done: Assembled::default() }
    }

    /// Assemble until no more items come.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub(super) fn run(mut self, items: &Receiver<Vec<Item>>) -> Result<Assembled> {
        for batch in items {
            self.cancel.check()?;
            for item in batch {
                self.take(item)?;
            }
        }
        Ok(self.done)
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Enter(entry) => self.open.push((*entry, TreeWriter::default())),
            Item::Leave => {
                if let Some((entry, tree)) = self.open.pop() {
                    let subtree = self.hand.save(BlobKind::Tree, &tree.finish())?.id;
                    self.push(Node { entry, content: vec![], subtree: Some(subtree) });
                }
            }
            Item::Node(node, is_unmodified) => {
                self.done.counts.unmodified += u64::from(is_unmodified);
                self.push(*node);
            }
            Item::File { path, name, is_new, promise } => match &*promise.wait() {
                Outcome::Stopped => return Err(EngineError::Cancelled(model::cancel::Cancelled)),
                Outcome::Unreadable(words) => self.problem(words),
                Outcome::Read(file) => {
                    if let Some(words) = unsteady(file) {
                        let path = self.root.path().join(path.as_path());
                        self.problem(&format!("{} {words} while it was read", path.display()));
                    }
                    let counts = &mut self.done.counts;
                    *(if is_new { &mut counts.new } else { &mut counts.changed }) += 1;
                    let mut entry = Entry { name, ..file.entry.clone() };
                    entry.metadata.atime = entry.metadata.mtime;
                    self.push(Node { entry, content: file.content.clone(), subtree: None });
                }
            },
            Item::Problem(words) => self.problem(&words),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.progress.item();
        self.done.size += node.entry.metadata.size;
        match self.open.last_mut() {
            Some((_, tree)) => tree.push(&node),
            None => self.done.top = Some(node),
        }
    }

    fn problem(&mut self, words: &str) {
        self.done.problems += 1;
        (self.tell)(words);
    }
}

fn unsteady(file: &ReadFile) -> Option<&'static str> {
    match file.steadiness {
        Steadiness::Unchanged => None,
        Steadiness::Changed => Some("changed"),
        Steadiness::Shrank { .. } => Some("became shorter"),
        Steadiness::Grew { .. } => Some("became longer"),
    }
}
