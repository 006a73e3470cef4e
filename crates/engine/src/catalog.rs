//! Which backups there are: one record for each snapshot, read from `x/record/` or, where that is missing, found
//! again in the snapshot itself.
//!
//! Invariant: a record is a copy. Wiping `x/record/` loses nothing but one thing: a record whose snapshot is gone, and
//! was not deleted by us, tells that a backup disappeared behind our back (C12).

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use model::backup::{BackupKind, BackupRecord, Engine, Verification};
use model::digest::Digest;
use model::entry::is_plain_name;
use model::name::{BackupId, SourceName, TenantName};
use repo::index::Index;
use repo::repository::FileKind;
use repo::sealed_file::Listed;
use repo::snapshot_file::SnapshotFile;
use repo::threads::{both, map_waiting};
use repo::{BlobKind, RepoError, Repository, tree};

use crate::cluster_manifest::ClusterManifest;
use crate::error::{EngineError, Result};
use crate::manifest::{MANIFEST_NAME, Manifest};

/// Tag of every snapshot that mainstay made.
pub const TAG: &str = "mainstay";

/// The tenant of snapshots that name none: they were made by others.
const FOREIGN_TENANT: &str = "restic";

/// Whether mainstay made it.
pub fn is_ours(snapshot: &SnapshotFile) -> bool {
    snapshot.tags.iter().any(|tag| tag == TAG)
}

/// Whether the snapshot of `record` may be one that mainstay did not make; the snapshot itself says it for sure.
pub fn may_be_foreign(record: &BackupRecord) -> bool {
    record.tenant.as_str() == FOREIGN_TENANT
}

/// What [`list_readable`] found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every backup that can be read, newest first.
    pub records: Vec<BackupRecord>,
    /// What is wrong with the others.
    pub damage: Vec<EngineError>,
    /// Backups whose snapshots are gone, although nobody deleted them with mainstay, newest first. Once prune has taken
    /// their data, nothing is left to tell of them.
    pub missing: Vec<BackupRecord>,
}

/// Every backup, newest first.
///
/// # Errors
/// Damage to a snapshot.
pub fn list(repository: &Repository) -> Result<Vec<BackupRecord>> {
    let Listing { records, damage, .. } = list_readable(repository)?;
    match damage.into_iter().next() {
        Some(damage) => Err(damage),
        None => Ok(records),
    }
}

/// Every backup that can be read, and what became of the others: one damaged snapshot hides no other (C4). Damage to a
/// copy, which is all that `x/` holds of a record, is passed over: the snapshot tells more.
///
/// # Errors
/// When the repository cannot be listed.
pub fn list_readable(repository: &Repository) -> Result<Listing> {
    // A backup that is committed meanwhile may be seen without its record, or not at all: a record without a snapshot is
    // looked for once more before it says anything.
    let names = |folder| move || note_names(repository, folder);
    let ((kept, holds), (verifications, snapshots)) = both(
        || both(names("record"), names("hold")),
        || both(|| newest_verifications(repository), || repository.list(FileKind::Snapshot)),
    );
    let (kept, holds, verifications, snapshots) = (kept?, holds?, verifications?, snapshots?);
    let (mut index, mut records, mut damage) = (None, vec![], vec![]);
    let there: HashSet<String> = snapshots.iter().map(|listed| listed.id.to_hex()).collect();
    let mut missing = load_missing(repository, kept.keys().filter(|name| !there.contains(*name)))?;
    let notes_of = |listed: &Listed| {
        let name = listed.id.to_hex();
        let copy = kept.contains_key(&name).then(|| repository.load_note(&format!("record/{name}")));
        let verification =
            verifications.get(&name).and_then(|note| repository.load_note::<Verification>(note).ok());
        (copy, verification)
    };
    let notes = map_waiting(&snapshots, notes_of)?;
    for (listed, (copy, verification)) in snapshots.into_iter().zip(notes) {
        let name = listed.id.to_hex();
        let found = match copy {
            Some(Ok(record)) => Ok(record),
            Some(Err(error)) if !error.is_damage() => return Err(error.into()),
            _ => find_again(repository, &listed.id, &mut index),
        };
        let mut record: BackupRecord = match found {
            Ok(record) => record,
            Err(error) if error.is_damage() => {
                damage.push(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        seen_in(repository, &mut record, listed.id);
        // The note alone says it: the record stays as it was made when a hold is taken away.
        record.hold = holds.contains_key(&name);
        record.last_verification = verification.or(record.last_verification);
        records.push(record);
    }
    newest_first(&mut records);
    newest_first(&mut missing);
    Ok(Listing { records, damage, missing })
}

/// In the order in which backups are shown.
pub fn newest_first(records: &mut [BackupRecord]) {
    records.sort_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
}

/// Of records without a snapshot, those that are neither deleted nor, by now, brought back.
fn load_missing<'a>(
    repository: &Repository,
    alone: impl Iterator<Item = &'a String>,
) -> Result<Vec<BackupRecord>> {
    let mut alone: Vec<Digest> = alone.filter_map(|name| name.parse().ok()).collect();
    if alone.is_empty() {
        return Ok(vec![]);
    }
    let deleted = repository.deleted_ids()?;
    alone.retain(|id| !deleted.contains(id));
    // Between the first look at the snapshots and this one, somebody may have undeleted it.
    let back = if alone.is_empty() { vec![] } else { repository.list(FileKind::Snapshot)? };
    alone.retain(|id| back.iter().all(|listed| listed.id != *id));
    let mut missing = vec![];
    for id in alone {
        match repository.load_note::<BackupRecord>(&format!("record/{id}")) {
            Ok(mut record) => {
                seen_in(repository, &mut record, id);
                missing.push(record);
            }
            // Damaged, or forgotten since it was listed: it tells nothing.
            Err(error) if error.is_damage() => {}
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(missing)
}

/// What a stored record does not say: where it was found.
fn seen_in(repository: &Repository, record: &mut BackupRecord, snapshot: Digest) {
    record.snapshot = Some(snapshot);
    record.found_at(repository.store().location());
}

fn note_names(repository: &Repository, folder: &str) -> Result<HashMap<String, ()>> {
    Ok(repository.list_notes(folder)?.into_iter().map(|(name, _)| (name, ())).collect())
}

/// The note of the newest verification of each snapshot: `verified/<snapshot>/<nanoseconds since 1970>`.
pub(crate) fn newest_verifications(repository: &Repository) -> Result<HashMap<String, String>> {
    let mut newest: HashMap<String, String> = HashMap::new();
    for (name, _) in repository.list_notes("verified")? {
        let Some((snapshot, _)) = name.split_once('/') else { continue };
        let note = format!("verified/{name}");
        let known = newest.entry(snapshot.to_owned()).or_default();
        if *known < note {
            *known = note;
        }
    }
    Ok(newest)
}

/// The record of a snapshot that has none: from the manifest of a dump, from the tags, or from what restic says.
fn find_again(repository: &Repository, id: &Digest, index: &mut Option<Index>) -> Result<BackupRecord> {
    let snapshot = repository.load_snapshot(id)?;
    // A manifest is data, which is not read for a list where it may be cold.
    let is_dump = snapshot.tag("kind") == Some(BackupKind::Dump.as_str());
    if is_dump && !repository.store().has_cold_packs() {
        let index = match index {
            Some(index) => index,
            None => index.insert(repository.load_index()?),
        };
        if let Ok(manifest) = load_manifest(repository, index, &snapshot) {
            // A mended snapshot still holds the manifest of the one that it was made from.
            let tags = from_tags(id, &snapshot);
            return Ok(BackupRecord { id: tags.id, incomplete: tags.incomplete, ..manifest.record });
        }
    }
    Ok(from_tags(id, &snapshot))
}

/// The record that a snapshot's tags, or what restic says, make up.
pub(crate) fn from_tags(id: &Digest, snapshot: &SnapshotFile) -> BackupRecord {
    let named = |tag: &str, otherwise: &str| match snapshot.tag(tag) {
        Some(value) => value.to_owned(),
        None => otherwise.to_owned(),
    };
    let path = snapshot.paths.first().map_or("", String::as_str);
    let source = SourceName::derived_from(&named("source", path.rsplit('/').next().unwrap_or(path)));
    let tenant: TenantName = SourceName::derived_from(&named("tenant", FOREIGN_TENANT))
        .as_str()
        .parse()
        .expect("a derived name is a legal name");
    let id_text = named("id", &format!("restic-{}", id.short()));
    let id = id_text.parse().unwrap_or_else(|_| BackupId::new(&tenant, &source, snapshot.time, 1));
    let kind = match snapshot.tag("kind") {
        Some("dump") => BackupKind::Dump,
        Some("cluster") => BackupKind::Cluster,
        Some("wal") => BackupKind::Wal,
        _ => BackupKind::Directory,
    };
    let engine = if kind == BackupKind::Directory { Engine::FILES } else { Engine::POSTGRES };
    let summary = snapshot.summary.as_ref();
    BackupRecord {
        id,
        tenant,
        source,
        kind,
        database: String::new(),
        created_at: snapshot.time,
        size_bytes: summary.map_or(0, |summary| summary.total_bytes_processed),
        stored_bytes: summary.map_or(0, |summary| summary.data_added_packed),
        sha256: None,
        destination: String::new(),
        location: String::new(),
        engine: Engine(named("engine", engine)),
        snapshot: None,
        last_verification: None,
        relation_count: 0,
        start_lsn: named("start", ""),
        stop_lsn: named("stop", ""),
        timeline: named("timeline", ""),
        label: named("label", ""),
        hold: false,
        incomplete: snapshot.tags.iter().any(|tag| tag == "incomplete"),
    }
}

/// The one backup whose id begins with `prefix`; a whole id wins over longer ones.
///
/// # Errors
/// [`EngineError::NoBackup`], [`EngineError::Ambiguous`], or what [`list`] says.
pub fn find(repository: &Repository, prefix: &str) -> Result<BackupRecord> {
    let Listing { records, damage, missing } = list_readable(repository)?;
    choose(records, prefix).map_err(|error| explained(error, damage, missing, prefix))
}

/// Why there is no backup of that name, where more is known: it disappeared, or it may be the one that cannot be read.
pub fn explained(
    error: EngineError,
    damage: Vec<EngineError>,
    missing: Vec<BackupRecord>,
    prefix: &str,
) -> EngineError {
    if !matches!(error, EngineError::NoBackup(_)) {
        return error;
    }
    match choose(missing, prefix) {
        Ok(record) => EngineError::Disappeared(record.id),
        Err(_) => damage.into_iter().next().unwrap_or(error),
    }
}

/// The same among `records`.
///
/// # Errors
/// As [`find`].
pub fn choose(records: Vec<BackupRecord>, prefix: &str) -> Result<BackupRecord> {
    let snapshot = |record: &BackupRecord| record.snapshot.map(Digest::to_hex).unwrap_or_default();
    // An id that ends with its second is whole: what follows it with a number is another backup of that second.
    let is_other = |rest: &str| {
        let number = rest.strip_prefix('-').filter(|_| prefix.ends_with('Z'));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_asked = |record: &BackupRecord| {
        !prefix.is_empty()
            && (record.id.as_str().strip_prefix(prefix).is_some_and(|rest| !is_other(rest))
                || (prefix.len() >= 8 && snapshot(record).starts_with(prefix)))
    };
    let mut matching: Vec<_> = records.into_iter().filter(is_asked).collect();
    if let Some(exact) = matching.iter().position(|record| record.id.as_str() == prefix) {
        return Ok(matching.swap_remove(exact));
    }
    match matching.len() {
        0 => Err(EngineError::NoBackup(prefix.to_owned())),
        1 => Ok(matching.remove(0)),
        _ => {
            let ids: Vec<_> = matching.iter().take(5).map(|record| record.id.as_str()).collect();
            Err(EngineError::Ambiguous { prefix: prefix.to_owned(), matches: ids.join(", ") })
        }
    }
}

/// The snapshot of a record.
///
/// # Errors
/// Damage, or [`EngineError::NoBackup`] where it is gone.
pub fn load_snapshot(repository: &Repository, record: &BackupRecord) -> Result<SnapshotFile> {
    let id = record.snapshot.ok_or_else(|| EngineError::NoBackup(record.id.to_string()))?;
    Ok(repository.load_snapshot(&id)?)
}

/// The manifest of a dump.
///
/// # Errors
/// Damage, or a form that this build does not know.
pub fn load_manifest(repository: &Repository, index: &Index, snapshot: &SnapshotFile) -> Result<Manifest> {
    let json = load_small_file(repository, index, &snapshot.tree, MANIFEST_NAME)?;
    let manifest: Manifest =
        serde_json::from_slice(&json).map_err(|error| RepoError::damaged(MANIFEST_NAME, error))?;
    Ok(manifest)
}

/// The manifest of a cluster.
///
/// # Errors
/// As [`load_manifest`].
pub fn load_cluster_manifest(
    repository: &Repository,
    index: &Index,
    snapshot: &SnapshotFile,
) -> Result<ClusterManifest> {
    let json = load_small_file(repository, index, &snapshot.tree, MANIFEST_NAME)?;
    let manifest = serde_json::from_slice(&json);
    Ok(manifest.map_err(|error| RepoError::damaged(MANIFEST_NAME, error))?)
}

/// The bytes of a file in the root of a tree.
///
/// # Errors
/// Damage, or a missing file.
pub fn load_small_file(repository: &Repository, index: &Index, root: &Digest, name: &str) -> Result<Vec<u8>> {
    debug_assert!(is_plain_name(name.as_bytes()));
    let json = repository.read_blob(index, BlobKind::Tree, root)?;
    let nodes = tree::decode(&json, &format_args!("tree {root}"))?;
    let node = nodes.into_iter().find(|node| node.entry.name == name.as_bytes());
    let node = node.ok_or_else(|| RepoError::damaged(format!("tree {root}"), format!("has no {name}")))?;
    let mut bytes = vec![];
    for id in &node.content {
        bytes.extend(repository.read_blob(index, BlobKind::Data, id)?);
    }
    Ok(bytes)
}

/// Remember that a backup was verified.
///
/// # Errors
/// When the store does not take it.
pub fn save_verification(
    repository: &Repository,
    record: &BackupRecord,
    passed: bool,
    at: Timestamp,
) -> Result<()> {
    let Some(snapshot) = record.snapshot else { return Ok(()) };
    let result = if passed { "passed" } else { "failed" }.to_owned();
    // Fixed width, so that names sort as times do.
    let name = format!("verified/{snapshot}/{:020}", at.as_nanosecond());
    repository.put_note(&name, &Verification { at, result })?;
    Ok(())
}

/// Put a backup on hold, or take the hold away.
///
/// # Errors
/// When the store fails.
pub fn set_hold(repository: &Repository, record: &BackupRecord, hold: bool) -> Result<()> {
    let Some(snapshot) = record.snapshot else { return Ok(()) };
    match hold {
        true => put_hold(repository, &snapshot, &record.id),
        false => Ok(repository.delete_note(&format!("hold/{snapshot}"))?),
    }
}

/// Put the backup whose snapshot is, or will be, `snapshot` on hold.
///
/// # Errors
/// When the store fails.
pub(crate) fn put_hold(repository: &Repository, snapshot: &Digest, id: &BackupId) -> Result<()> {
    repository.put_note(&format!("hold/{snapshot}"), id)?;
    Ok(())
}
