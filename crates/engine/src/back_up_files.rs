//! Back up one directory.
//!
//! The walk (one thread) → what to read (one thread, beside the parent snapshot) → reading, cutting, hashing,
//! compressing, sealing (all cores) → trees (this thread), which waits for each file in the order of the walk. All
//! channels are bounded, so memory does not grow with the directory. The tree holds the whole absolute path, as
//! restic's do. What cannot be read is told by name, and the snapshot then says of itself that it is incomplete.

mod parent;
mod promise;
mod content;
mod choose;
mod assemble;

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use files::exclude::Excludes;
use files::owner::Owners;
use files::relative::RelativePath;
use files::root::Root;
use files::target::Target;
use files::walk::{Event, Walk};
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
use crate::writing::{FileCounts, Order, Outcome, Writing, plain_node, save_tree};
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
    /// Where it is.
    pub path: &'a Path,
    /// What to leave out.
    pub excludes: Excludes,
    /// The same as text, for the snapshot.
    pub patterns: &'a [String],
    /// Names of users and groups.
    pub owners: Arc<Owners>,
    /// Told of everything that could not be read, by name, while the backup goes on.
    pub tell: &'a (dyn Fn(&str) + Sync),
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
    source: &DirectorySource<'_>,
    order: &Order,
) -> Result<DirectoryReport> {
    order.progress.begin("reading", 0);
    let path = absolute(source.path)?;
    let walk = Walk::open(source.path, source.excludes.clone(), Arc::clone(&source.owners))?;
    let path_text = path.to_string_lossy().into_owned();
    let (parent_id, parent) = parent::find(repository, order, &path_text)?.unzip();
    let mean = chunk_mean(parent.as_ref());
    let cutter = cutter::load(repository, mean)?;
    let writing = Writing::begin(repository, order)?;
    let saved =
        save_all(&writing, walk, parent.as_ref(), &cutter, source, order).and_then(|(done, excluded)| {
            Ok((save_ancestors(&writing, &path, done.top.as_ref(), source, order)?, done, excluded))
        });
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
        paths: vec![path_text],
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

/// The path from the root on, as the tree shows it.
fn absolute(path: &Path) -> Result<PathBuf> {
    let named = |path: &Path| EngineError::io(format!("looking for {}", path.display()));
    let whole = std::path::absolute(path).map_err(named(path))?;
    match whole.components().any(|part| part == Component::ParentDir) {
        true => std::fs::canonicalize(path).map_err(named(path)),
        false => Ok(whole.components().collect()),
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
    walk: Walk,
    parent: Option<&SnapshotFile>,
    cutter: &Cutter,
    source: &DirectorySource<'_>,
    order: &Order,
) -> Result<(Assembled, u64)> {
    let (progress, cancel) = (&order.progress, &order.cancel);
    let parent = Parent::open(&writing.repository, (&writing.index, &writing.marked), parent)?;
    let (root, failure) = (walk.root(), Mutex::new(None));
    let both = (progress.clone(), cancel.clone());
    let assembler = Assembler::new(writing.saver.hand()?, Arc::clone(&root), source.tell, both);
    let (to_choose, events) = bounded(BATCHES_WAITING);
    let (to_read, jobs) = bounded(JOBS_WAITING);
    let (to_assemble, items) = bounded(BATCHES_WAITING);
    let (assembled, excluded) = std::thread::scope(|scope| {
        let walking = scope.spawn(move || send_events(walk, &to_choose));
        let chooser = Chooser::new(parent, to_read, to_assemble, progress.clone());
        // It ends early only when the assembler has, which says why.
        scope.spawn(move || drop(chooser.run(&events)));
        for _ in 0..cores() {
            let (root, jobs, failure) = (Arc::clone(&root), jobs.clone(), &failure);
            scope.spawn(move || read_files(writing, cutter, (root, source, order), &jobs, failure));
        }
        drop(jobs);
        let assembled = assembler.run(&items);
        // Whoever still waits to hand something over stops waiting.
        drop(items);
        (assembled, walking.join())
    });
    if let Some(first) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(first);
    }
    let excluded = excluded.map_err(|_| RepoError::System("the walk stopped unexpectedly".to_owned()))?;
    Ok((assembled?, excluded))
}

/// Walk ahead of the others; returns how many entries were left out.
fn send_events(mut walk: Walk, to_choose: &Sender<Vec<Event>>) -> u64 {
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
    (root, source, order): (Arc<Root>, &DirectorySource<'_>, &Order),
    jobs: &Receiver<Job>,
    failure: &Mutex<Option<EngineError>>,
) {
    let fail = |error: EngineError| {
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let both = (order.progress.clone(), order.cancel.clone());
    let mut reader = ContentReader::new(&writing.saver, cutter, (root, Arc::clone(&source.owners)), both)
        .map_err(fail)
        .ok();
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

/// The directories from the root of the file system to the one that was backed up, each with its real metadata.
fn save_ancestors(
    writing: &Writing,
    path: &Path,
    top: Option<&Node>,
    source: &DirectorySource<'_>,
    order: &Order,
) -> Result<Digest> {
    let Some(top) = top else {
        return Err(EngineError::Unsuitable(format!("{} vanished while it was backed up", path.display())));
    };
    let mut node = top.clone();
    for ancestor in path.ancestors().skip(1) {
        let tree = save_tree(&writing.saver, &mut [node])?;
        let Some(name) = ancestor.file_name() else { return Ok(tree) };
        let entry = ancestor_entry(ancestor, name.as_bytes(), source, order);
        node = Node { entry, content: vec![], subtree: Some(tree) };
    }
    // Only the root of the file system has nothing above it, and is the tree itself.
    node.subtree.ok_or_else(|| EngineError::Unsuitable(format!("{} has no name", path.display())))
}

/// Links on the way to the directory are followed, as whoever named it did.
fn ancestor_entry(path: &Path, name: &[u8], source: &DirectorySource<'_>, order: &Order) -> Entry {
    let found = Target::open(path).and_then(|dir| dir.look_at(&RelativePath::root(), &source.owners));
    let mut entry = found.ok().flatten().unwrap_or_else(|| {
        let mut plain = plain_node("", 0, vec![], order).entry;
        plain.metadata.mode = 0o755;
        plain
    });
    entry.metadata.atime = entry.metadata.mtime;
    Entry { name: name.to_vec(), kind: EntryKind::Directory, ..entry }
}
