//! The original on this machine: where WAL that is replayed would write into it.
//!
//! A tablespace that was made behind the backup is in none of its maps, so PostgreSQL makes it anew, at the place that its
//! record in the log names. Up to 14 it first removes what that place has under the name of its own version; from 15 on it
//! uses it as it is (PostgreSQL source, `commands/tablespace.c`). Where the original still has its files there, either is
//! the end of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::lsn::SystemId;
use model::recovery_target::RecoveryTarget;
use pg::which_cluster;

use super::order::{ClusterOrder, ClusterPlan};
use crate::error::{EngineError, Result};

/// Where a cluster has the links to its tablespaces.
const LINKS: &str = "pg_tblspc";
/// How the directory of a version in a tablespace begins.
const VERSION: &str = "PG_";

/// Refuse what would be replayed into the files of the cluster that was backed up, which was in `original`.
///
/// # Errors
/// [`EngineError::Refused`].
pub(super) fn refuse_new_tablespaces(
    original: &Path,
    plan: &ClusterPlan,
    order: &ClusterOrder<'_>,
) -> Result<()> {
    // Up to the end of the backup itself it knows them all.
    if order.recovery.target == RecoveryTarget::Immediate || is_same(original, &order.place) {
        return Ok(());
    }
    let known: Vec<u32> = plan.destinations.iter().filter_map(|destination| destination.oid).collect();
    match new_tablespaces(original, plan.system, &known).first() {
        None => Ok(()),
        Some((oid, place)) => Err(EngineError::Refused(format!(
            "tablespace {oid} in {} was made behind this backup, and the original in {} uses it: to replay that here would \
             write there",
            place.display(),
            original.display()
        ))),
    }
}

/// Tablespaces of the cluster in `original` that are not `known` and have files, in the order of their numbers.
fn new_tablespaces(original: &Path, system: SystemId, known: &[u32]) -> Vec<(u32, PathBuf)> {
    // A server that does not tell where its files are leaves the path empty.
    if !original.is_absolute() || which_cluster::system_id(original).ok() != Some(system) {
        return vec![];
    }
    let links = fs::read_dir(original.join(LINKS)).into_iter().flatten().flatten();
    let new = links.filter_map(|link| {
        let oid: u32 = link.file_name().to_str()?.parse().ok()?;
        let place = fs::read_link(link.path()).ok()?;
        (!known.contains(&oid) && is_used(&place)).then_some((oid, place))
    });
    let mut new: Vec<_> = new.collect();
    new.sort_unstable();
    new
}

fn is_used(place: &Path) -> bool {
    let names = fs::read_dir(place).into_iter().flatten().flatten();
    names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(VERSION))
}

/// A restore over the original itself takes its place.
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path| fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    file(one).is_some_and(|one| file(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn tablespaces_that_the_original_has_and_the_backup_has_not() {
        let dir = tempfile::tempdir().unwrap();
        let (data, place) = (dir.path().join("data"), dir.path().join("fast"));
        fs::create_dir_all(data.join("global")).unwrap();
        fs::create_dir_all(data.join(LINKS)).unwrap();
        fs::create_dir_all(&place).unwrap();
        fs::write(data.join("global/pg_control"), 7u64.to_le_bytes()).unwrap();
        symlink(&place, data.join(LINKS).join("16400")).unwrap();
        let new = |system, known: &[u32]| new_tablespaces(&data, SystemId(system), known);
        assert!(new(7, &[]).is_empty(), "nothing is there that could be lost");
        fs::create_dir(place.join("PG_15_202209061")).unwrap();
        assert_eq!(new(7, &[]), [(16400, place.clone())]);
        assert!(new(7, &[16400]).is_empty());
        assert!(new(8, &[]).is_empty(), "another cluster");
        assert!(is_same(&data, &dir.path().join("fast/../data")) && !is_same(&data, &dir.path().join("no")));
    }
}
