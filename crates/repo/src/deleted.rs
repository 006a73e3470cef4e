//! Deleting in two steps: a deleted snapshot rests under `x/deleted/` and comes back on demand, until prune runs
//! after the cooling-off time.
//!
//! Form: `{deletedAt, sealed}`, the snapshot's stored bytes, so that it comes back under its own id. Invariant: at
//! every moment a snapshot is in `snapshots/`, in `x/deleted/`, or in both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::blob::id_of;
use crate::error::{RepoError, Result};
use crate::repository::{FileKind, Repository};
use crate::snapshot_file::SnapshotFile;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tombstone {
    deleted_at: Timestamp,
    sealed: String,
}

/// A snapshot that can still come back.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// Its id.
    pub id: Digest,
    /// When it was deleted: what was said then, or when the store took it, whichever is later. A clock that was
    /// wrong makes the cooling-off time no shorter.
    pub deleted_at: Timestamp,
    /// What it says.
    pub snapshot: SnapshotFile,
}

fn name(id: &Digest) -> String {
    format!("deleted/{id}")
}

impl Repository {
    /// Take a snapshot out of sight.
    ///
    /// # Errors
    /// When the store fails; the snapshot is then still there.
    pub fn delete_snapshot(&self, id: &Digest, now: Timestamp) -> Result<()> {
        let object = FileKind::Snapshot.object(id);
        let sealed = store::store::read(self.store(), &object)?;
        if id_of(&sealed) != *id {
            return Err(RepoError::damaged(format!("snapshot {id}"), "its bytes do not fit its name"));
        }
        // An older tombstone is from before an `undelete` whose clean-up was cut short.
        self.delete_note(&name(id))?;
        self.put_note(&name(id), &Tombstone { deleted_at: now, sealed: STANDARD.encode(sealed) })?;
        Ok(self.store().delete(&object)?)
    }

    /// Bring a deleted snapshot back.
    ///
    /// # Errors
    /// [`RepoError::NotFound`] where it was never deleted, or the cooling-off time is over and it is gone.
    pub fn undelete_snapshot(&self, id: &Digest) -> Result<()> {
        let (_, sealed) = self.load_tombstone(id)?;
        match self.store().put_new(&FileKind::Snapshot.object(id), &sealed) {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => {}
        }
        self.delete_note(&name(id))
    }

    /// Every snapshot that can still come back.
    ///
    /// # Errors
    /// Damage to any of them.
    pub fn deleted_snapshots(&self) -> Result<Vec<Deleted>> {
        let load = |(name, object): (String, store::Object)| {
            let id = name.parse().map_err(|error| RepoError::damaged(format!("x/deleted/{name}"), error))?;
            let (said, sealed) = self.load_tombstone(&id)?;
            let deleted_at = Timestamp::try_from(object.modified).map_or(said, |taken| taken.max(said));
            let what = format!("x/deleted/{id}");
            let json = self.open_json(&sealed, &what)?;
            let snapshot = serde_json::from_slice(&json).map_err(|error| RepoError::damaged(what, error))?;
            Ok(Deleted { id, deleted_at, snapshot })
        };
        self.list_notes("deleted")?.into_iter().map(load).collect()
    }

    /// Give a deleted snapshot up for ever. Its record goes first: one without a tombstone means that the snapshot
    /// disappeared behind our back.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn bury_snapshot(&self, id: &Digest) -> Result<()> {
        self.delete_note(&format!("record/{id}"))?;
        self.delete_note(&name(id))
    }

    fn load_tombstone(&self, id: &Digest) -> Result<(Timestamp, Vec<u8>)> {
        let tombstone: Tombstone = match self.load_note(&name(id)) {
            Err(RepoError::Store(error)) if error.is_not_found() => {
                return Err(RepoError::NotFound { what: "deleted snapshot", id: id.to_string() });
            }
            other => other?,
        };
        let sealed = STANDARD.decode(&tombstone.sealed).unwrap_or_default();
        if id_of(&sealed) != *id {
            return Err(RepoError::damaged(format!("x/deleted/{id}"), "holds another snapshot"));
        }
        Ok((tombstone.deleted_at, sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn snapshot() -> SnapshotFile {
        serde_json::from_str(&format!(r#"{{"time":"2026-01-01T00:00:00Z","tree":"{}"}}"#, "1".repeat(64)))
            .unwrap()
    }

    #[test]
    fn a_deleted_snapshot_comes_back_under_its_id() {
        let repository = testing::repository();
        let id = repository.commit_snapshot(&snapshot()).unwrap();
        // Later than the store's time, which is the machine's.
        let now: Timestamp = "2226-01-02T00:00:00Z".parse().unwrap();
        repository.delete_snapshot(&id, now).unwrap();
        assert!(repository.load_snapshots().unwrap().is_empty());
        let deleted = repository.deleted_snapshots().unwrap();
        assert_eq!((deleted[0].id, deleted[0].deleted_at, &deleted[0].snapshot), (id, now, &snapshot()));
        repository.undelete_snapshot(&id).unwrap();
        assert_eq!(repository.load_snapshots().unwrap(), [(id, snapshot())]);
        assert!(repository.deleted_snapshots().unwrap().is_empty());
        assert!(matches!(repository.undelete_snapshot(&id), Err(RepoError::NotFound { .. })));
    }
}
