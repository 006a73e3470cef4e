//! Windows of files, carried out: put together, compared with what is there, read and written on all cores.
//!
//! Invariant: a piece that cannot be read, or does not fit its hash, ends it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use files::root::Root;
use files::target::Target;
use repo::index::Index;
use repo::reader::Wanted;
use repo::threads::cores;
use repo::{RepoError, Repository};

use super::contents::{inspect, write_rest, write_use};
use super::merged::{Stored, needed};
use super::order::{ClusterOrder, ClusterReport};
use super::window::{Fetch, FileTask, Way, Window};
use crate::error::{EngineError, Result};

/// The report while many threads write it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) deleted: AtomicU64,
}

impl Counts {
    pub(super) fn report(&self) -> ClusterReport {
        let value = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        ClusterReport {
            files: value(&self.files),
            bytes: value(&self.bytes),
            bytes_written: value(&self.bytes_written),
            deleted: value(&self.deleted),
        }
    }
}

/// What every phase needs.
#[derive(Clone, Copy)]
pub(super) struct Restorer<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) order: &'a ClusterOrder<'a>,
    pub(super) targets: &'a [Target],
    /// Of places in which something is.
    pub(super) roots: &'a [Option<Arc<Root>>],
    pub(super) counts: &'a Counts,
}

impl Restorer<'_> {
    /// All of one window.
    pub(super) fn carry_out(self, window: Window) -> Result<()> {
        let Self { repository, index, order, .. } = self;
        let mut files = Stored { repository, index, cancel: &order.cancel }.assemble(window)?;
        if self.roots.iter().any(Option::is_some) {
            self.inspect(&mut files)?;
        }
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        self.counts.files.fetch_add(files.len() as u64, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.fetch(&files)?;
        let rest = files.iter().filter(|file| file.parts.is_empty());
        rest.into_iter().try_for_each(|file| write_rest(&self.targets[file.site], file))
    }

    /// Compare with what is there, on all cores.
    fn inspect(self, files: &mut [FileTask]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let cells: Vec<_> = files.iter_mut().map(Mutex::new).collect();
        let work = || -> Result<()> {
            while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                let file = &mut **cell.lock().unwrap_or_else(PoisonError::into_inner);
                self.order.cancel.check()?;
                let (target, root) = (&self.targets[file.site], &self.roots[file.site]);
                let found = target.look_at(&file.path, &self.order.owners)?;
                let (Some(found), Some(root)) = (found, root) else { continue };
                inspect(file, &found, root, self.index, self.order)?;
                if found.is_dir() {
                    // A file never takes the place of a directory by itself.
                    target.remove_tree(&file.path)?;
                    file.way = Way::Create;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(work)).collect();
            let ended = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(EngineError::panicked())));
            ended.fold(Ok(()), Result::and)
        })
    }

    /// Read every blob once and write it wherever it belongs.
    fn fetch(self, files: &[FileTask]) -> Result<()> {
        let mut fetch = Fetch::plan(files, self.index)?;
        let mut wanted = std::mem::take(&mut fetch.wanted);
        let write = |wanted: &Wanted, bytes: Result<&[u8], RepoError>| -> Result<()> {
            let bytes = bytes.map_err(needed)?;
            for place in fetch.uses(wanted.tag) {
                let file = &files[place.file as usize];
                write_use(&self.targets[file.site], file, place, bytes)?;
                self.order.progress.advance(place.len.into());
                self.counts.bytes_written.fetch_add(place.len.into(), Ordering::Relaxed);
            }
            Ok(())
        };
        self.repository.read_packed(self.index, &mut wanted, &self.order.cancel, write)
    }
}
