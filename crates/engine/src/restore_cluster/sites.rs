//! The places that a cluster goes to: the data directory, and one for each tablespace.
//!
//! Form: what lies in `pg_tblspc/<oid>` of the backup goes to the tablespace's place, and a link to it stands there.
//! Invariant: a place is absent, empty, or was said to be overwritten; nothing is made before all of them were looked at.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use files::relative::RelativePath;
use files::space::{Room, room};
use files::target::Target;
use pg::backup_label::MappedTablespace;

use super::order::{ClusterOrder, Destination, TablespaceMove};
use crate::error::{EngineError, Result};

/// Where the links to tablespaces are.
const TABLESPACES: &[u8] = b"pg_tblspc";

/// Which destination a path of the backup goes to, and where in there.
pub(super) fn locate(destinations: &[Destination], path: &RelativePath) -> (usize, RelativePath) {
    let mut parts = path.parts();
    if parts.next() == Some(TABLESPACES)
        && let Some(oid) = parts.next().and_then(|name| std::str::from_utf8(name).ok()?.parse().ok())
        && let Some(number) = destinations.iter().position(|destination| destination.oid == Some(oid))
    {
        let below = parts.try_fold(RelativePath::root(), |path, name| path.join(name));
        return (number, below.unwrap_or_default());
    }
    (0, path.clone())
}

/// Where everything would go.
///
/// # Errors
/// [`EngineError::Unsuitable`] for a move of a tablespace that is not in the backup, or to no sound place.
pub(super) fn plan_destinations(
    order: &ClusterOrder<'_>,
    spaces: &[MappedTablespace],
) -> Result<Vec<Destination>> {
    for TablespaceMove { from, .. } in &order.moves {
        if !spaces.iter().any(|space| is_meant(space, from)) {
            return Err(EngineError::Unsuitable(format!("the backup has no tablespace {}", from.display())));
        }
    }
    let root = absolute(&order.place)?;
    let mut destinations = vec![look(None, None, root.clone())?];
    for space in spaces {
        let moved = order.moves.iter().find(|wanted| is_meant(space, &wanted.from));
        let below = order.spaces.as_ref().map(|below| below.join(space.oid.to_string()));
        let elsewhere = moved.map(|wanted| &wanted.to).or(below.as_ref());
        let place = absolute(elsewhere.unwrap_or(&space.place))?;
        let others = destinations.iter().map(|other| &other.place);
        if let Some(other) =
            others.into_iter().find(|other| place.starts_with(other) || other.starts_with(&place))
        {
            let (place, other) = (place.display(), other.display());
            return Err(EngineError::Unsuitable(format!(
                "tablespace {} cannot be in {place}: {other} is there",
                space.oid
            )));
        }
        destinations.push(look(Some(space.oid), Some(space.place.clone()), place)?);
    }
    Ok(destinations)
}

/// A tablespace is named by its place or by its number.
fn is_meant(space: &MappedTablespace, from: &Path) -> bool {
    space.place.components().eq(from.components()) || from.to_str() == Some(&space.oid.to_string())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let whole =
        std::path::absolute(path).map_err(EngineError::io(format!("looking for {}", path.display())))?;
    Ok(whole.components().collect())
}

fn look(oid: Option<u32>, was: Option<PathBuf>, place: PathBuf) -> Result<Destination> {
    let is_occupied = match std::fs::read_dir(&place) {
        Ok(mut names) => names.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(EngineError::io(format!("looking into {}", place.display()))(error)),
    };
    let room = room(&place)?;
    Ok(Destination { oid, was, place, is_occupied, bytes: 0, room })
}

/// Refuse what would overwrite something, or would not fit.
///
/// # Errors
/// [`EngineError::Refused`].
pub(super) fn verify_destinations(destinations: &[Destination], delta: bool) -> Result<()> {
    let refused = |text: String| Err(EngineError::Refused(text));
    // A tablespace that another cluster uses is not written over because a new directory may be.
    let root = &destinations[0].place;
    let is_linked = |oid: u32, place: &Path| {
        std::fs::read_link(root.join("pg_tblspc").join(oid.to_string())).is_ok_and(|target| target == place)
    };
    let foreign = destinations.iter().find_map(|one| {
        let oid = one.oid.filter(|oid| one.is_occupied && !is_linked(*oid, &one.place))?;
        Some((oid, &one.place))
    });
    if let Some((oid, place)) = foreign {
        let place = place.display();
        return refused(format!(
            "{place}, the place of tablespace {oid}, is not empty, and is not the one that {} uses",
            root.display()
        ));
    }
    if let Some(taken) = destinations.iter().find(|one| one.is_occupied && !delta) {
        let place = taken.place.display();
        return match taken.oid {
            None => refused(format!("{place} is not empty")),
            Some(oid) => refused(format!("{place}, the place of tablespace {oid}, is not empty")),
        };
    }
    for destination in destinations.iter().filter(|one| !one.is_occupied) {
        let Room { device, free } = destination.room;
        let shared = destinations.iter().filter(|other| other.room.device == device && !other.is_occupied);
        let bytes: u64 = shared.map(|other| other.bytes).sum();
        if bytes > free {
            let place = destination.place.display();
            return refused(format!(
                "{place} has room for {free} bytes, and {bytes} are to be restored there"
            ));
        }
    }
    Ok(())
}

/// Databases that are left out may be whole where something is already.
///
/// # Errors
/// [`EngineError::Refused`].
pub(super) fn refuse_zeros(destinations: &[Destination], left_out: &[String], delta: bool) -> Result<()> {
    if !delta || left_out.is_empty() || !destinations.iter().any(|one| one.is_occupied) {
        return Ok(());
    }
    Err(EngineError::Refused(format!(
        "{} would be overwritten with zeros: restore some databases alone into an empty directory",
        left_out.join(", ")
    )))
}

/// Make the places, and open them. Nobody but us looks into them from the beginning.
///
/// # Errors
/// What the system says.
pub(super) fn open(destinations: &[Destination]) -> Result<Vec<Target>> {
    let open = |destination: &Destination| {
        let place = &destination.place;
        let target = Target::create(place)?;
        let closed = std::fs::set_permissions(place, Permissions::from_mode(0o700));
        closed.map_err(EngineError::io(format!("changing the mode of {}", place.display())))?;
        Ok(target)
    };
    destinations.iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(oid: Option<u32>, place: &str, bytes: u64, device: u64) -> Destination {
        let room = Room { device, free: 100 };
        Destination { oid, was: None, place: place.into(), is_occupied: false, bytes, room }
    }

    #[test]
    fn what_is_in_a_tablespace_goes_to_its_place() {
        let destinations = [destination(None, "/d", 0, 1), destination(Some(16385), "/t", 0, 1)];
        let located = |path: &str| {
            let (number, path) = locate(&destinations, &RelativePath::parse(path).unwrap());
            (number, path.to_string())
        };
        assert_eq!(located("base/5/1"), (0, "base/5/1".into()));
        assert_eq!(located("pg_tblspc/16385/PG_15/5/1"), (1, "PG_15/5/1".into()));
        assert_eq!(located("pg_tblspc/16385").0, 1);
        assert_eq!(located("pg_tblspc/16386/PG_15"), (0, "pg_tblspc/16386/PG_15".into()));
        assert_eq!(located("pg_tblspc").0, 0);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_before_anything_is_made() {
        let refused = |destinations: &[Destination]| verify_destinations(destinations, false).is_err();
        let on = |one, other| [destination(None, "/d", 60, 1), destination(Some(1), "/t", one, other)];
        assert!(!refused(&on(40, 1)));
        assert!(refused(&on(41, 1)), "both on one file system");
        assert!(!refused(&on(100, 2)));
        assert!(refused(&on(101, 2)));
        let taken = Destination { is_occupied: true, ..destination(None, "/d", 200, 1) };
        assert!(refused(std::slice::from_ref(&taken)));
        assert!(
            verify_destinations(std::slice::from_ref(&taken), true).is_ok(),
            "what is there is written over"
        );
        let others = ["other".to_owned()];
        assert!(refuse_zeros(std::slice::from_ref(&taken), &[], true).is_ok());
        assert!(refuse_zeros(&[taken], &others, true).is_err(), "with zeros it is not");
        assert!(refuse_zeros(&on(40, 1), &others, true).is_ok());
    }
}
