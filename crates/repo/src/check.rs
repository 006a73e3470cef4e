//! Is the repository sound? Structure always; every stored byte on demand.
//!
//! Structure: each file opens and fits its name; each indexed pack is there with its length; each blob that a
//! snapshot needs is indexed. Data: each pack's header lists what the index says, each blob
//! decrypts, decompresses and fits its name; so does each file of WAL. Nothing is changed, unless it is asked to
//! [`remember`] what was found.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;

use crate::blob::{BlobId, BlobKind, PackedBlob};
use crate::broken::{self, BrokenPacks, Why};
use crate::error::{RepoError, Result};
use crate::examine::{Examined, examine_all};
use crate::index::{Doubles, Index, IndexedPack, SeekDoubles};
use crate::reachable;
use crate::repository::{FileKind, Repository};
use crate::threads;
use crate::touched::{self, Touched};

/// Stored bytes of WAL that are read at one time; a file takes several times as many, until it is judged.
const WAL_BYTES_MAX: u64 = 32 << 20;

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
    /// Files that cannot be restored whole: all of them, or the first [`touched::NAMED_MAX`].
    pub touched: Vec<Touched>,
    /// How many there are.
    pub touched_files: usize,
    /// What is odd and harmless, like packs that a crash left behind.
    pub remarks: Vec<String>,
    /// Snapshots that were looked at.
    pub snapshots: usize,
    /// Packs that are damaged or missing.
    pub broken_packs: BrokenPacks,
    /// Packs that are listed with the length that their blobs need.
    pub listed_packs: Vec<Digest>,
    /// Packs that were read in full and are as they should be.
    pub sound_packs: Vec<Digest>,
    /// Packs in the index.
    pub packs: usize,
    /// Blobs in the index.
    pub blobs: usize,
    /// Packs that were read in full.
    pub packs_read: usize,
    /// Bytes that were read from them.
    pub bytes_read: u64,
    /// Packs that were to be read, and are too cold for that.
    pub packs_cold: usize,
    /// The bytes of their blobs.
    pub bytes_cold: u64,
    /// Files of WAL that are archived.
    pub wal_files: usize,
    /// Those that were read in full.
    pub wal_read: usize,
    /// Those that were to be read, and are too cold for that.
    pub wal_cold: usize,
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
    let packs = Arc::new(check_index(repository, &mut report)?);
    let mut index = Index::default();
    index.add(&packs, |_| false);
    let index = index.with_doubles(seek_doubles(Arc::clone(&packs)));
    report.blobs = index.len();
    check_packs(repository, &packs, &mut report)?;
    check_wal(repository, options, (progress, cancel), &mut report)?;
    // Side by side: walking the trees waits for single blobs, reading the data keeps all cores busy.
    let (trees, read) = std::thread::scope(|scope| {
        let trees = scope.spawn(|| reachable::collect(repository, &index, &roots, cancel));
        let read = read_packs(repository, &packs, options, progress, cancel);
        (trees.join().unwrap_or_else(|_| Err(RepoError::System("a walking thread stopped".to_owned()))), read)
    });
    let (broken, found) = (trees?.1, read?);
    report.problems.extend(found.problems);
    report.broken_packs.extend(found.broken.iter());
    report.sound_packs = found.sound;
    report.packs_read = found.packs_read;
    report.bytes_read = found.bytes_read;
    report.packs_cold = found.packs_cold;
    report.bytes_cold += found.bytes_cold;
    let unsound = without_sound_copy(found.unsound, &packs);
    if !broken.is_empty() || !unsound.is_empty() {
        progress.begin("looking for what is touched", 0);
        let is_unsound = |kind, id: &BlobId| unsound.contains(&(kind, *id));
        (report.touched, report.touched_files) =
            touched::touched(repository, &index, &roots, &is_unsound, cancel)?;
    }
    // What kept a tree from being read and was gone at the second look must not go unsaid.
    if report.touched.is_empty() {
        report.problems.extend(broken.into_iter().map(|broken| {
            let path = broken.path.trim_start_matches('/');
            format!("snapshot {}: /{path}: {}", broken.snapshot.short(), broken.error)
        }));
    }
    Ok(report)
}

fn seek_doubles(packs: Arc<Vec<IndexedPack>>) -> SeekDoubles {
    Box::new(move |index| {
        let mut doubles = Doubles::default();
        packs.iter().try_for_each(|pack| doubles.take_in(index, pack))?;
        Ok(doubles)
    })
}

/// Write down what is broken, so that nothing new rests on it; and of what was thought so, that it is not. -> how many
/// packs are broken, of which nobody knew
///
/// # Errors
/// What the store says; that it takes nothing may be meant so.
pub fn remember(repository: &Repository, report: &CheckReport) -> Result<usize> {
    let known = broken::list(repository)?;
    let mut found = report.broken_packs.clone();
    // Not listed, and read after all.
    report.sound_packs.iter().for_each(|pack| found.remove(pack));
    broken::note(repository, &found)?;
    let mut whole: HashSet<_> = report.sound_packs.iter().filter(|pack| known.contains(pack)).collect();
    for pack in report.listed_packs.iter().filter(|pack| known.contains(pack) && !found.has(pack)) {
        if !whole.contains(pack) && broken::why_of(repository, pack)? == Why::Missing {
            whole.insert(pack);
        }
    }
    broken::forget(repository, whole)?;
    Ok(found.iter().filter(|(pack, _)| !known.contains(pack)).count())
}

/// What of `unsound` has no copy that is sound, as far as was read.
fn without_sound_copy(
    unsound: Vec<(Digest, PackedBlob)>,
    packs: &[IndexedPack],
) -> HashSet<(BlobKind, BlobId)> {
    let mut lost: HashSet<_> = unsound.iter().map(|(_, blob)| (blob.kind, blob.id)).collect();
    if lost.is_empty() {
        return lost;
    }
    let places: HashSet<_> = unsound.into_iter().map(|(pack, blob)| (pack, blob.offset)).collect();
    for pack in packs {
        for blob in pack.blobs.iter().filter(|blob| !places.contains(&(pack.id, blob.offset))) {
            lost.remove(&(blob.kind, blob.id));
        }
    }
    lost
}

fn check_snapshots(repository: &Repository, report: &mut CheckReport) -> Result<Vec<(Digest, BlobId)>> {
    let mut live = vec![];
    for listed in repository.list(FileKind::Snapshot)? {
        match repository.load_snapshot(&listed.id) {
            Ok(snapshot) => live.push((listed.id, snapshot)),
            Err(error) => report.problems.push(format!("snapshot {}: {error}", listed.id)),
        }
    }
    report.snapshots = live.len();
    let mut roots: Vec<_> = live.iter().map(|(id, snapshot)| (*id, snapshot.tree)).collect();
    match repository.examine_deleted() {
        Ok((mut deleted, broken)) => {
            // One that came back is looked at once.
            deleted.retain(|one| live.iter().all(|(id, _)| *id != one.id));
            // That they are not whole is known, and why they went.
            let (replaced, deleted): (Vec<_>, Vec<_>) =
                deleted.into_iter().partition(|one| one.is_replaced(&live));
            report.remarks.extend(replaced.iter().map(|one| {
                format!(
                    "snapshot {} was replaced by a repair, and is not looked at; it goes when its cooling-off time is over",
                    one.id.short()
                )
            }));
            roots.extend(deleted.iter().map(|deleted| (deleted.id, deleted.snapshot.tree)));
            report.problems.extend(broken.iter().map(RepoError::to_string));
        }
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
        let (problem, why) = match stored.get(&pack.id) {
            None => (format!("pack {} is indexed, but missing", pack.id), Why::Missing),
            Some(size) if *size <= least => {
                (format!("pack {} has {size} bytes, fewer than its blobs need", pack.id), Why::Damaged)
            }
            Some(_) => {
                report.listed_packs.push(pack.id);
                continue;
            }
        };
        report.problems.push(problem);
        report.broken_packs.add(pack.id, why);
    }
    let indexed: HashSet<_> = packs.iter().map(|pack| pack.id).collect();
    let unindexed = stored.keys().filter(|id| !indexed.contains(id)).count();
    if unindexed > 0 {
        report.remarks.push(format!(
            "{unindexed} packs are in no index (an interrupted backup); prune clears them away"
        ));
    }
    Ok(())
}

/// What reading the data told.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    /// Blobs that do not open, with the pack in which they lie.
    unsound: Vec<(Digest, PackedBlob)>,
    broken: BrokenPacks,
    sound: Vec<Digest>,
    packs_read: usize,
    bytes_read: u64,
    packs_cold: usize,
    bytes_cold: u64,
}

/// Read the chosen packs.
fn read_packs(
    repository: &Repository,
    packs: &[IndexedPack],
    options: CheckOptions,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Found> {
    let chosen = choose(packs, options.read_percent)?;
    progress.begin("reading data", chosen.iter().map(|pack| pack.blobs_len()).sum());
    let mut found = Found::default();
    for (pack, examined) in chosen.iter().zip(examine_all(repository, &chosen, progress, cancel)?) {
        if examined.as_ref().is_err_and(RepoError::is_too_cold) {
            found.packs_cold += 1;
            found.bytes_cold += pack.blobs_len();
            continue;
        }
        found.packs_read += 1;
        let Examined { unsound, problem } = examined.unwrap_or_else(Examined::unread);
        match &problem {
            None => found.sound.push(pack.id),
            // That a store fails says nothing of the pack.
            Some(error) if error.is_damage() => found.broken.add(pack.id, Why::of(error)),
            Some(_) => {}
        }
        found.unsound.extend(unsound.into_iter().map(|blob| (pack.id, blob)));
        found.problems.extend(problem.map(|error| format!("pack {}: {error}", pack.id)));
    }
    found.bytes_read = progress.look().bytes - found.bytes_cold;
    Ok(found)
}

/// Read the chosen files of WAL, each behind its own hash.
fn check_wal(
    repository: &Repository,
    options: CheckOptions,
    (progress, cancel): (&Progress, &CancelToken),
    report: &mut CheckReport,
) -> Result<()> {
    let mut stored = repository.list_all_wal()?;
    report.wal_files = stored.len();
    // In the order of a hash, which differs from one check to the next.
    let order = std::collections::hash_map::RandomState::new();
    stored.sort_by_cached_key(|one| order.hash_one(&one.file));
    stored.truncate(share(stored.len(), options.read_percent));
    if stored.is_empty() {
        return Ok(());
    }
    progress.begin("reading WAL", stored.iter().map(|one| one.size).sum());
    let begin = || Ok((vec![], vec![]));
    let longest = stored.iter().map(|one| one.size).max().unwrap_or_default();
    let lanes =
        usize::try_from(WAL_BYTES_MAX / longest.max(1)).unwrap_or(usize::MAX).clamp(1, threads::cores());
    let read = threads::map_on(lanes, &stored, begin, |(content, plain), one| {
        cancel.check()?;
        let object = one.file.object();
        let sealed = match store::store::read(repository.store(), &object) {
            // Pruned meanwhile.
            Err(error) if error.is_not_found() => return Ok(()),
            read => read?,
        };
        one.file.open_into(repository.sealer(), &sealed, 1, (content, plain))?;
        progress.advance(one.size);
        progress.item();
        Ok::<(), RepoError>(())
    })?;
    cancel.check()?;
    for (one, outcome) in stored.iter().zip(read) {
        match outcome {
            Err(error) if error.is_too_cold() => {
                report.wal_cold += 1;
                report.bytes_cold += one.size;
                continue;
            }
            Err(error) => report.problems.push(format!("{}: {error}", one.file.object())),
            Ok(()) => {}
        }
        report.wal_read += 1;
    }
    Ok(())
}

/// How many of so many are that many percent, rounded up, so that a small share is not none.
fn share(count: usize, percent: u8) -> usize {
    (count * usize::from(percent.min(100))).div_ceil(100)
}

/// A random share of the packs, rounded up, so that repeated checks see others.
fn choose(packs: &[IndexedPack], percent: u8) -> Result<Vec<&IndexedPack>> {
    let count = share(packs.len(), percent);
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
