//! A stored cluster, looked at before anything of it is written: what it is, how large, and whether all of it is there.
//!
//! Invariant: what passes here has a sound pg_control and backup_label of the same cluster, every piece of every link
//! in the index, and the packs that the index names in the store. So a chain without a link, or a backup without its label
//! (pitfall 11), costs nobody's directory.

use std::collections::HashSet;
use std::path::PathBuf;

use model::lsn::{Lsn, SystemId};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize};
use pg::backup_label::{BACKUP_LABEL, BackupLabel, MappedTablespace, TABLESPACE_MAP, parse_tablespace_map};
use pg::control_file::{CONTROL_FILE, ControlFile};
use pg::shared_catalog::{DATABASES, FILENODE_MAP, NamedRow, file_of, rows};
use pg::wal_records::RecordWalk;
use repo::index::Index;
use repo::node::Node;
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, RepoError, Repository};

use super::links::{Draft, Links, Met};
use super::merged::{Stored, needed};
use super::order::{ClusterOrder, ClusterPlan};
use super::packs;
use super::selection::Selection;
use super::sites::{locate, plan_destinations};
use crate::catalog;
use crate::cluster_manifest::ClusterManifest;
use crate::error::{EngineError, Result};
use crate::stored_tree::TreeSource;
use crate::zeros::ZeroBlobs;

/// A stored cluster, as far as it says of itself.
pub(super) struct Found {
    pub(super) links: Links,
    pub(super) control: ControlFile,
    pub(super) spaces: Vec<MappedTablespace>,
    pub(super) major: u32,
    stop: Lsn,
    last_record: Option<Lsn>,
    /// The data directory that was backed up; empty where the server did not tell.
    pub(super) original: PathBuf,
    label: BackupLabel,
}

/// Read what it says of itself.
pub(super) fn find(
    repository: &Repository,
    index: &Index,
    trees: &mut TreeSource<'_>,
    snapshot: &SnapshotFile,
) -> Result<Found> {
    let manifest = catalog::load_cluster_manifest(repository, index, snapshot)?;
    let links = Links::find(trees, &snapshot.tree)?;
    if links.len() != manifest.earlier.len() + 1 {
        let reason = format!("has {} links, {} were recorded", links.len(), manifest.earlier.len() + 1);
        return Err(RepoError::damaged("the chain", reason).into());
    }
    let mut read = |name: &str| {
        let node = links.newest_file(trees, name)?;
        node.map(|node| content(repository, index, &node)).transpose()
    };
    let missing = |name: &str| RepoError::damaged(name, "is not in the backup");
    let control = read(CONTROL_FILE)?.ok_or_else(|| missing(CONTROL_FILE))?;
    let control = ControlFile::parse(&control).map_err(|error| RepoError::damaged(CONTROL_FILE, error))?;
    let label = read(BACKUP_LABEL)?.ok_or_else(|| missing(BACKUP_LABEL))?;
    let label = BackupLabel::parse(&String::from_utf8_lossy(&label))
        .map_err(|error| RepoError::damaged(BACKUP_LABEL, error))?;
    let map = read(TABLESPACE_MAP)?.unwrap_or_default();
    let spaces = parse_tablespace_map(&map).map_err(|error| RepoError::damaged(TABLESPACE_MAP, error))?;
    verify_same(manifest.system_id, control.system, manifest.start_lsn, label.start)?;
    let major = manifest.server_version.major();
    let last_record = match manifest.is_standby {
        true => last_record(&manifest, control.wal_segment_size, &mut read)?,
        false => None,
    };
    let (stop, original) = (manifest.stop_lsn, PathBuf::from(manifest.data_directory));
    Ok(Found { links, control, spaces, major, stop, last_record, original, label })
}

/// Where the record begins that ends where the backup does. The last two segments are looked at: few records are longer.
fn last_record(
    manifest: &ClusterManifest,
    size: SegmentSize,
    read: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>,
) -> Result<Option<Lsn>> {
    let last = size.segment_before(manifest.stop_lsn).0;
    let mut walk = RecordWalk::up_to(manifest.stop_lsn);
    for number in (last.saturating_sub(1)..=last).map(SegmentNo) {
        let name = SegmentName::new(manifest.timeline, number, size);
        if let Some(bytes) = read(&format!("pg_wal/{name}"))? {
            walk.segment(size.start_of(number), &bytes, &mut |_| {});
        }
    }
    Ok(walk.last())
}

/// Files of two backups in one tree would start, and be wrong.
fn verify_same(system: SystemId, control: SystemId, start: Lsn, label: Lsn) -> Result<()> {
    if system != control {
        let reason = format!("is of cluster {control}, and the backup of {system}");
        return Err(RepoError::damaged(CONTROL_FILE, reason).into());
    }
    if start != label {
        let reason = format!("begins at {label}, and the backup at {start}");
        return Err(RepoError::damaged(BACKUP_LABEL, reason).into());
    }
    Ok(())
}

/// What the backup's own catalog says of its databases.
///
/// # Errors
/// Damage; [`EngineError::Refused`] where zeros would keep the cluster from recovering.
pub(super) fn databases(
    stored: Stored<'_>,
    trees: &mut TreeSource<'_>,
    links: &Links,
) -> Result<Vec<NamedRow>> {
    let mut read = |path: &str| {
        let missing = || RepoError::damaged(path, "is not in the backup");
        let draft = links.draft(trees, path)?.ok_or_else(missing)?;
        stored.content(draft)
    };
    let map = read(FILENODE_MAP)?;
    let bad = || RepoError::damaged(FILENODE_MAP, "does not tell where the names of databases are");
    let number = file_of(&map, DATABASES).ok_or_else(bad)?;
    Ok(rows(&read(&format!("global/{number}"))?))
}

/// Which databases of it are whole.
///
/// # Errors
/// [`EngineError::NoSuch`] for a name that it does not have; [`EngineError::Refused`] where zeros would keep it from
/// recovering.
pub(super) fn select(
    found: &Found,
    stored: Stored<'_>,
    trees: &mut TreeSource<'_>,
    wanted: &[String],
) -> Result<Selection> {
    if wanted.is_empty() {
        return Ok(Selection::default());
    }
    let selection = Selection::find(&databases(stored, trees, &found.links)?, wanted, found.major)?;
    if !found.control.full_page_writes && !selection.names().is_empty() {
        return Err(EngineError::Refused(
            "the cluster was run with full_page_writes = off: a part of it does not recover".to_owned(),
        ));
    }
    Ok(selection)
}

/// Where everything would go, and how much it is.
pub(super) fn survey(
    found: &Found,
    stored: Stored<'_>,
    trees: &mut TreeSource<'_>,
    selection: &Selection,
    order: &ClusterOrder<'_>,
) -> Result<ClusterPlan> {
    let destinations = plan_destinations(order, &found.spaces)?;
    let mut plan = ClusterPlan {
        system: found.control.system,
        major: found.major,
        start: found.label.start,
        stop: found.stop,
        last_record: found.last_record,
        timeline: found.label.timeline,
        segment_size: found.control.wal_segment_size,
        links: found.links.len(),
        files: 0,
        bytes: 0,
        stored_bytes: 0,
        left_out: selection.names(),
        left_out_numbers: selection.numbers(),
        chosen: selection.chosen.clone(),
        zeros: 0,
        holes: 0,
        destinations,
        has_configuration: false,
    };
    let (mut walk, mut zero_blobs, mut packs) = (found.links.walk(), ZeroBlobs::default(), HashSet::new());
    while let Some(met) = walk.next(trees) {
        order.cancel.check()?;
        let Met::File(draft) = met? else { continue };
        let len = draft.len_max();
        let is_zeros = selection.is_zeros(&draft.path);
        let (mut stored_bytes, mut holes) = (0, 0);
        // Of a file with several versions, pages of the newer ones lie within the zeros of the older.
        let may_have_holes = !draft.is_merged();
        for id in draft.versions.iter().flat_map(|version| &version.content) {
            let place = stored.index.require(BlobKind::Data, id)?;
            stored_bytes += u64::from(place.length);
            if !is_zeros {
                packs.insert(place.pack);
            }
            let is_hole = may_have_holes && zero_blobs.has(id, &place);
            holes += if is_hole { u64::from(place.plain_length()) } else { 0 };
        }
        plan.files += 1;
        plan.has_configuration |= draft.path.as_bytes() == b"postgresql.conf";
        if is_zeros {
            plan.zeros += len;
            continue;
        }
        let (number, _) = locate(&plan.destinations, &draft.path);
        plan.destinations[number].bytes += len.saturating_sub(holes);
        plan.bytes += len;
        plan.holes += holes;
        plan.stored_bytes += stored_bytes;
    }
    let is_read = |draft: &Draft| !selection.is_zeros(&draft.path);
    packs::verify(&packs, stored, (&found.links, trees), is_read)?;
    Ok(plan)
}

/// The bytes of a small file.
pub(super) fn content(repository: &Repository, index: &Index, node: &Node) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    for id in &node.content {
        bytes.extend(repository.read_blob(index, BlobKind::Data, id).map_err(needed)?);
    }
    Ok(bytes)
}
