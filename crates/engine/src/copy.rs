//! Copy backups from one repository into another, whose key and store may be different.
//!
//! The order is that of every write: blobs → packs → index → snapshot, in rounds of some snapshots each. So a copy that
//! is cut short leaves nothing half that anybody sees, keeps the rounds that are done, and the next one goes on with
//! what was stored of the others. A snapshot that the target has is not copied again: its origin, tree and tags say
//! which one it is. Memory: the names of the blobs, a range of a pack per thread, and the target's pipeline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use repo::adopt;
use repo::index::{IdSet, Index};
use repo::lease::{Identity, Lease};
use repo::reachable::{self, Reachable};
use repo::reader::Wanted;
use repo::saver::{Hand, SaveOptions, SaveStats, Saver};
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, RepoError, Repository};
use serde::Serialize;

use crate::error::{EngineError, Result};
use crate::{catalog, cutter, reading};

/// Bytes, before compression, after which what is there is committed: what a copy that is cut short loses at most.
const ROUND_LEN: u64 = 256 << 20;
/// Snapshots of one round at most: each round ends with packs that are not full, and an index file.
const ROUND_SNAPSHOTS: usize = 16;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyReport {
    /// Each snapshot that was copied, and its id in the target.
    pub copied: Vec<(Digest, Digest)>,
    /// Snapshots that the target had.
    pub skipped: usize,
    /// Blobs that the target did not have.
    #[serde(with = "model::backup::decimal")]
    pub blobs: u64,
    /// Their bytes, before compression.
    #[serde(with = "model::backup::decimal")]
    pub bytes: u64,
    /// Their bytes as stored in the target.
    #[serde(with = "model::backup::decimal")]
    pub stored_bytes: u64,
}

impl CopyReport {
    /// Take what another copy did into account.
    pub(crate) fn add_report(&mut self, other: Self) {
        self.skipped = other.skipped;
        self.copied.extend(other.copied);
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.stored_bytes += other.stored_bytes;
    }

    fn add(&mut self, stats: SaveStats) {
        self.blobs += stats.data_blobs + stats.tree_blobs;
        self.bytes += stats.added;
        self.stored_bytes += stats.stored;
    }
}

/// A snapshot to copy.
struct Job<'a> {
    id: Digest,
    snapshot: SnapshotFile,
    record: &'a BackupRecord,
}

/// Copy the backups `records` of `source` into `target`.
///
/// # Errors
/// [`EngineError::Refused`] where both are one repository; damage to anything that is copied; what a store says.
pub fn copy(
    source: &Arc<Repository>,
    target: &Arc<Repository>,
    records: &[BackupRecord],
    identity: &Identity,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<CopyReport> {
    refuse_same(source, target)?;
    let source_lease = reading::begin(source, "copy", identity)?;
    let target_lease = Lease::beside(target, "copy", identity)?;
    adopt::after_crash(target, &target_lease, cancel)?;
    cutter::copy_seed(source, target)?;
    let mut known = known_snapshots(target)?;
    let (jobs, mut report) = jobs(source, target, records, &known)?;
    if jobs.is_empty() {
        return Ok(report);
    }
    progress.begin("reading directories", 0);
    let source_index = source.load_index()?;
    let target_index = Arc::new(target.load_index_for_writing()?);
    let rounds = plan_rounds(source, (&source_index, &target_index), jobs, cancel)?;
    progress.begin("copying", rounds.iter().map(Round::bytes).sum());
    for mut round in rounds {
        let stats =
            round.carry((source, &source_index), (target, &target_index), &target_lease, progress, cancel)?;
        report.add(stats);
        source_lease.as_ref().map_or(Ok(()), Lease::check)?;
        for job in round.jobs {
            cancel.check()?;
            target_lease.check()?;
            let id = commit(source, target, &job, &known)?;
            known.insert(name_of(&job.id, &job.snapshot), id);
            report.copied.push((job.id, id));
        }
    }
    // Nobody had taken us for dead before the last one was visible; only then it is said that they are there.
    target_lease.verify_kept()?;
    Ok(report)
}

/// Those of `records` that the target does not have. Changes nothing.
///
/// # Errors
/// [`EngineError::Refused`] where both are one repository; what a store says.
pub fn missing(
    source: &Repository,
    target: &Repository,
    mut records: Vec<BackupRecord>,
) -> Result<Vec<BackupRecord>> {
    refuse_same(source, target)?;
    let known = known_snapshots(target)?;
    let mut lacks = Vec::with_capacity(records.len());
    for record in &records {
        let snapshot = catalog::load_snapshot(source, record)?;
        lacks.push(record.snapshot.is_none_or(|id| !known.contains_key(&name_of(&id, &snapshot))));
    }
    let mut lacks = lacks.into_iter();
    records.retain(|_| lacks.next().unwrap_or(true));
    Ok(records)
}

fn refuse_same(source: &Repository, target: &Repository) -> Result<()> {
    match source.config().id == target.config().id {
        true => Err(EngineError::Refused("source and target are the same repository".to_owned())),
        false => Ok(()),
    }
}

/// What makes two snapshots the same one: where it came from first, its tree, its tags.
type Name = (Digest, Digest, Vec<String>);

fn name_of(id: &Digest, snapshot: &SnapshotFile) -> Name {
    let mut tags = snapshot.tags.clone();
    tags.sort();
    (snapshot.original.unwrap_or(*id), snapshot.tree, tags)
}

fn known_snapshots(target: &Repository) -> Result<HashMap<Name, Digest>> {
    let snapshots = target.load_snapshots()?.into_iter();
    Ok(snapshots.map(|(id, snapshot)| (name_of(&id, &snapshot), id)).collect())
}

/// What is to be copied, the oldest first. What the target has gets its record if that is missing.
fn jobs<'a>(
    source: &Repository,
    target: &Repository,
    records: &'a [BackupRecord],
    known: &HashMap<Name, Digest>,
) -> Result<(Vec<Job<'a>>, CopyReport)> {
    let (mut jobs, mut report) = (vec![], CopyReport::default());
    for record in records {
        let snapshot = catalog::load_snapshot(source, record)?;
        let id = record.snapshot.ok_or_else(|| EngineError::NoBackup(record.id.to_string()))?;
        match known.get(&name_of(&id, &snapshot)) {
            Some(there) => {
                report.skipped += 1;
                save_record(target, record, there)?;
            }
            None => jobs.push(Job { id, snapshot, record }),
        }
    }
    jobs.sort_by_key(|job| job.snapshot.time);
    Ok((jobs, report))
}

/// Snapshots that become visible together, and what the target lacks for them.
#[derive(Default)]
struct Round<'a> {
    jobs: Vec<Job<'a>>,
    data: Vec<Wanted>,
    trees: Vec<Wanted>,
}

/// What to carry in which round; nothing is carried where anything is missing. What one round carries, the later ones
/// rely on.
fn plan_rounds<'a>(
    source: &Repository,
    (source_index, target_index): (&Index, &Index),
    jobs: Vec<Job<'a>>,
    cancel: &CancelToken,
) -> Result<Vec<Round<'a>>> {
    let lacking = |kind, ids: &IdSet| -> Result<Vec<Wanted>> {
        let mut wanted = vec![];
        for id in ids {
            if !target_index.has(kind, id)? {
                wanted.push(Wanted { id: *id, place: source_index.require(kind, id)?, tag: 0 });
            }
        }
        Ok(wanted)
    };
    let mut seen = Reachable::default();
    let mut rounds = vec![Round::default()];
    for job in jobs {
        if rounds.last().is_some_and(Round::is_full) {
            rounds.push(Round::default());
        }
        let Some(round) = rounds.last_mut() else { break };
        let root = [(job.id, job.snapshot.tree)];
        let (found, broken) = reachable::collect_beyond(&seen, source, source_index, &root, cancel)?;
        if let Some(first) = broken.into_iter().next() {
            return Err(first.error.into());
        }
        round.data.extend(lacking(BlobKind::Data, &found.data)?);
        round.trees.extend(lacking(BlobKind::Tree, &found.trees)?);
        round.jobs.push(job);
        seen.data.extend(found.data);
        seen.trees.extend(found.trees);
    }
    Ok(rounds)
}

impl Round<'_> {
    fn bytes(&self) -> u64 {
        self.data.iter().chain(&self.trees).map(|one| u64::from(one.place.plain_length())).sum()
    }

    fn is_full(&self) -> bool {
        self.jobs.len() >= ROUND_SNAPSHOTS || self.bytes() >= ROUND_LEN
    }

    /// Bring over every blob that the target lacks, each read once and compared with its name.
    fn carry(
        &mut self,
        (source, source_index): (&Arc<Repository>, &Index),
        (target, target_index): (&Arc<Repository>, &Arc<Index>),
        lease: &Lease,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<SaveStats> {
        let options = SaveOptions { cancel: cancel.clone(), guard: lease.guard(), ..SaveOptions::default() };
        let saver = Saver::start(target, target_index, options)?;
        let road = Road { source, source_index, saver: &saver, progress, cancel };
        let outcome = road
            .carry(BlobKind::Data, &mut self.data)
            .and_then(|()| road.carry(BlobKind::Tree, &mut self.trees));
        // When storing failed, that is the reason; what `outcome` says then only follows from it.
        let stats = saver.finish();
        match (outcome, stats) {
            (Ok(()), stats) => Ok(stats?),
            (Err(outcome), stats) => Err(stats.map_or_else(EngineError::from, |_| outcome)),
        }
    }
}

struct Road<'a> {
    source: &'a Repository,
    source_index: &'a Index,
    saver: &'a Saver,
    progress: &'a Progress,
    cancel: &'a CancelToken,
}

impl Road<'_> {
    /// Read pack by pack; each reading thread saves what it has read.
    fn carry(&self, kind: BlobKind, wanted: &mut [Wanted]) -> Result<()> {
        let hands: Mutex<Vec<Hand>> = Mutex::default();
        let take = || hands.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.source.read_packed(self.source_index, wanted, self.cancel, |_, bytes| {
            let bytes = bytes?;
            let mut hand = take().map_or_else(|| self.saver.hand(), Ok)?;
            hand.save(kind, bytes)?;
            hands.lock().unwrap_or_else(PoisonError::into_inner).push(hand);
            self.progress.advance(bytes.len() as u64);
            self.progress.item();
            Ok::<(), EngineError>(())
        })
    }
}

fn commit(
    source: &Repository,
    target: &Repository,
    job: &Job<'_>,
    known: &HashMap<Name, Digest>,
) -> Result<Digest> {
    let parent = job.snapshot.parent.and_then(|parent| {
        let snapshot = source.load_snapshot(&parent).ok()?;
        known.get(&name_of(&parent, &snapshot)).copied()
    });
    let original = Some(job.snapshot.original.unwrap_or(job.id));
    let snapshot = SnapshotFile { parent, original, ..job.snapshot.clone() };
    let id = target.commit_snapshot_after(&snapshot, |id| match job.record.hold {
        true => catalog::put_hold(target, id, &job.record.id),
        false => Ok(()),
    })?;
    save_record(target, job.record, &id)?;
    Ok(id)
}

/// Keep the record under the snapshot's new id, and the hold before it: a record that is there is complete.
fn save_record(target: &Repository, record: &BackupRecord, id: &Digest) -> Result<()> {
    let name = format!("record/{id}");
    match target.load_note::<BackupRecord>(&name) {
        Err(RepoError::Store(error)) if error.is_not_found() => {}
        other => return Ok(other.map(|_| ())?),
    }
    let copied = BackupRecord {
        snapshot: Some(*id),
        destination: String::new(),
        location: String::new(),
        last_verification: None,
        ..record.clone()
    };
    if record.hold {
        catalog::set_hold(target, &copied, true)?;
    }
    target.put_note(&name, &copied)?;
    Ok(())
}
