//! What to do with each thing that the walk meets: read it, or take it as the parent has it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use files::relative::RelativePath;
use files::walk::Event;
use model::entry::Entry;
use model::progress::Progress;
use repo::node::Node;

use super::Failure;
use super::content::words;
use super::parent::{Known, Parent};
use super::promise::Promise;

/// Things that go through a channel together: a wake-up for each would cost more than the thing itself.
pub(super) const BATCH: usize = 64;
/// Batches that wait between two stages; with [`BATCH`] the bound of everything under way.
pub(super) const BATCHES_WAITING: usize = 64;

/// A file to read.
pub(super) struct Job {
    pub(super) path: RelativePath,
    pub(super) walked: Entry,
    pub(super) promise: Arc<Promise>,
}

/// What the assembler takes, in the order of the walk.
pub(super) enum Item {
    /// A directory begins.
    Enter(Box<Entry>),
    /// A node that is complete; `true` for a file as the parent has it.
    Node(Box<Node>, bool),
    /// A file that is being read.
    File { path: RelativePath, name: Vec<u8>, is_new: bool, promise: Arc<Promise> },
    /// The directory that began last ends.
    Leave,
    /// Something could not be looked at.
    Problem(String),
}

/// Between walk, readers and assembler.
pub(super) struct Chooser<'a> {
    parent: Parent<'a>,
    jobs: Sender<Job>,
    items: Sender<Vec<Item>>,
    batch: Vec<Item>,
    failure: &'a Failure,
    progress: Progress,
    /// Files with several names that were met and have names left: read once.
    linked: HashMap<(u64, u64), (Arc<Promise>, u64)>,
}

/// Nobody takes any more: the backup stops, and somebody else says why.
pub(super) struct Stopped;

impl<'a> Chooser<'a> {
    pub(super) fn new(
        parent: Parent<'a>,
        (jobs, items): (Sender<Job>, Sender<Vec<Item>>),
        failure: &'a Failure,
        progress: Progress,
    ) -> Self {
        Self { parent, jobs, items, batch: vec![], failure, progress, linked: HashMap::new() }
    }

    /// Choose until the walk ends.
    pub(super) fn run(mut self, events: &Receiver<Vec<Event>>) -> Result<(), Stopped> {
        for event in events.iter().flatten() {
            self.choose(event)?;
        }
        self.send()
    }

    fn choose(&mut self, event: Event) -> Result<(), Stopped> {
        let item = match event {
            Event::Enter { mut entry, .. } => {
                settle(&mut entry);
                self.parent.enter(&entry.name);
                Item::Enter(Box::new(entry))
            }
            Event::Leave { .. } => {
                self.parent.leave();
                Item::Leave
            }
            Event::Problem { error, .. } if error.is_lost() => {
                self.failure.tell(error.into());
                return Err(Stopped);
            }
            Event::Problem { error, .. } => Item::Problem(words(&error)),
            Event::Entry { path, mut entry } => {
                settle(&mut entry);
                if entry.is_file() {
                    self.choose_file(path, entry)?
                } else {
                    Item::Node(Box::new(Node { entry, content: vec![], subtree: None }), false)
                }
            }
        };
        self.batch.push(item);
        if self.batch.len() >= BATCH { self.send() } else { Ok(()) }
    }

    fn choose_file(&mut self, path: RelativePath, entry: Entry) -> Result<Item, Stopped> {
        let is_new = match self.parent.look_up(&entry) {
            Known::Unmodified(content) => {
                self.progress.advance(entry.metadata.size);
                return Ok(Item::Node(Box::new(Node { entry, content, subtree: None }), true));
            }
            known => matches!(known, Known::New),
        };
        let name = entry.name.clone();
        let promise = match self.promised(&entry) {
            Some(promise) => promise,
            None => {
                let promise = Arc::new(Promise::default());
                if entry.metadata.links > 1 {
                    let key = (entry.metadata.device_id, entry.metadata.inode);
                    self.linked.insert(key, (Arc::clone(&promise), entry.metadata.links - 1));
                }
                let job = Job { path: path.clone(), walked: entry, promise: Arc::clone(&promise) };
                self.jobs.send(job).map_err(|_| Stopped)?;
                promise
            }
        };
        Ok(Item::File { path, name, is_new, promise })
    }

    /// The promise for another name of the same file.
    fn promised(&mut self, entry: &Entry) -> Option<Arc<Promise>> {
        if entry.metadata.links < 2 {
            return None;
        }
        let Slot::Occupied(mut linked) = self.linked.entry((entry.metadata.device_id, entry.metadata.inode))
        else {
            return None;
        };
        let (promise, left) = linked.get_mut();
        let promise = Arc::clone(promise);
        *left -= 1;
        if *left == 0 {
            linked.remove();
        }
        Some(promise)
    }

    fn send(&mut self) -> Result<(), Stopped> {
        self.items.send(std::mem::take(&mut self.batch)).map_err(|_| Stopped)
    }
}

/// When something was read last is not kept (nor is it by restic): it would make a new tree of an old directory.
fn settle(entry: &mut Entry) {
    entry.metadata.atime = entry.metadata.mtime;
}
