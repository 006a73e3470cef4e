//! What is taken of each file that the walk meets, and the order in which what was read goes into the tree.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use files::exclude::Excludes;
use files::owner::Owners;
use pg::data_directory::{Fork, relation_file};
use repo::threads::be_polite;

use super::earlier::Beside;
use super::gather::Gathering;
use super::read::{FileRead, Job, Reader, Reading};
use super::walk::{self, Step};
use crate::error::{EngineError, Result};

/// What the tree takes, in the order of the walk.
pub(super) enum Item {
    Step(Step),
    /// A file that somebody reads.
    File(Vec<u8>, Receiver<Option<FileRead>>),
}

/// The walking thread: what is taken of each file.
pub(super) struct Choosing<'a> {
    pub(super) beside: Beside<'a>,
    pub(super) to_read: Sender<Job>,
    pub(super) to_gather: Sender<Item>,
}

impl Choosing<'_> {
    pub(super) fn run(mut self, data: &Path, owners: &Arc<Owners>, major: u32) -> Result<()> {
        let opened = files::here::open(data, Excludes::nothing(), Arc::clone(owners))?;
        let mut outcome = Ok(());
        let walked = walk::walk(opened, owners, major, &mut |step| match self.choose(step, data) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        });
        // Where nobody takes any more, somebody else says why.
        walked.and(outcome)
    }

    /// False where nobody takes any more.
    fn choose(&mut self, step: Step, data: &Path) -> Result<bool> {
        let item = match step {
            Step::Enter(path, entry) => {
                self.beside.enter(&entry.name)?;
                Item::Step(Step::Enter(path, entry))
            }
            Step::Leave => {
                self.beside.leave();
                Item::Step(Step::Leave)
            }
            Step::File(path, place) => {
                let relation = relation_file(&path);
                if let Some(relation) = relation
                    && relation.fork != Fork::Init
                    && is_unlogged(data, &path, &relation.init_name())
                {
                    return Ok(true);
                }
                let full = place.origin.full(&place.path);
                let take = self.beside.take_of((&path, &full), &place.entry, relation);
                let (answer, promise) = bounded(1);
                let job = Job { place: *place, relation, take, answer };
                if self.to_read.send(job).is_err() {
                    return Ok(false);
                }
                Item::File(path, promise)
            }
            step => Item::Step(step),
        };
        Ok(self.to_gather.send(item).is_ok())
    }
}

/// After a crash an unlogged relation is what its init fork says; so after a restore.
fn is_unlogged(data: &Path, path: &[u8], init_name: &str) -> bool {
    let path = data.join(std::ffi::OsStr::from_bytes(path));
    path.with_file_name(init_name).symlink_metadata().is_ok()
}

/// One reading thread.
pub(super) fn read_files(reading: &Reading<'_>, jobs: &Receiver<Job>) -> Result<()> {
    be_polite();
    let mut reader = Reader::new(reading)?;
    for job in jobs {
        let read = reader.read(&job)?;
        // Who waits for it may have stopped, and says why.
        drop(job.answer.send(read));
    }
    Ok(())
}

/// Take what was met until there is no more.
pub(super) fn gather(
    gathering: &mut Gathering<'_>,
    items: Receiver<Item>,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    for item in items {
        match item {
            Item::Step(Step::Enter(path, entry)) => {
                if let Some(oid) = walk::tablespace_of(&path) {
                    gathering.seen.tablespaces.push(oid);
                }
                gathering.enter(*entry);
            }
            Item::Step(Step::Leave) => gathering.leave()?,
            Item::Step(Step::Other(entry)) => gathering.other(*entry),
            Item::Step(Step::Problem(error)) => return Err(error.into()),
            Item::Step(Step::Special(path)) => {
                tell(&format!("{} is no file and is left out", String::from_utf8_lossy(&path)));
            }
            Item::Step(Step::File(..)) => {}
            Item::File(path, promise) => match promise.recv() {
                Ok(Some(read)) => gathering.file(&path, read)?,
                // Gone since the walk met it: WAL says so.
                Ok(None) => {}
                Err(_) => return Err(EngineError::Cancelled(model::cancel::Cancelled)),
            },
        }
    }
    Ok(())
}
