//! New snapshots without what is lost, beside those that cannot be restored whole any more.
//!
//! Invariants: the broken snapshot stays, unless it is to be replaced, and can come back even then; a mended one is
//! tagged `repaired` and `incomplete`, so nobody takes it for a good backup.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::name::BackupId;
use model::progress::Progress;
use repo::Repository;
use repo::index::Index;
use repo::lease::{Identity, Lease};
use repo::repair::lost;
use repo::saver::{SaveOptions, Saver};
use repo::snapshot_file::SnapshotFile;
use repo::touched::{Touched, touched};
use serde::Serialize;

use crate::catalog;
use crate::error::Result;
use mend::Mender;

mod mend;

pub use repo::snapshot_file::REPAIRED;

/// Files of one backup that are named at most.
const NAMED_MAX: usize = 100;

/// One backup that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairedBackup {
    /// The broken backup.
    pub broken: BackupId,
    /// Its snapshot.
    pub snapshot: Digest,
    /// The mended backup; `None` for a dry run, or where nothing is left of it.
    pub repaired: Option<BackupId>,
    /// Whether its root is lost, so that nothing can be saved.
    pub is_hopeless: bool,
    /// Files and directories that lack something.
    pub files: usize,
    /// The first hundred of them.
    pub paths: Vec<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Delete the broken backups, once the mended ones are there; `undelete` brings them back.
    pub replace: bool,
}

/// Mend every backup that needs blobs which are in no index any more.
///
/// # Errors
/// [`repo::RepoError::InUse`] while anybody is at work; what the store says.
pub fn repair_snapshots(
    repository: &Arc<Repository>,
    options: RepairOptions,
    identity: &Identity,
    now: Timestamp,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<RepairedBackup>> {
    let lease = match options.dry_run {
        true => None,
        false => Some(Lease::exclusive(repository, "repair", identity)?),
    };
    progress.begin("looking for what is lost", 0);
    let records = catalog::list_readable(repository)?.records;
    let index = Arc::new(repository.load_index()?);
    let broken = find_broken(repository, &index, &records, cancel)?;
    let Some(lease) = lease.filter(|_| !broken.is_empty()) else {
        return Ok(broken.into_iter().map(|broken| broken.report).collect());
    };
    let mut ids: HashSet<BackupId> = records.iter().map(|record| record.id.clone()).collect();
    let saver_options =
        SaveOptions { cancel: cancel.clone(), guard: lease.guard(), ..SaveOptions::default() };
    let saver = Saver::start(repository, &Arc::new(repository.load_index_for_writing()?), saver_options)?;
    let mut mended = vec![];
    {
        let mut mender = Mender::new(repository, &index, lost::lengths(repository)?, saver.hand()?)?;
        for broken in broken {
            let root = mender.mend(broken.snapshot.tree, cancel)?;
            mended.push((broken, root));
            progress.item();
        }
    }
    saver.finish()?;
    lease.check()?;
    let mut reports = vec![];
    for (Broken { record, snapshot, mut report }, root) in mended {
        report.is_hopeless = root.is_none();
        if let Some(root) = root {
            let id = free_id(&record, &snapshot, &mut ids);
            commit(repository, &record, &snapshot, &id, root)?;
            report.repaired = Some(id);
            if options.replace && !record.hold {
                repository.delete_snapshot(&report.snapshot, now, &lease.guard())?;
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

struct Broken {
    record: BackupRecord,
    snapshot: SnapshotFile,
    report: RepairedBackup,
}

fn find_broken(
    repository: &Repository,
    index: &Index,
    records: &[BackupRecord],
    cancel: &CancelToken,
) -> Result<Vec<Broken>> {
    let mut by_id = HashMap::new();
    let mut roots = vec![];
    for record in records {
        let snapshot = catalog::load_snapshot(repository, record)?;
        let Some(id) = record.snapshot else { continue };
        roots.push((id, snapshot.tree));
        by_id.insert(id, (record, snapshot));
    }
    let (found, _) = touched(repository, index, &roots, &|_, _| false, cancel)?;
    let mut paths: BTreeMap<Digest, Vec<Touched>> = BTreeMap::new();
    for touched in found {
        paths.entry(touched.snapshot).or_default().push(touched);
    }
    let broken = paths.into_iter().filter_map(|(id, found)| {
        let (record, snapshot) = by_id.remove(&id)?;
        let report = RepairedBackup {
            broken: record.id.clone(),
            snapshot: id,
            repaired: None,
            is_hopeless: false,
            files: found.len(),
            paths: found.into_iter().take(NAMED_MAX).map(|touched| touched.path).collect(),
        };
        Some(Broken { record: record.clone(), snapshot, report })
    });
    Ok(broken.collect())
}

/// An id that no backup has: that of another backup in the same second.
fn free_id(record: &BackupRecord, snapshot: &SnapshotFile, ids: &mut HashSet<BackupId>) -> BackupId {
    let id = (2..)
        .map(|nth| BackupId::new(&record.tenant, &record.source, snapshot.time, nth))
        .find(|id| !ids.contains(id))
        .expect("there are more numbers than backups");
    ids.insert(id.clone());
    id
}

fn commit(
    repository: &Repository,
    record: &BackupRecord,
    broken: &SnapshotFile,
    id: &BackupId,
    root: Digest,
) -> Result<()> {
    let is_ours = broken.tag("id").is_some();
    let is_kept = |tag: &&String| !tag.starts_with("id=") && *tag != "incomplete" && *tag != REPAIRED;
    let mut tags: Vec<String> = broken.tags.iter().filter(is_kept).cloned().collect();
    tags.extend(is_ours.then(|| format!("id={id}")));
    tags.extend(["incomplete".to_owned(), REPAIRED.to_owned()]);
    let original = broken.original.or(record.snapshot);
    let snapshot = SnapshotFile { tree: root, tags, original, ..broken.clone() };
    let stored = repository.commit_snapshot(&snapshot)?;
    let record = BackupRecord {
        id: id.clone(),
        snapshot: Some(stored),
        last_verification: None,
        hold: false,
        incomplete: true,
        ..record.clone()
    };
    // As with every backup: the record is a copy, and found again in the snapshot.
    repository.put_note(&format!("record/{stored}"), &record).ok();
    Ok(())
}
