//! Back up one directory.
//!
//! The walk (one thread) → what to read (one thread, beside the parent snapshot) → reading, cutting, hashing,
//! compressing, sealing (all cores) → trees (this thread), which waits for each file in the order of the walk. All
//! channels are bounded, so memory does not grow with the directory. The tree holds the whole absolute path, as
//! restic's do. What cannot be read is told by name, and the snapshot then says of itself that it is incomplete.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use files::origin::{Opened, Origin, Walking};
use files::walk::Event;
use model::backup::{BackupKind, BackupRecord};
use model::digest::Digest;
use model::entry::{Entry, EntryKind};
use repo::chunk::Cutter;
use repo::node::Node;
use repo::snapshot_file::SnapshotFile;
use repo::threads::cores;
use repo::{RepoError, Repository};

use crate::cutter;
use crate::error::{EngineError, Result};
use crate::writing::{FileCounts, Order, Outcome, Writing, save_tree};

/// Told of everything that could not be read, by name.
type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// What stopped the pipeline first.
#[derive(Default)]
struct Failure(Mutex<Option<EngineError>>);

impl Failure {
    fn tell(&self, error: EngineError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

mod parent;
mod promise;
mod content;
mod choose;
mod assemble;

use assemble::{Assembled, Assembler};
use choose::{BATCH, BATCHES_WAITING, Chooser, Job};
use content::ContentReader;
use parent::Parent;

/// Mean bytes of a chunk. Measured on a tree of 1.93 GB: 256 KiB store 592 MB, 512 KiB 585, 1 MiB 580 (restic 587), and
/// every doubling takes 30 MiB of memory.
const MEAN: usize = 512 << 10;
/// Files that wait for a reader.
const JOBS_WAITING: usize = 256;

/// A directory to back up.
pub struct DirectorySource<'a> {
    /// What is in it, and its files: opened on this machine or on another one.
    pub opened: Opened,
    /// What is left out, for the snapshot.
    pub patterns: &'a [String],
    /// Told of everything that could not be read, by name, while the backup goes on.
    pub tell: Tell<'a>,
}

/// A backup of a directory, and what it saw.
#[derive(Clone, Debug)]
pub struct DirectoryReport {
    /// The backup; `incomplete` if there were problems.
    pub record: BackupRecord,
    /// Files that were stored.
    pub files: FileCounts,
    /// Entries that the excludes left out.
    pub excluded: u64,
    /// Things that could not be read, vanished, or changed while they were read.
    pub problems: u64,
}

/// Back up the directory of `source`.
///
/// # Errors
/// Anything but single files that cannot be read; then there is no backup.
pub fn back_up_files(
    repository: &Arc<Repository>,
    source: DirectorySource<'_>,
    order: &Order,
) -> Result<DirectoryReport> {
    order.progress.begin("reading", 0);
    let Opened { walk, origin } = source.opened;
    let (parent_id, parent) = parent::find(repository, order, &*origin)?.unzip();
    let mean = chunk_mean(parent.as_ref());
    let cutter = cutter::load(repository, mean)?;
    let writing = Writing::begin(repository, order)?;
    let saved = save_all(&writing, walk, parent.as_ref(), &cutter, (&origin, source.tell), order).and_then(
        |(done, excluded)| Ok((save_ancestors(&writing, done.top.as_ref(), &*origin)?, done, excluded)),
    );
    let (root, done, excluded) = match saved {
        Ok(saved) => saved,
        Err(error) => return Err(first_cause(writing, error)),
    };
    let outcome = Outcome {
        kind: BackupKind::Directory,
        database: String::new(),
        size_bytes: done.size,
        sha256: None,
        relation_count: 0,
        positions: None,
        paths: vec![origin.name().to_owned()],
        excludes: source.patterns.to_vec(),
        parent: parent_id,
        tags: vec![format!("chunk={mean}")],
        incomplete: done.problems > 0,
        files: done.counts,
    };
    let record = writing.commit(root, &outcome)?;
    Ok(DirectoryReport { record, files: done.counts, excluded, problems: done.problems })
}

/// What stopped the pipeline is the reason; what others met afterwards is only its consequence.
fn first_cause(writing: Writing, error: EngineError) -> EngineError {
    match writing.saver.finish() {
        Err(RepoError::System(_) | RepoError::Cancelled(_)) | Ok(_) => error,
        Err(first) => first.into(),
    }
}

/// Chunks as in the parent, so that what is stored is found again.
fn chunk_mean(parent: Option<&SnapshotFile>) -> usize {
    let tag = parent.and_then(|parent| parent.tag("chunk")?.parse::<usize>().ok());
    tag.filter(|mean| mean.is_power_of_two() && (4096..=1 << 20).contains(mean)).unwrap_or(MEAN)
}

/// Everything from the root of the walk down; also how many entries were left out.
fn save_all(
    writing: &Writing,
    walk: Box<dyn Walking>,
    parent: Option<&SnapshotFile>,
    cutter: &Cutter,
    (origin, tell): (&Arc<dyn Origin>, Tell<'_>),
    order: &Order,
) -> Result<(Assembled, u64)> {
    let (progress, cancel) = (&order.progress, &order.cancel);
    let parent = Parent::open(writing, parent, origin.doubt())?;
    let failure = Failure::default();
    let both = (progress.clone(), cancel.clone());
    let assembler = Assembler::new(writing.saver.hand()?, Arc::clone(origin), tell, both);
    let (to_choose, events) = bounded(BATCHES_WAITING);
    let (to_read, jobs) = bounded(JOBS_WAITING);
    let (to_assemble, items) = bounded(BATCHES_WAITING);
    let (assembled, excluded) = std::thread::scope(|scope| {
        let walking = scope.spawn(move || send_events(walk, &to_choose));
        let failure = &failure;
        let chooser = Chooser::new(parent, (to_read, to_assemble), failure, progress.clone());
        // It ends early only when the assembler has, which says why, or when it has said why itself.
        scope.spawn(move || drop(chooser.run(&events)));
        for _ in 0..cores().max(origin.lanes()) {
            let jobs = jobs.clone();
            scope.spawn(move || read_files(writing, cutter, (&**origin, order), &jobs, failure));
        }
        drop(jobs);
        let assembled = assembler.run(&items);
        // Whoever still waits to hand something over stops waiting.
        drop(items);
        (assembled, walking.join())
    });
    if let Some(first) = failure.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(first);
    }
    let excluded = excluded.map_err(|_| RepoError::System("the walk stopped unexpectedly".to_owned()))?;
    Ok((assembled?, excluded))
}

/// Walk ahead of the others; returns how many entries were left out.
fn send_events(mut walk: Box<dyn Walking>, to_choose: &Sender<Vec<Event>>) -> u64 {
    loop {
        let batch: Vec<_> = walk.by_ref().take(BATCH).collect();
        if batch.is_empty() || to_choose.send(batch).is_err() {
            return walk.excluded();
        }
    }
}

/// One reading thread. After a failure it still answers everybody who waits.
fn read_files(
    writing: &Writing,
    cutter: &Cutter,
    (origin, order): (&dyn Origin, &Order),
    jobs: &Receiver<Job>,
    failure: &Failure,
) {
    let fail = |error: EngineError| failure.tell(error);
    let both = (order.progress.clone(), order.cancel.clone());
    let mut reader = ContentReader::new(&writing.saver, cutter, origin, both).map_err(fail).ok();
    for Job { path, walked, promise } in jobs {
        let outcome = match &mut reader {
            Some(reader) => reader.read(&path, &walked).map_err(fail).ok(),
            None => None,
        };
        if outcome.is_none() {
            reader = None;
        }
        promise.keep(outcome.unwrap_or(promise::Outcome::Stopped));
    }
}

/// The directories from the root of the file system to the one that was backed up, with their metadata where it is known.
fn save_ancestors(writing: &Writing, top: Option<&Node>, origin: &dyn Origin) -> Result<Digest> {
    let path = origin.path();
    let Some(top) = top else {
        return Err(EngineError::Unsuitable(format!("{} vanished while it was backed up", origin.name())));
    };
    let mut node = top.clone();
    for ancestor in path.ancestors().skip(1) {
        let tree = save_tree(&writing.saver, &mut [node])?;
        let Some(name) = ancestor.file_name() else { return Ok(tree) };
        let entry = ancestor_entry(ancestor, name.as_bytes(), origin, &top.entry);
        node = Node { entry, content: vec![], subtree: Some(tree) };
    }
    // Only the root of the file system has nothing above it, and is the tree itself.
    node.subtree.ok_or_else(|| EngineError::Unsuitable(format!("{} has no name", path.display())))
}

/// One that cannot be looked at is open to all, and of whom and when `top` is: the same in every backup, so that nothing
/// new is stored of it.
fn ancestor_entry(path: &Path, name: &[u8], origin: &dyn Origin, top: &Entry) -> Entry {
    let mut entry = origin.above(path).unwrap_or_else(|| {
        let mut plain = top.clone();
        (plain.metadata.mode, plain.metadata.size) = (0o755, 0);
        (plain.metadata.inode, plain.metadata.xattrs) = (0, vec![]);
        plain
    });
    entry.metadata.atime = entry.metadata.mtime;
    Entry { name: name.to_vec(), kind: EntryKind::Directory, ..entry }
}
