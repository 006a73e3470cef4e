//! Restore a directory.
//!
//! The stored trees are walked (one thread) → directories, links and devices are made, files collected into windows
//! (this thread) → the blobs of a window are read in the order in which they lie, verified, and written wherever they
//! belong (all cores) → links, then the directories' own metadata, deepest first → synced on the way, and once at the end.
//! Nothing is written outside of the place. A damaged blob costs the files that need it, each told by name; the rest goes on.

mod order;
mod window;
mod contents;
mod inspect;
mod collect;

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use files::error::Error as FilesError;
use files::exclude::Excludes;
use files::target::Target;
use files::walk::Walk;
use model::backup::BackupRecord;
use repo::index::Index;
use repo::reader::Wanted;
use repo::snapshot_file::SnapshotFile;
use repo::{RepoError, Repository};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::stored_tree::{Stored, StoredWalk, Subject, TreeSource, locate};
use crate::write_back::while_written_back;
use crate::zeros::is_zero;
use collect::{Collector, Place};
use contents::{write_piece, write_rest};
use inspect::Looking;
use order::Counts;
pub use order::{Notice, RestoreOrder, RestoreReport};
use window::{Fetch, FilePlan, Window};

/// Things of the stored trees that go through the channel together.
const BATCH: usize = 64;
/// Batches that wait: what the walk over the trees is ahead.
const BATCHES_WAITING: usize = 128;

/// Restore the directory of `record` as `order` says.
///
/// # Errors
/// [`EngineError::Refused`] where something would be overwritten that was not asked for; what makes going on useless,
/// like a full disk. Single files that cannot be restored are counted in the report.
pub fn restore_files(
    repository: &Repository,
    index: &Index,
    record: &BackupRecord,
    order: &RestoreOrder<'_>,
) -> Result<RestoreReport> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    if order.delete && record.incomplete {
        let reason = "is incomplete: what it could not read would be deleted";
        return Err(EngineError::Refused(format!("{} {reason}", record.id)));
    }
    let mut trees = TreeSource::new(repository, index)?;
    let subject = locate(&mut trees, &snapshot)?;
    refuse_missing(&mut trees, &subject, record, order)?;
    let place = open_place(order)?;
    order.progress.begin("restoring", record.size_bytes);
    let counts = Counts::default();
    let excludes = Excludes::new(&snapshot.excludes).unwrap_or_default();
    let restorer = Restorer { repository, index, order, place: &place, counts: &counts };
    let run = || restorer.run(StoredWalk::new(subject, order.only.clone()), trees, excludes);
    let target = place.target.as_ref().filter(|_| !order.dry_run);
    let sync = || target.map_or(Ok(()), |target| Ok(target.sync()?));
    while_written_back(&counts.bytes_written, sync, run)?;
    if let Some(target) = target {
        target.take_losses().iter().for_each(|loss| (order.tell)(&Notice::Loss(loss.to_string())));
        target.sync()?;
    }
    Ok(counts.report())
}

/// The directory that a restore without a place goes into: where it was.
///
/// # Errors
/// [`EngineError::Unsuitable`] where there is not one such place, or its name is not known to the last byte.
pub fn original_place(repository: &Repository, index: &Index, snapshot: &SnapshotFile) -> Result<PathBuf> {
    let unsuitable = |why: String| Err(EngineError::Unsuitable(format!("{why}; name a place with --to")));
    let [path] = &snapshot.paths[..] else {
        return unsuitable(format!("the backup is of {} paths", snapshot.paths.len()));
    };
    if path.contains(char::REPLACEMENT_CHARACTER) || !path.starts_with('/') {
        return unsuitable(format!("{path:?} is not the exact name of a place"));
    }
    let path = Path::new(path);
    match locate(&mut TreeSource::new(repository, index)?, snapshot)? {
        Subject::Single(_) => Ok(path.parent().unwrap_or(path).to_path_buf()),
        Subject::Directory { .. } => Ok(path.to_path_buf()),
    }
}

/// Each path that was asked for must be in the backup.
fn refuse_missing(
    trees: &mut TreeSource<'_>,
    subject: &Subject,
    record: &BackupRecord,
    order: &RestoreOrder<'_>,
) -> Result<()> {
    for only in &order.only {
        let mut walk = StoredWalk::new(subject.clone(), vec![only.clone()]);
        let is_it = |stored: &Stored| match stored {
            Stored::Enter { path, .. } | Stored::Entry { path, .. } => path == only,
            _ => false,
        };
        let found = std::iter::from_fn(|| walk.next(trees)).any(|stored| is_it(&stored));
        if !found {
            return Err(EngineError::NoPath { path: only.to_string(), id: record.id.to_string() });
        }
    }
    Ok(())
}

/// Open or make the directory to restore into; it must be empty unless what is there may be overwritten.
fn open_place(order: &RestoreOrder<'_>) -> Result<Place> {
    let path = &order.place;
    let names = match std::fs::read_dir(path) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let target = if order.dry_run { None } else { Some(Target::create(path)?) };
            return Ok(Place { target, existing: None });
        }
        Err(error) => return Err(EngineError::io(format!("looking into {}", path.display()))(error)),
    };
    let is_empty = names.into_iter().next().is_none();
    if !is_empty && !order.delta {
        return Err(EngineError::Refused(format!("{} is not empty", path.display())));
    }
    let target = Some(Target::open(path)?);
    if is_empty {
        return Ok(Place { target, existing: None });
    }
    let real =
        std::fs::canonicalize(path).map_err(EngineError::io(format!("looking for {}", path.display())))?;
    let walk = Walk::open(&real, Excludes::nothing(), order.owners.clone())?;
    Ok(Place { target, existing: Some(walk.root()) })
}

/// What every phase needs.
#[derive(Clone, Copy)]
struct Restorer<'a> {
    repository: &'a Repository,
    index: &'a Index,
    order: &'a RestoreOrder<'a>,
    place: &'a Place,
    counts: &'a Counts,
}

impl Restorer<'_> {
    fn run(self, walk: StoredWalk, trees: TreeSource<'_>, excludes: Excludes) -> Result<()> {
        let (to_collect, batches) = bounded(BATCHES_WAITING);
        std::thread::scope(|scope| {
            scope.spawn(move || send_stored(walk, trees, &to_collect));
            let restored = match self.place.existing {
                // What is there is looked at and deleted in the order of the trees, with nothing half beside it.
                Some(_) => self.collect(&batches, excludes, |window| self.carry_out(window)),
                None => {
                    let (to_carry_out, windows) = bounded(0);
                    let carry_out = move || windows.iter().try_for_each(|window| self.carry_out(window));
                    let carrier = scope.spawn(carry_out);
                    let hand_over = |window| to_carry_out.send(window).map_err(|_| EngineError::panicked());
                    let collected = self.collect(&batches, excludes, hand_over);
                    drop(to_carry_out);
                    // Where that one failed, nobody took the windows any more.
                    carrier.join().unwrap_or_else(|_| Err(EngineError::panicked())).and(collected)
                }
            };
            // Whoever walks ahead waits for room in here.
            drop(batches);
            restored
        })
    }

    /// Collect windows, and hand each over when it is full.
    fn collect(
        self,
        batches: &Receiver<Vec<Stored>>,
        excludes: Excludes,
        hand_over: impl Fn(Window) -> Result<()>,
    ) -> Result<()> {
        let mut collector = Collector::new(self.place, self.order, self.index, self.counts, excludes);
        for stored in batches.iter().flatten() {
            collector.take(stored)?;
            if collector.window.is_full() {
                hand_over(std::mem::take(&mut collector.window))?;
            }
        }
        hand_over(collector.window)
    }

    /// All of one window.
    fn carry_out(self, mut window: Window) -> Result<()> {
        match (&self.place.existing, &self.place.target) {
            (Some(root), Some(target)) => {
                let Self { index, order, counts, .. } = self;
                Looking { target, root, index, order, counts }.inspect(&mut window.files)?;
            }
            _ => _ = self.counts.created.fetch_add(window.files.len() as u64, Ordering::Relaxed),
        }
        let mut fetch = Fetch::plan(&window.files, self.index)?;
        let target = self.place.target.as_ref().filter(|_| !self.order.dry_run);
        let Some(target) = target else { return self.only_count(&fetch) };
        self.fetch(target, &window.files, &mut fetch)?;
        for file in window.files.iter().filter(|file| file.needs_nothing()) {
            self.told(file, write_rest(target, file))?;
        }
        for (path, first) in &window.links {
            let linked = link(target, path, first, self.order);
            linked.or_else(|error| self.counts.problem(self.order, path, error))?;
        }
        for (path, entry) in &window.directories {
            let done = target.set_metadata(path, entry);
            done.or_else(|error| self.counts.problem(self.order, path, error.into()))?;
        }
        Ok(())
    }

    fn only_count(self, fetch: &Fetch) -> Result<()> {
        for wanted in &fetch.wanted {
            let len = u64::from(wanted.place.plain_length()) * fetch.places(wanted.tag).len() as u64;
            self.counts.bytes_written.fetch_add(len, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Read every blob once and write it wherever it belongs.
    fn fetch(self, target: &Target, files: &[FilePlan], fetch: &mut Fetch) -> Result<()> {
        let mut wanted = std::mem::take(&mut fetch.wanted);
        let fetch = &*fetch;
        let place = |wanted: &Wanted, bytes: Result<&[u8], RepoError>| -> Result<()> {
            match bytes {
                Ok(bytes) => self.write(target, files, fetch, wanted.tag, bytes),
                Err(error @ RepoError::Cancelled(_)) => Err(error.into()),
                Err(error) => {
                    let words = error.to_string();
                    let mut error = Some(error);
                    for piece in fetch.places(wanted.tag) {
                        let error =
                            error.take().unwrap_or_else(|| RepoError::damaged("a piece of it", &words));
                        self.told(&files[piece.file as usize], Err(error.into()))?;
                    }
                    Ok(())
                }
            }
        };
        self.repository.read_packed(self.index, &mut wanted, &self.order.cancel, place)
    }

    fn write(
        self,
        target: &Target,
        files: &[FilePlan],
        fetch: &Fetch,
        tag: usize,
        bytes: &[u8],
    ) -> Result<()> {
        let is_zero = is_zero(bytes);
        for piece in fetch.places(tag) {
            let file = &files[piece.file as usize];
            if file.failed.load(Ordering::SeqCst) {
                continue;
            }
            self.told(file, write_piece(target, file, piece.offset, bytes, is_zero))?;
            self.order.progress.advance(bytes.len() as u64);
            self.counts.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A file that fails is told of once, and never finished.
    fn told(self, file: &FilePlan, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if !file.failed.swap(true, Ordering::SeqCst) => {
                drop(file.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
                self.counts.problem(self.order, &file.path, error)
            }
            _ => Ok(()),
        }
    }
}

/// Walk over the trees ahead of the others.
fn send_stored(mut walk: StoredWalk, mut trees: TreeSource<'_>, to_collect: &Sender<Vec<Stored>>) {
    loop {
        let batch: Vec<_> = std::iter::from_fn(|| walk.next(&mut trees)).take(BATCH).collect();
        if batch.is_empty() || to_collect.send(batch).is_err() {
            return;
        }
    }
}

/// One more name for what stands under its first name by now.
fn link(
    target: &Target,
    path: &files::relative::RelativePath,
    first: &files::relative::RelativePath,
    order: &RestoreOrder<'_>,
) -> Result<()> {
    let inode = |path| -> Result<_, FilesError> {
        Ok(target.look_at(path, &order.owners)?.map(|entry| (entry.metadata.device_id, entry.metadata.inode)))
    };
    if inode(path)?.is_some() {
        if inode(path)? == inode(first)? {
            return Ok(());
        }
        target.remove_tree(path)?;
    }
    Ok(target.create_hard_link(first, path)?)
}
