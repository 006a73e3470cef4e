//! Make a full backup out of a chain of increments, in the repository, without touching the server.
//!
//! Every file is put together as a restore would, and stored as one: pieces that it shares with the first link are there
//! already, so that little is added. What one link has whole is taken by reference, with the sum that its own
//! `backup_manifest` names. The new backup is of the same moment as the newest link: same start, stop, WAL and time. So it
//! takes its place wherever that counts, also as what the next increment is made against.
//!
//! Invariant: as with every backup, nothing of it is seen before all of it is stored.

use std::sync::Arc;

use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::name::BackupId;
use pg::backup_label::{BACKUP_LABEL, BackupLabel};
use pg::backup_manifest::ManifestWriter;
use repo::index::Index;
use repo::node::Node;
use repo::snapshot_file::SnapshotFile;
use repo::{RepoError, Repository};

use crate::back_up_cluster::LEVEL;
use crate::catalog;
use crate::cluster_manifest::{CHAIN, CONSOLIDATED, ClusterManifest, link_name};
use crate::cutter;
use crate::dump_stream::json;
use crate::error::{EngineError, Result};
use crate::manifest::MANIFEST_NAME;
use crate::restore_cluster::{Whole, WholeWalk};
use crate::writing::{
    ClusterPositions, FileCounts, Order, Outcome, Writing, plain_directory, save_small_file, save_tree,
};

/// The label of a full backup: the one of the increment, without what says that it is one.
fn full_label(label: &[u8]) -> Result<Vec<u8>> {
    let lines = label.split_inclusive(|byte| *byte == b'\n');
    let label: Vec<u8> =
        lines.filter(|line| !line.starts_with(b"INCREMENTAL FROM ")).flatten().copied().collect();
    let parsed = BackupLabel::parse(&String::from_utf8_lossy(&label));
    match parsed.map_err(|error| RepoError::damaged(BACKUP_LABEL, error))?.incremental_from {
        None => Ok(label),
        Some(_) => Err(RepoError::damaged(BACKUP_LABEL, "says twice that it is of an increment").into()),
    }
}

mod gather;

use gather::{Gathering, PIECE_LEN};

/// What would be done.
#[derive(Clone, Debug)]
pub struct ConsolidatePlan {
    /// The backups of which it is made, the full one first.
    pub made_of: Vec<BackupId>,
    /// Files.
    pub files: u64,
    /// Files that several links make.
    pub merged: u64,
    /// Bytes of those, which have to be read.
    pub bytes: u64,
    manifest: ClusterManifest,
}

/// The full backup that was made of `record` before, where one of `records` is it.
///
/// # Errors
/// Damage to its snapshot.
pub fn find_made<'a>(
    repository: &Repository,
    records: &'a [BackupRecord],
    record: &BackupRecord,
) -> Result<Option<&'a BackupRecord>> {
    let is_beside = |other: &&BackupRecord| {
        let of = |record: &BackupRecord| (record.tenant.clone(), record.source.clone(), record.created_at);
        other.id != record.id && of(other) == of(record)
    };
    for other in records.iter().filter(is_beside) {
        if catalog::load_snapshot(repository, other)?.tag(CONSOLIDATED) == Some(record.id.as_str()) {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Look at a backup. `None`: it is a full one already.
///
/// # Errors
/// Damage; [`EngineError::Unsuitable`] for what is no cluster.
pub fn plan(
    repository: &Repository,
    index: &Index,
    record: &BackupRecord,
    cancel: &CancelToken,
) -> Result<Option<ConsolidatePlan>> {
    if record.kind != BackupKind::Cluster {
        let (id, kind) = (&record.id, record.kind.as_str());
        return Err(EngineError::Unsuitable(format!("{id} is a {kind}; only clusters have increments")));
    }
    let snapshot = catalog::load_snapshot(repository, record)?;
    let manifest = catalog::load_cluster_manifest(repository, index, &snapshot)?;
    if manifest.earlier.is_empty() {
        return Ok(None);
    }
    let made_of = manifest.earlier.iter().map(|link| link.id.clone()).chain([record.id.clone()]).collect();
    let mut plan = ConsolidatePlan { made_of, files: 0, merged: 0, bytes: 0, manifest };
    let mut walk = WholeWalk::open(repository, index, &snapshot, cancel)?;
    while let Some(met) = walk.next()? {
        let Whole::File(file) = met else { continue };
        plan.files += 1;
        if file.content.is_none() {
            plan.merged += 1;
            plan.bytes += file.entry.metadata.size;
        }
    }
    Ok(Some(plan))
}

/// Make the full backup. Tenant, source and time are those of `record`, whatever `order` says.
///
/// # Errors
/// Anything that went wrong on the way; then there is no new backup.
pub fn consolidate(
    repository: &Arc<Repository>,
    record: &BackupRecord,
    plan: &ConsolidatePlan,
    order: &Order,
) -> Result<BackupRecord> {
    let order = &Order {
        tenant: record.tenant.clone(),
        source: record.source.clone(),
        // As of that moment: retention, points in time and the next increment go by it.
        now: record.created_at,
        level: Some(order.level.unwrap_or(LEVEL)),
        ..order.clone()
    };
    let snapshot = catalog::load_snapshot(repository, record)?;
    let writing = Writing::begin(repository, order)?;
    let saved = save(&writing, &snapshot, plan, order);
    let (link, seen) = match saved {
        Ok(saved) => saved,
        Err(error) => return Err(first_cause(writing, error)),
    };
    let outcome = outcome(record, plan, &seen, order);
    let manifest = ClusterManifest {
        record: writing.record(&outcome),
        earlier: vec![],
        made_of: plan.made_of.clone(),
        ..plan.manifest.clone()
    };
    let saver = &writing.saver;
    let mut chain = plain_directory(CHAIN, order);
    chain.subtree = Some(save_tree(saver, &mut [link])?);
    let manifest = save_small_file(saver, MANIFEST_NAME, &json(&manifest)?, order)?;
    let root = save_tree(saver, &mut [chain, manifest])?;
    writing.commit(root, &outcome)
}

/// What was met.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    size: u64,
    files: u64,
}

fn save(
    writing: &Writing,
    snapshot: &SnapshotFile,
    plan: &ConsolidatePlan,
    order: &Order,
) -> Result<(Node, Seen)> {
    let Writing { repository, index, saver, .. } = writing;
    let mut walk = WholeWalk::open(repository, index, snapshot, &order.cancel)?;
    let cutter = cutter::load(repository, PIECE_LEN)?;
    let ClusterManifest { server_version, system_id, timeline, start_lsn, stop_lsn, .. } = &plan.manifest;
    let begun = ManifestWriter::begin(*server_version, *system_id);
    let sums = gather::sums(walk.manifest()?.as_deref())?;
    let mut gathering = Gathering::begin(saver, &cutter, begun, sums)?;
    order.progress.begin("consolidating", plan.bytes);
    let (mut seen, mut has_label) = (Seen::default(), false);
    while let Some(met) = walk.next()? {
        order.cancel.check()?;
        match met {
            Whole::Enter(entry) => gathering.enter(*entry),
            Whole::Special(entry) => gathering.special(*entry),
            Whole::Leave => gathering.leave()?,
            Whole::File(file) => {
                (seen.size, seen.files) = (seen.size + file.entry.metadata.size, seen.files + 1);
                has_label |= file.path.as_bytes() == BACKUP_LABEL.as_bytes();
                gathering.file(&walk, &file, &order.progress)?;
            }
        }
    }
    if !has_label {
        return Err(RepoError::damaged(BACKUP_LABEL, "is not in the backup").into());
    }
    let link = gathering.finish(
        &link_name(0),
        |manifest| manifest.finish(*timeline, *start_lsn, *stop_lsn),
        order,
    )?;
    Ok((link, seen))
}

/// What stopped the pipeline is the reason; what others met afterwards is only its consequence.
fn first_cause(writing: Writing, error: EngineError) -> EngineError {
    match writing.saver.finish() {
        Err(RepoError::System(_) | RepoError::Cancelled(_)) | Ok(_) => error,
        Err(first) => first.into(),
    }
}

fn outcome(record: &BackupRecord, plan: &ConsolidatePlan, seen: &Seen, order: &Order) -> Outcome {
    let manifest = &plan.manifest;
    let ClusterManifest { system_id, timeline, start_lsn: start, stop_lsn: stop, segment_size, .. } =
        manifest;
    Outcome {
        kind: BackupKind::Cluster,
        database: String::new(),
        size_bytes: seen.size,
        sha256: None,
        relation_count: record.relation_count,
        positions: Some(ClusterPositions { start: *start, stop: *stop, timeline: *timeline }),
        paths: vec![format!("/{}/{}", order.tenant, order.source)],
        excludes: vec![],
        parent: record.snapshot,
        tags: vec![
            format!("system={system_id}"),
            format!("timeline={timeline}"),
            format!("start={start}"),
            format!("stop={stop}"),
            format!("segment={segment_size}"),
            format!("link={}", link_name(0)),
            format!("{CONSOLIDATED}={}", record.id),
        ],
        // What is taken over unread is as good as it was found to be.
        incomplete: !record.is_good(),
        files: FileCounts { new: seen.files - plan.merged, changed: plan.merged, unmodified: 0 },
    }
}
