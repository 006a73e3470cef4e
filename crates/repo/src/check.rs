//! Is the repository sound? Structure always; every stored byte on demand.
//!
//! Structure: each file opens and fits its name; each indexed pack is there with its length; each blob that a
//! snapshot needs is indexed. Data: each pack's header lists what the index says, each blob
//! decrypts, decompresses and fits its name. Nothing is changed.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use store::Range;

use crate::blob::{BlobId, PackedBlob};
use crate::error::{RepoError, Result};
use crate::index::{Index, IndexedPack};
use crate::opener::BlobOpener;
use crate::pack;
use crate::reachable;
use crate::repository::{FileKind, Repository};
use crate::threads::cores;

/// How thorough to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Share of the packs whose every byte is read, in percent: 0 for structure alone, 100 for all.
    pub read_percent: u8,
}

/// What was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// What is wrong; empty for a sound repository.
    pub problems: Vec<String>,
    /// What is odd and harmless, like packs that a crash left behind.
    pub remarks: Vec<String>,
    /// Snapshots that were looked at.
    pub snapshots: usize,
    /// Packs in the index.
    pub packs: usize,
    /// Blobs in the index.
    pub blobs: usize,
    /// Packs that were read in full.
    pub packs_read: usize,
    /// Bytes that were read from them.
    pub bytes_read: u64,
}

/// Examine `repository`.
///
/// # Errors
/// Only what keeps it from being examined at all; damage is in the report.
pub fn check(
    repository: &Repository,
    options: CheckOptions,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    progress.begin("checking structure", 0);
    let roots = check_snapshots(repository, &mut report)?;
    let packs = check_index(repository, &mut report)?;
    let mut index = Index::default();
    index.add(&packs, |_| false);
    report.blobs = index.len();
    check_packs(repository, &packs, &mut report)?;
    // Side by side: walking the trees waits for single blobs, reading the data keeps all cores busy.
    let (trees, read) = std::thread::scope(|scope| {
        let trees = scope.spawn(|| reachable::collect(repository, &index, &roots, cancel));
        let read = read_packs(repository, &packs, options, progress, cancel);
        (trees.join().unwrap_or_else(|_| Err(RepoError::System("a walking thread stopped".to_owned()))), read)
    });
    for reachable::Broken { snapshot, path, error } in trees?.1 {
        report.problems.push(format!(
            "snapshot {}: /{}: {error}",
            snapshot.short(),
            path.trim_start_matches('/')
        ));
    }
    let mut read = read?;
    report.problems.append(&mut read.problems);
    report.packs_read = read.packs_read;
    report.bytes_read = read.bytes_read;
    Ok(report)
}

fn check_snapshots(repository: &Repository, report: &mut CheckReport) -> Result<Vec<(Digest, BlobId)>> {
    let mut roots = vec![];
    for listed in repository.list(FileKind::Snapshot)? {
        match repository.load_snapshot(&listed.id) {
            Ok(snapshot) => roots.push((listed.id, snapshot.tree)),
            Err(error) => report.problems.push(format!("snapshot {}: {error}", listed.id)),
        }
    }
    report.snapshots = roots.len();
    match repository.deleted_snapshots() {
        Ok(deleted) => roots.extend(deleted.iter().map(|deleted| (deleted.id, deleted.snapshot.tree))),
        Err(error) => report.problems.push(error.to_string()),
    }
    Ok(roots)
}

fn check_index(repository: &Repository, report: &mut CheckReport) -> Result<Vec<IndexedPack>> {
    let mut by_id: HashMap<Digest, IndexedPack> = HashMap::new();
    for (_, packs) in repository.try_load_index_files()? {
        match packs {
            Ok(packs) => by_id.extend(packs.into_iter().map(|pack| (pack.id, pack))),
            Err(error) => report.problems.push(error.to_string()),
        }
    }
    report.packs = by_id.len();
    Ok(by_id.into_values().collect())
}

fn check_packs(repository: &Repository, packs: &[IndexedPack], report: &mut CheckReport) -> Result<()> {
    let stored: HashMap<Digest, u64> =
        repository.list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.size)).collect();
    for pack in packs {
        let least = pack.blobs_len();
        match stored.get(&pack.id) {
            None => report.problems.push(format!("pack {} is indexed, but missing", pack.id)),
            Some(size) if *size <= least => {
                report.problems.push(format!("pack {} has {size} bytes, fewer than its blobs need", pack.id));
            }
            Some(_) => {}
        }
    }
    let indexed: std::collections::HashSet<_> = packs.iter().map(|pack| pack.id).collect();
    let unindexed = stored.keys().filter(|id| !indexed.contains(id)).count();
    if unindexed > 0 {
        report.remarks.push(format!(
            "{unindexed} packs are in no index (an interrupted backup); prune clears them away"
        ));
    }
    Ok(())
}

/// Read the chosen packs; only the three fields of reading are set in the report.
fn read_packs(
    repository: &Repository,
    packs: &[IndexedPack],
    options: CheckOptions,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<CheckReport> {
    let chosen = choose(packs, options.read_percent)?;
    progress.begin("reading data", chosen.iter().map(|pack| pack.blobs_len()).sum());
    let next = AtomicUsize::new(0);
    let problems = Mutex::new(vec![]);
    let work = || -> Result<()> {
        let mut opener = BlobOpener::new(repository.sealer())?;
        let mut stored = vec![];
        while let Some(pack) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            cancel.check()?;
            if let Err(error) = read_pack(repository, pack, &mut stored, &mut opener) {
                problems
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(format!("pack {}: {error}", pack.id));
            }
            progress.advance(pack.blobs_len());
            progress.item();
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores().min(chosen.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(RepoError::System("a reading thread stopped".to_owned())))
        })
    })?;
    let problems = problems.into_inner().unwrap_or_else(PoisonError::into_inner);
    let bytes_read = progress.look().bytes;
    Ok(CheckReport { problems, packs_read: chosen.len(), bytes_read, ..CheckReport::default() })
}

/// A random share of the packs, rounded up, so that repeated checks see others.
fn choose(packs: &[IndexedPack], percent: u8) -> Result<Vec<&IndexedPack>> {
    let count = (packs.len() * usize::from(percent.min(100))).div_ceil(100);
    let mut dice = [0; 8];
    getrandom::fill(&mut dice)?;
    // Pack names are hashes already; xored with a number of today they are in a new order.
    let key = |pack: &&IndexedPack| std::array::from_fn::<u8, 8, _>(|i| pack.id.0[i] ^ dice[i]);
    let mut chosen: Vec<_> = packs.iter().collect();
    chosen.sort_unstable_by_key(key);
    chosen.truncate(count);
    // The largest first, so that all cores end together.
    chosen.sort_by_key(|pack| std::cmp::Reverse(pack.blobs_len()));
    Ok(chosen)
}

/// Every byte of a pack is covered: blobs and header have their tags, the trailer says where the header is, and each
/// blob fits its name. So the SHA-256 that names the pack would tell nothing more, and is not computed.
fn read_pack(
    repository: &Repository,
    pack: &IndexedPack,
    stored: &mut Vec<u8>,
    opener: &mut BlobOpener,
) -> Result<()> {
    repository.store().get(&FileKind::Pack.object(&pack.id), Range::All, stored)?;
    let what = format!("pack {}", pack.id.short());
    let mut listed = pack.blobs.clone();
    listed.sort_by_key(|blob| blob.offset);
    let is_damaged = |blob: &&PackedBlob| {
        let sealed = stored.get(blob.offset as usize..blob.offset as usize + blob.length as usize);
        sealed.is_none_or(|sealed| opener.open(&blob.id, sealed, blob.raw_length).is_err())
    };
    let damaged: Vec<_> = listed.iter().filter(is_damaged).map(|blob| blob.id.short()).collect();
    if !damaged.is_empty() {
        let reason =
            format!("{} of its {} blobs are damaged: {}", damaged.len(), listed.len(), damaged.join(" "));
        return Err(RepoError::damaged(what, reason));
    }
    if pack::blobs_of(stored, repository.sealer(), &what)? != listed {
        return Err(RepoError::damaged(what, "its header and the index list different blobs"));
    }
    Ok(())
}
