//! A private place for a cluster that is needed for a while.
//!
//! Form: `mainstay-tables-<noise>/` with `lock` (held as long as its process lives), `data/`, `spaces/<number>/`, `run/` (the
//! server's socket, log and pipes), `tables.dump`. Invariant: what is there belongs to a living process, whose lock says so,
//! or is removed by the next one, with the server that may still run on it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pg::throwaway::end_left_behind;
use tempfile::TempDir;

use crate::error::{EngineError, Result};

const PREFIX: &str = "mainstay-tables-";
const LOCK: &str = "lock";
/// A place without a lock is being made, or whoever made it was killed at once.
const MAKING_MAX: Duration = Duration::from_secs(3600);
/// The parts that a cluster is in.
const PARTS: [&str; 3] = ["data", "spaces", "run"];

pub(super) struct Workplace {
    directory: TempDir,
    _lock: File,
}

impl Workplace {
    /// Make one in `below`, when what is left there of others is gone.
    pub(super) fn make(below: &Path, tell: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        let what = || format!("making a place for a throw-away server in {}", below.display());
        sweep(below, tell);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            // The server's user must get through; what is in there is closed.
            .permissions(Permissions::from_mode(0o711))
            .tempdir_in(below)
            .map_err(EngineError::io(what()))?;
        let lock =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.path().join(LOCK));
        let lock = lock.map_err(EngineError::io(what()))?;
        lock.try_lock().map_err(|error| EngineError::io(what())(error.into()))?;
        let workplace = Self { directory, _lock: lock };
        workplace.make_run()?;
        Ok(workplace)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn spaces(&self) -> PathBuf {
        self.path().join("spaces")
    }

    pub(super) fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    pub(super) fn dump(&self) -> PathBuf {
        self.path().join("tables.dump")
    }

    /// Remove the cluster, and be ready for another one.
    pub(super) fn clear(&self) -> Result<()> {
        for part in PARTS {
            let path = self.path().join(part);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(EngineError::io(format!("removing {}", path.display()))(error));
                }
                _ => {}
            }
        }
        self.make_run()
    }

    fn make_run(&self) -> Result<()> {
        let run = self.run();
        let made = fs::DirBuilder::new().mode(0o700).create(&run);
        made.map_err(EngineError::io(format!("making {}", run.display())))
    }

    /// Remove all of it.
    pub(super) fn remove(self) -> io::Result<()> {
        self.directory.close()
    }
}

/// Remove what processes that are gone have left.
fn sweep(below: &Path, tell: &(dyn Fn(&str) + Sync)) {
    let own = own_uid();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let about = path.symlink_metadata().ok().filter(|about| about.is_dir() && about.uid() == own);
        let Some(about) = about.filter(|_| is_named) else { continue };
        if is_in_use(&path, about.modified().ok()) {
            continue;
        }
        let removed = end_left_behind(&path.join("data")).and_then(|()| fs::remove_dir_all(&path));
        match removed {
            Ok(()) => tell(&format!("removed {}, which a restore that was killed had left", path.display())),
            Err(error) => {
                tell(&format!("{} was left by a restore that was killed and stays: {error}", path.display()));
            }
        }
    }
}

/// Whether its process lives, as far as can be told.
fn is_in_use(path: &Path, modified: Option<SystemTime>) -> bool {
    match File::open(path.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Ok(())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = modified.and_then(|modified| modified.elapsed().ok());
            age.is_none_or(|age| age < MAKING_MAX)
        }
        Err(_) => true,
    }
}

/// Who we are, by what belongs to us.
fn own_uid() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |about| about.uid())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_a_living_one_has_stays() {
        let below = tempfile::tempdir().unwrap();
        let told = Mutex::new(vec![]);
        let tell = |words: &str| told.lock().unwrap().push(words.to_owned());
        let living = Workplace::make(below.path(), &tell).unwrap();
        let dead = below.path().join("mainstay-tables-dead");
        fs::create_dir_all(dead.join("data/base")).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        // Just being made, and not ours at all.
        let young = below.path().join("mainstay-tables-young");
        fs::create_dir(&young).unwrap();
        let other = below.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(LOCK), "").unwrap();
        let next = Workplace::make(below.path(), &tell).unwrap();
        assert!(!dead.exists() && living.path().exists() && young.exists() && other.exists());
        assert!(told.lock().unwrap()[0].contains("mainstay-tables-dead"));
        let path = next.path().to_owned();
        fs::create_dir(next.data()).unwrap();
        next.clear().unwrap();
        assert!(!next.data().exists() && next.run().exists());
        next.remove().unwrap();
        assert!(!path.exists());
        assert_eq!(told.lock().unwrap().len(), 1);
    }
}
