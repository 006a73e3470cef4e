//! Where the clusters of a set go: no two of them to one place, which only the second one would find out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::catalog;
use engine::restore_cluster::TablespaceMove;
use model::backup::{BackupKind, BackupRecord};
use pg::backup_mode::Tablespace;
use repo::Repository;

use crate::arguments::Restore;
use crate::error::{CliError, Kind, Result};

/// Refuse two clusters with one place, of which the second would be refused when the first is there.
pub(super) fn refuse_shared(backups: &[(Arc<Repository>, BackupRecord)], order: &Restore) -> Result<()> {
    let clusters: Vec<_> = backups.iter().filter(|(_, record)| record.kind == BackupKind::Cluster).collect();
    if clusters.len() < 2 {
        return Ok(());
    }
    let mut taken = vec![];
    for (repository, record) in clusters {
        let index = repository.load_index()?;
        let snapshot = catalog::load_snapshot(repository, record)?;
        let manifest = catalog::load_cluster_manifest(repository, &index, &snapshot)?;
        let own = order.to.iter().map(|to| to.join(record.source.as_str()));
        let spaces = places(&manifest.tablespaces, &order.recovery.tablespace);
        let all = own.chain(spaces).map(std::path::absolute).collect::<Result<Vec<_>, _>>();
        taken.push((record, all.map_err(CliError::io("looking for the places of tablespaces"))?));
    }
    let Some((one, other, place)) = shared(&taken) else { return Ok(()) };
    let message = format!("{} and {} would both be in {}", one.id, other.id, place.display());
    Err(CliError::new(Kind::Refused, message).hint(
        "restore each by its own id, with --to DIR and --tablespace OLD=NEW, and the other members by theirs",
    ))
}

/// Where tablespaces go.
fn places(spaces: &[Tablespace], moves: &[TablespaceMove]) -> Vec<PathBuf> {
    let place = |space: &Tablespace| {
        let was = Path::new(&space.location);
        let is_meant = |from: &Path| {
            was.components().eq(from.components()) || from.to_str() == Some(&space.oid.to_string())
        };
        let moved = moves.iter().find(|wanted| is_meant(&wanted.from));
        moved.map_or_else(|| was.to_owned(), |wanted| wanted.to.clone())
    };
    spaces.iter().map(place).collect()
}

/// The first two of which one has a place that is in one of the other's, or the other way round.
fn shared<T: Copy>(all: &[(T, Vec<PathBuf>)]) -> Option<(T, T, &Path)> {
    all.iter().enumerate().find_map(|(number, (one, places))| {
        all[..number].iter().find_map(|(other, taken)| {
            let meets = |place: &PathBuf| {
                taken.iter().any(|known| place.starts_with(known) || known.starts_with(place))
            };
            let place = places.iter().find(|place| meets(place))?;
            Some((*other, *one, place.as_path()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(place: &str) -> PathBuf {
        place.into()
    }

    #[test]
    fn two_clusters_of_a_set_go_to_places_of_their_own() {
        let space = |oid, location: &str| Tablespace { oid, location: location.to_owned() };
        let spaces = [space(16385, "/srv/fast/"), space(16386, "/srv/slow")];
        let moves = [
            TablespaceMove { from: to("/srv/fast"), to: to("/mnt/a") },
            TablespaceMove { from: to("16386"), to: to("/mnt/b") },
        ];
        assert_eq!(places(&spaces, &moves), [to("/mnt/a"), to("/mnt/b")]);
        assert_eq!(places(&spaces, &[]), [to("/srv/fast/"), to("/srv/slow")]);
        // Those of one cluster are looked at by its own restore.
        let one = ("one", vec![to("/back/one"), to("/srv/fast")]);
        let of = |place: &str| shared(&[one.clone(), ("two", vec![to("/back/two"), to(place)])]).is_some();
        assert!(of("/srv/fast/") && of("/srv/fast/deep") && of("/srv") && of("/back/one"));
        assert!(!of("/srv/faster"));
    }
}
