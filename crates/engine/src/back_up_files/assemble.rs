//! Trees from nodes: each directory is saved when all in it is, and becomes a node of the one above.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use files::origin::Origin;
use files::read::Steadiness;
use files::relative::RelativePath;
use model::cancel::CancelToken;
use model::entry::Entry;
use model::progress::Progress;
use repo::BlobKind;
use repo::blob::PLAIN_LEN_MAX;
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
    origin: Arc<dyn Origin>,
    tell: &'a (dyn Fn(&str) + Sync),
    progress: Progress,
    cancel: CancelToken,
    open: Vec<(Entry, TreeWriter)>,
    /// Bytes of one tree at most.
    tree_len_max: usize,
    done: Assembled,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        hand: Hand,
        origin: Arc<dyn Origin>,
        tell: &'a (dyn Fn(&str) + Sync),
        (progress, cancel): (Progress, CancelToken),
    ) -> Self {
        let (open, done) = (vec![], Assembled::default());
        Self { hand, origin, tell, progress, cancel, open, tree_len_max: PLAIN_LEN_MAX, done }
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
                    self.push(Node { entry, content: vec![], subtree: Some(subtree) })?;
                }
            }
            Item::Node(node, is_unmodified) => {
                self.done.counts.unmodified += u64::from(is_unmodified);
                self.push(*node)?;
            }
            Item::File { path, name, is_new, promise } => match &*promise.wait() {
                Outcome::Stopped => return Err(EngineError::Cancelled(model::cancel::Cancelled)),
                Outcome::Unreadable(words) => self.problem(words),
                Outcome::Read(file) => {
                    if let Some(words) = unsteady(file) {
                        let path = self.origin.full(&path);
                        self.problem(&format!("{} {words} while it was read", path.display()));
                    }
                    let counts = &mut self.done.counts;
                    *(if is_new { &mut counts.new } else { &mut counts.changed }) += 1;
                    let mut entry = Entry { name, ..file.entry.clone() };
                    entry.metadata.atime = entry.metadata.mtime;
                    self.push(Node { entry, content: file.content.clone(), subtree: None })?;
                }
            },
            Item::Problem(words) => self.problem(&words),
        }
        Ok(())
    }

    /// Into the directory that is open. One that is too long for a tree stops the backup: it could never be read.
    fn push(&mut self, node: Node) -> Result<()> {
        self.progress.item();
        self.done.size += node.entry.metadata.size;
        let Some((_, tree)) = self.open.last_mut() else {
            self.done.top = Some(node);
            return Ok(());
        };
        tree.push(&node);
        match tree.len() <= self.tree_len_max {
            true => Ok(()),
            false => {
                Err(EngineError::DirectoryTooLong { path: self.open_path(), bytes_max: self.tree_len_max })
            }
        }
    }

    fn open_path(&self) -> PathBuf {
        let names = self.open.iter().skip(1).map(|(entry, _)| OsStr::from_bytes(&entry.name));
        self.origin.full(&RelativePath::root()).iter().chain(names).collect()
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use files::exclude::Excludes;
    use files::owner::Owners;
    use files::walk::Event;
    use model::secret::Secret;
    use repo::index::Index;
    use repo::repository::{FileKind, Repository};
    use repo::saver::{SaveOptions, Saver};
    use store::memory::MemoryStore;

    use super::*;

    /// The items of a walk over `path` without files.
    fn items(path: &Path) -> (Arc<dyn Origin>, Vec<Item>) {
        let opened = files::here::open(path, Excludes::nothing(), Arc::new(Owners::default())).unwrap();
        let item = |event| match event {
            Event::Enter { entry, .. } => Item::Enter(Box::new(entry)),
            Event::Leave { .. } => Item::Leave,
            Event::Entry { entry, .. } => {
                Item::Node(Box::new(Node { entry, content: vec![], subtree: None }), false)
            }
            Event::Problem { error, .. } => panic!("{error}"),
        };
        (opened.origin, opened.walk.map(item).collect())
    }

    #[test]
    fn a_directory_too_long_for_a_tree_is_named_and_nothing_is_made_of_it() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        for number in 0..100 {
            std::os::unix::fs::symlink("x", deep.join(number.to_string())).unwrap();
        }
        let password = Secret::new("p".repeat(64));
        let repository = Repository::init(Arc::new(MemoryStore::new()), &password, "u", "h").unwrap();
        let repository = Arc::new(repository);
        let run = |tree_len_max| {
            let saver =
                Saver::start(&repository, &Arc::new(Index::default()), SaveOptions::default()).unwrap();
            let (origin, items) = items(place.path());
            let both = (Progress::new(), CancelToken::new());
            let mut assembler = Assembler::new(saver.hand().unwrap(), origin, &|_| (), both);
            assembler.tree_len_max = tree_len_max;
            let (send, receive) = crossbeam_channel::unbounded();
            send.send(items).unwrap();
            drop(send);
            let assembled = assembler.run(&receive);
            saver.finish().unwrap();
            assembled
        };
        let error = run(10_000).err().unwrap().to_string();
        assert!(error.contains(deep.to_str().unwrap()) && error.contains("10000"), "{error}");
        assert!(repository.list(FileKind::Pack).unwrap().is_empty(), "no tree of it is stored");
        assert!(run(PLAIN_LEN_MAX).unwrap().top.is_some());
    }
}
