//! A directory of this machine as what a backup reads from.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use model::entry::Entry;

use crate::error::Error;
use crate::exclude::Excludes;
use crate::origin::{Contents, Opened, Origin};
use crate::owner::Owners;
use crate::read::FileReader;
use crate::relative::RelativePath;
use crate::root::Root;
use crate::target::Target;
use crate::walk::Walk;

/// Clocks of file systems tick, and may differ from the one that we ask.
const DOUBT: SignedDuration = SignedDuration::from_secs(2);

/// A directory of this machine, or one single other thing.
struct Here {
    root: Arc<Root>,
    owners: Arc<Owners>,
    path: PathBuf,
    name: String,
}

/// Open what is at `path` for a backup.
///
/// # Errors
/// Where it cannot be looked at, or is a symbolic link.
pub fn open(path: &Path, excludes: Excludes, owners: Arc<Owners>) -> Result<Opened, Error> {
    let whole = absolute(path)?;
    let walk = Walk::open(path, excludes, Arc::clone(&owners))?;
    let name = whole.to_string_lossy().into_owned();
    let origin = Here { root: walk.root(), owners, path: whole, name };
    Ok(Opened { walk: Box::new(walk), origin: Arc::new(origin) })
}

/// The path from the root on, as the tree shows it.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let whole = std::path::absolute(path).map_err(|error| Error::io("look for", path, error))?;
    match whole.components().any(|part| part == Component::ParentDir) {
        true => std::fs::canonicalize(path).map_err(|error| Error::io("look for", path, error)),
        false => Ok(whole.components().collect()),
    }
}

impl Origin for Here {
    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn full(&self, path: &RelativePath) -> PathBuf {
        self.root.full(path)
    }

    /// Links on the way to the directory are followed, as whoever named it did.
    fn above(&self, ancestor: &Path) -> Option<Entry> {
        let found = Target::open(ancestor).and_then(|dir| dir.look_at(&RelativePath::root(), &self.owners));
        found.ok().flatten()
    }

    fn open(&self, path: &RelativePath, walked: &Entry) -> Result<Box<dyn Contents>, Error> {
        Ok(Box::new(FileReader::open(&self.root, path, walked, &self.owners)?))
    }

    fn doubt(&self) -> SignedDuration {
        DOUBT
    }

    fn knows_files(&self) -> bool {
        true
    }

    fn lanes(&self) -> usize {
        1
    }
}
