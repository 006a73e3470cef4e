//! Deleting in two steps: a deleted snapshot rests under `x/deleted/` and comes back on demand, until prune runs
//! after the cooling-off time.
//!
//! Form: `{deletedAt, sealed}`, the snapshot's stored bytes, so that it comes back under its own id. Invariant: at
//! every moment a snapshot is in `snapshots/`, in `x/deleted/`, or in both. Who deletes or brings back asks before each
//! step whether he still holds his lease: while he was taken for dead, prune may have given the snapshot up for ever, and
//! a tombstone that came then would promise what is gone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::blob::id_of;
use crate::error::{RepoError, Result};
use crate::packer::Guard;
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
    /// Take a snapshot out of sight, under the lease of `guard`.
    ///
    /// # Errors
    /// When the store fails or the lease is lost; the snapshot is then still where it was.
    pub fn delete_snapshot(&self, id: &Digest, now: Timestamp, guard: &Guard) -> Result<()> {
        let object = FileKind::Snapshot.object(id);
        let sealed = store::store::read(self.store(), &object)?;
        if id_of(&sealed) != *id {
            return Err(RepoError::damaged(format!("snapshot {id}"), "its bytes do not fit its name"));
        }
        // An older tombstone is from before an `undelete` whose clean-up was cut short.
        guard.ask()?;
        self.delete_note(&name(id))?;
        guard.ask()?;
        self.put_note(&name(id), &Tombstone { deleted_at: now, sealed: STANDARD.encode(sealed) })?;
        guard.ask()?;
        Ok(self.store().delete(&object)?)
    }

    /// Bring a deleted snapshot back, under the lease of `guard`.
    ///
    /// # Errors
    /// [`RepoError::NotFound`] where it was never deleted, or the cooling-off time is over and it is gone; when the lease
    /// is lost.
    pub fn undelete_snapshot(&self, id: &Digest, guard: &Guard) -> Result<()> {
        let (_, sealed) = self.load_tombstone(id)?;
        guard.ask()?;
        match self.store().put_new(&FileKind::Snapshot.object(id), &sealed) {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => {}
        }
        guard.ask()?;
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
        repository.delete_snapshot(&id, now, &Guard::default()).unwrap();
        assert!(repository.load_snapshots().unwrap().is_empty());
        let deleted = repository.deleted_snapshots().unwrap();
        assert_eq!((deleted[0].id, deleted[0].deleted_at, &deleted[0].snapshot), (id, now, &snapshot()));
        repository.undelete_snapshot(&id, &Guard::default()).unwrap();
        assert_eq!(repository.load_snapshots().unwrap(), [(id, snapshot())]);
        assert!(repository.deleted_snapshots().unwrap().is_empty());
        assert!(matches!(
            repository.undelete_snapshot(&id, &Guard::default()),
            Err(RepoError::NotFound { .. })
        ));
    }

    /// One that trusts so many times.
    fn trusting(times: usize) -> Guard {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        Guard::new(move || match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < times {
            true => Ok(()),
            false => Err(RepoError::LeaseLost { seconds: 0 }),
        })
    }

    #[test]
    fn who_lost_the_lease_takes_no_further_step() {
        let repository = testing::repository();
        let id = repository.commit_snapshot(&snapshot()).unwrap();
        let now: Timestamp = "2226-01-02T00:00:00Z".parse().unwrap();
        let is_seen = || repository.load_snapshots().unwrap().len() == 1;
        let rests = || repository.deleted_snapshots().unwrap().len() == 1;
        // A machine that slept: meanwhile somebody else deleted it, and prune gave it up.
        for (times, tombstone) in [(0, false), (1, false), (2, true)] {
            let error = repository.delete_snapshot(&id, now, &trusting(times)).unwrap_err();
            assert!(matches!(error, RepoError::LeaseLost { .. }), "{error}");
            assert_eq!((is_seen(), rests()), (true, tombstone), "after {times} steps");
        }
        repository.delete_snapshot(&id, now, &trusting(3)).unwrap();
        assert_eq!((is_seen(), rests()), (false, true));
        repository.undelete_snapshot(&id, &trusting(0)).unwrap_err();
        assert_eq!((is_seen(), rests()), (false, true));
        repository.undelete_snapshot(&id, &trusting(1)).unwrap_err();
        assert_eq!((is_seen(), rests()), (true, true));
        repository.undelete_snapshot(&id, &trusting(2)).unwrap();
        assert_eq!((is_seen(), rests()), (true, false));
    }
}
