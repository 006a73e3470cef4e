//! A far directory as what a backup reads from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::error::Error;
use files::origin::{Contents, Origin};
use files::relative::RelativePath;
use jiff::SignedDuration;
use model::entry::Entry;

use super::contents::FarContents;
use super::far::Far;

/// The origin; [`super::walk`] is its walk.
pub(super) struct FarOrigin {
    pub(super) far: Arc<Far>,
    pub(super) path: PathBuf,
    pub(super) doubt: SignedDuration,
    pub(super) lanes: usize,
}

impl Origin for FarOrigin {
    fn name(&self) -> &str {
        &self.far.name
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn full(&self, path: &RelativePath) -> PathBuf {
        self.far.full(path)
    }

    /// Nothing is asked that lies outside of what was named.
    fn above(&self, _ancestor: &Path) -> Option<Entry> {
        None
    }

    fn open(&self, path: &RelativePath, walked: &Entry) -> Result<Box<dyn Contents>, Error> {
        Ok(Box::new(FarContents::open(&self.far, path, walked)?))
    }

    fn doubt(&self) -> SignedDuration {
        self.doubt
    }

    fn knows_files(&self) -> bool {
        false
    }

    fn lanes(&self) -> usize {
        self.lanes
    }
}
