//! The snapshots of a repository: what makes a backup visible, and what is visible.

use model::digest::Digest;

use crate::blob;
use crate::error::{RepoError, Result};
use crate::repository::{FileKind, Repository};
use crate::snapshot_file::SnapshotFile;
use crate::threads;

impl Repository {
    /// Every snapshot.
    ///
    /// # Errors
    /// Damage to any of them; [`store::StoreError::NotFound`] where one goes meanwhile.
    pub fn load_snapshots(&self) -> Result<Vec<(Digest, SnapshotFile)>> {
        let listed = self.list(FileKind::Snapshot)?;
        let loaded =
            threads::map_waiting(&listed, |listed| Ok((listed.id, self.load_snapshot(&listed.id)?)))?;
        loaded.into_iter().collect()
    }

    /// One snapshot.
    ///
    /// # Errors
    /// Damage, or [`store::StoreError::NotFound`].
    pub fn load_snapshot(&self, id: &Digest) -> Result<SnapshotFile> {
        let json = self.load_file(FileKind::Snapshot, id)?;
        serde_json::from_slice(&json).map_err(|error| RepoError::damaged(format!("snapshot {id}"), error))
    }

    /// Make a snapshot visible: from here on the backup exists.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn commit_snapshot(&self, snapshot: &SnapshotFile) -> Result<Digest> {
        self.commit_snapshot_after(snapshot, |_| Ok(()))
    }

    /// The same, after `first` was done with the id that the snapshot will have: what must never be missing beside a
    /// visible snapshot, such as its hold, is written there.
    ///
    /// # Errors
    /// What `first` says, or the store.
    pub fn commit_snapshot_after<E: From<RepoError>>(
        &self,
        snapshot: &SnapshotFile,
        first: impl FnOnce(&Digest) -> Result<(), E>,
    ) -> Result<Digest, E> {
        let json = serde_json::to_vec(snapshot).map_err(|error| RepoError::System(error.to_string()))?;
        let sealed = self.seal_json(&json)?;
        let id = blob::id_of(&sealed);
        first(&id)?;
        match self.store().put_new(&FileKind::Snapshot.object(&id), &sealed) {
            Err(error) if !error.is_already_exists() => Err(RepoError::from(error).into()),
            _ => Ok(id),
        }
    }
}
