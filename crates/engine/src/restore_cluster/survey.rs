//! A stored cluster, looked at before anything of it is written: what it is, how large, and whether all of it is there.
//!
//! Invariant: what passes here has a sound pg_control and backup_label of the same cluster, and every piece of every link
//! in the index. So a chain without a link, or a backup without its label (pitfall 11), costs nobody's directory.

use model::lsn::{Lsn, SystemId};
use pg::backup_label::{BACKUP_LABEL, BackupLabel, MappedTablespace, TABLESPACE_MAP, parse_tablespace_map};
use pg::control_file::{CONTROL_FILE, ControlFile};
use repo::index::Index;
use repo::node::Node;
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, RepoError, Repository};

use super::links::{Links, Met};
use super::order::{ClusterOrder, ClusterPlan};
use super::sites::{locate, plan_destinations};
use crate::catalog;
use crate::error::Result;
use crate::stored_tree::TreeSource;

/// A stored cluster, as far as it says of itself.
pub(super) struct Found {
    pub(super) links: Links,
    pub(super) control: ControlFile,
    pub(super) spaces: Vec<MappedTablespace>,
    major: u32,
    stop: Lsn,
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
    Ok(Found { links, control, spaces, major, stop: manifest.stop_lsn, label })
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

/// Where everything would go, and how much it is.
pub(super) fn survey(
    found: &Found,
    index: &Index,
    trees: &mut TreeSource<'_>,
    order: &ClusterOrder<'_>,
) -> Result<ClusterPlan> {
    let destinations = plan_destinations(order, &found.spaces)?;
    let mut plan = ClusterPlan {
        system: found.control.system,
        major: found.major,
        start: found.label.start,
        stop: found.stop,
        timeline: found.label.timeline,
        segment_size: found.control.wal_segment_size,
        links: found.links.len(),
        files: 0,
        bytes: 0,
        stored_bytes: 0,
        destinations,
        has_configuration: false,
    };
    let mut walk = found.links.walk();
    while let Some(met) = walk.next(trees) {
        order.cancel.check()?;
        let Met::File(draft) = met? else { continue };
        let len = draft.len_max();
        let (number, _) = locate(&plan.destinations, &draft.path);
        plan.destinations[number].bytes += len;
        plan.files += 1;
        plan.bytes += len;
        plan.has_configuration |= draft.path.as_bytes() == b"postgresql.conf";
        for id in draft.versions.iter().flat_map(|version| &version.content) {
            plan.stored_bytes += u64::from(index.require(BlobKind::Data, id)?.length);
        }
    }
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

/// A pack that is not there is damage to the backup: the index says that it was.
pub(super) fn needed(error: RepoError) -> RepoError {
    match error {
        RepoError::Store(error) if error.is_not_found() => {
            RepoError::damaged("a pack that the backup needs", error)
        }
        error => error,
    }
}
