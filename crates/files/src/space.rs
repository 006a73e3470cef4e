//! How much room a file system has.

use std::path::Path;

use rustix::fs::{stat, statvfs};

use crate::error::Error;

/// What a file system has left for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Which file system: two places with the same number share their room.
    pub device: u64,
    /// Bytes that we may still fill.
    pub free: u64,
}

/// The room where `path` is, or will be: its nearest directory that exists says it.
///
/// # Errors
/// Where nobody tells.
pub fn room(path: &Path) -> Result<Room, Error> {
    let there = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("."));
    let told = statvfs(there).and_then(|room| Ok((room, stat(there)?)));
    let (room, about) = told.map_err(|error| Error::io("ask for the room in", there, error))?;
    Ok(Room { device: about.st_dev, free: room.f_bavail.saturating_mul(room.f_frsize) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_room_of_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        let here = room(directory.path()).unwrap();
        let there = room(&directory.path().join("not/yet/there")).unwrap();
        assert_eq!(here.device, there.device);
        assert!(here.free > 0);
    }
}
