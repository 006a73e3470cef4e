//! Deleting in two steps: a deleted snapshot rests under `x/deleted/` and comes back on demand, until prune runs
//! after the cooling-off time.
//!
//! Form: `x/deleted/<snapshot>/<random>` holds `{deletedAt, sealed}`, the snapshot's stored bytes, so that it comes back
//! under its own id (before that had a second part, `x/deleted/<snapshot>`). Invariant: at every moment a snapshot is in
//! `snapshots/`, in `x/deleted/`, or in both, whoever else deletes it or brings it back at that moment and is killed: each
//! tombstone has a name of its own, and nobody removes one that he did not see before he made sure of the snapshot. Who
//! brings back leaves a tombstone of his own, which counts for nothing while the snapshot is seen: whoever deletes at that
//! moment, and stood still behind his tombstone, then takes away what can come back once more. Prune removes it after the
//! cooling-off time. Who deletes or brings back asks before each step whether he still holds his lease: while he was taken for dead, prune may
//! have given the snapshot up for ever, and a tombstone that came then would promise what is gone.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::digest::{Digest, NotADigest};
use serde::{Deserialize, Serialize};
use store::Object;

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
    /// Its tombstones.
    notes: Vec<String>,
}

impl Deleted {
    /// Whether one of the `live` snapshots is what a repair made of it. It is not whole, and somebody knows that.
    pub(crate) fn is_replaced(&self, live: &[(Digest, SnapshotFile)]) -> bool {
        live.iter().any(|(_, snapshot)| snapshot.is_repair_of(&self.id, &self.snapshot))
            && live.iter().all(|(id, _)| *id != self.id)
    }
}

const FOLDER: &str = "deleted";

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
        guard.ask()?;
        let note = self.put_tombstone(id, &Tombstone { deleted_at: now, sealed: STANDARD.encode(sealed) })?;
        if let Err(lost) = guard.ask() {
            // It says of a snapshot that may be gone for ever that it can come back.
            drop(self.delete_note(&note));
            return Err(lost);
        }
        Ok(self.store().delete(&object)?)
    }

    /// Bring a deleted snapshot back, under the lease of `guard`.
    ///
    /// # Errors
    /// [`RepoError::NotFound`] where it was never deleted, or the cooling-off time is over and it is gone; when the lease
    /// is lost.
    pub fn undelete_snapshot(&self, id: &Digest, guard: &Guard) -> Result<()> {
        let notes = self.tombstones()?.remove(id).unwrap_or_default();
        let mut found = Err(not_there(id));
        for (note, _) in &notes {
            found = self.load_tombstone(id, note);
            if !found.as_ref().is_err_and(is_of_one) {
                break;
            }
        }
        let (deleted_at, sealed) = found?;
        guard.ask()?;
        self.put_tombstone(id, &Tombstone { deleted_at, sealed: STANDARD.encode(&sealed) })?;
        match self.store().put_new(&FileKind::Snapshot.object(id), &sealed) {
            Err(error) if !error.is_already_exists() => return Err(error.into()),
            _ => {}
        }
        guard.ask()?;
        // Not those that somebody has made meanwhile, who deletes it again.
        notes.iter().try_for_each(|(note, _)| self.delete_note(note))
    }

    fn put_tombstone(&self, id: &Digest, tombstone: &Tombstone) -> Result<String> {
        let mut dice = [0; 8];
        getrandom::fill(&mut dice)?;
        let note = format!("{FOLDER}/{id}/{}", hex::encode(dice));
        self.put_note(&note, tombstone)?;
        Ok(note)
    }

    /// Every snapshot that can still come back, and those that came back and may still be deleted by a latecomer. What
    /// is no tombstone by its name, and a broken one beside a sound one, hide none of them.
    ///
    /// # Errors
    /// Where all tombstones of any of them are broken.
    pub fn deleted_snapshots(&self) -> Result<Vec<Deleted>> {
        let load = |(id, notes): (Digest, Vec<_>)| self.load_deleted(id, notes, &mut vec![]);
        self.tombstones()?.into_iter().map(load).collect()
    }

    /// Those that can be read, and what is wrong with everything else that lies there.
    ///
    /// # Errors
    /// When the store cannot list or read.
    pub fn examine_deleted(&self) -> Result<(Vec<Deleted>, Vec<RepoError>)> {
        let (mut sound, mut broken) = (vec![], vec![]);
        for (name, _) in self.list_notes(FOLDER)? {
            let stray = snapshot_of(&name).err();
            broken.extend(stray.map(|error| RepoError::damaged(format!("x/{FOLDER}/{name}"), error)));
        }
        for (id, notes) in self.tombstones()? {
            match self.load_deleted(id, notes, &mut broken) {
                Ok(deleted) => sound.push(deleted),
                Err(error) if is_of_one(&error) => broken.push(error),
                Err(error) => return Err(error),
            }
        }
        // Cleared away since it was listed.
        broken.retain(|error| !matches!(error, RepoError::NotFound { .. }));
        Ok((sound, broken))
    }

    /// From all its tombstones; what is wrong with some of them goes to `broken`, as long as one is sound.
    fn load_deleted(
        &self,
        id: Digest,
        notes: Vec<(String, Object)>,
        broken: &mut Vec<RepoError>,
    ) -> Result<Deleted> {
        let (mut deleted_at, mut snapshot, mut wrong) = (Timestamp::MIN, None, vec![]);
        for (note, object) in &notes {
            // Of a broken one the store's time counts: that makes the cooling-off time longer at most.
            let taken = Timestamp::try_from(object.modified).unwrap_or(Timestamp::MIN);
            deleted_at = deleted_at.max(taken);
            match self
                .load_tombstone(&id, note)
                .and_then(|(said, sealed)| Ok((said, self.opened(&id, &sealed)?)))
            {
                Ok((said, found)) => (deleted_at, snapshot) = (deleted_at.max(said), Some(found)),
                Err(error) if is_of_one(&error) => wrong.push(error),
                Err(error) => return Err(error),
            }
        }
        let Some(snapshot) = snapshot else {
            return Err(wrong.pop().unwrap_or_else(|| not_there(&id)));
        };
        broken.extend(wrong);
        Ok(Deleted { id, deleted_at, snapshot, notes: notes.into_iter().map(|(note, _)| note).collect() })
    }

    fn opened(&self, id: &Digest, sealed: &[u8]) -> Result<SnapshotFile> {
        let what = format!("x/{FOLDER}/{id}");
        let json = self.open_json(sealed, &what)?;
        serde_json::from_slice(&json).map_err(|error| RepoError::damaged(what, error))
    }

    /// Their ids alone, of which one listing tells.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn deleted_ids(&self) -> Result<BTreeSet<Digest>> {
        Ok(self.tombstones()?.into_keys().collect())
    }

    /// Give a deleted snapshot up for ever; of one that came back, and is seen, only its tombstones. Its record goes
    /// first: one without a tombstone means that the snapshot disappeared behind our back.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) fn bury_snapshot(&self, deleted: &Deleted, is_seen: bool) -> Result<()> {
        if !is_seen {
            self.delete_note(&format!("record/{}", deleted.id))?;
        }
        deleted.notes.iter().try_for_each(|note| self.delete_note(note))
    }

    /// The names of all tombstones, by snapshot. Whoever may write can put other names there: they are none.
    fn tombstones(&self) -> Result<BTreeMap<Digest, Vec<(String, Object)>>> {
        let mut found: BTreeMap<Digest, Vec<_>> = BTreeMap::new();
        for (name, object) in self.list_notes(FOLDER)? {
            if let Ok(id) = snapshot_of(&name) {
                found.entry(id).or_default().push((format!("{FOLDER}/{name}"), object));
            }
        }
        Ok(found)
    }

    fn load_tombstone(&self, id: &Digest, note: &str) -> Result<(Timestamp, Vec<u8>)> {
        let tombstone: Tombstone = match self.load_note(note) {
            Err(RepoError::Store(error)) if error.is_not_found() => return Err(not_there(id)),
            other => other?,
        };
        let sealed = STANDARD.decode(&tombstone.sealed).unwrap_or_default();
        if id_of(&sealed) != *id {
            return Err(RepoError::damaged(format!("x/{note}"), "holds another snapshot"));
        }
        Ok((tombstone.deleted_at, sealed))
    }
}

/// Of which snapshot something below the folder is the tombstone, by its name.
fn snapshot_of(name: &str) -> Result<Digest, NotADigest> {
    name.split('/').next().unwrap_or_default().parse()
}

fn not_there(id: &Digest) -> RepoError {
    RepoError::NotFound { what: "deleted snapshot", id: id.to_string() }
}

/// Whether it is about one object, and says nothing of the others.
fn is_of_one(error: &RepoError) -> bool {
    error.is_damage() || error.is_too_cold() || matches!(error, RepoError::NotFound { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        let never_deleted = Digest([3; 32]);
        assert!(matches!(
            repository.undelete_snapshot(&never_deleted, &Guard::default()),
            Err(RepoError::NotFound { .. })
        ));
    }

    #[test]
    fn who_stood_still_while_deleting_takes_away_what_can_come_back_once_more() {
        let now: Timestamp = "2226-01-02T00:00:00Z".parse().unwrap();
        let repository = testing::repository();
        let id = repository.commit_snapshot(&snapshot()).unwrap();
        let (other, asked) = (Arc::clone(&repository), AtomicUsize::new(0));
        // Its tombstone stands, its lease too; another one sees the tombstone and brings the snapshot back.
        let guard = Guard::new(move || match asked.fetch_add(1, Ordering::SeqCst) {
            1 => other.undelete_snapshot(&id, &Guard::default()),
            _ => Ok(()),
        });
        repository.delete_snapshot(&id, now, &guard).unwrap();
        assert_eq!(repository.load_snapshots().unwrap(), []);
        repository.undelete_snapshot(&id, &Guard::default()).unwrap();
        assert_eq!(repository.load_snapshots().unwrap(), [(id, snapshot())]);
    }

    /// One that trusts so many times.
    fn trusting(times: usize) -> Guard {
        let asked = AtomicUsize::new(0);
        Guard::new(move || match asked.fetch_add(1, Ordering::SeqCst) < times {
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
        for (times, tombstone) in [(0, false), (1, false)] {
            let error = repository.delete_snapshot(&id, now, &trusting(times)).unwrap_err();
            assert!(matches!(error, RepoError::LeaseLost { .. }), "{error}");
            assert_eq!((is_seen(), rests()), (true, tombstone), "after {times} steps");
        }
        repository.delete_snapshot(&id, now, &trusting(2)).unwrap();
        assert_eq!((is_seen(), rests()), (false, true));
        repository.undelete_snapshot(&id, &trusting(0)).unwrap_err();
        assert_eq!((is_seen(), rests()), (false, true));
        repository.undelete_snapshot(&id, &trusting(1)).unwrap_err();
        assert_eq!((is_seen(), rests()), (true, true));
        repository.undelete_snapshot(&id, &trusting(2)).unwrap();
        assert_eq!((is_seen(), rests()), (true, true));
        assert_eq!(repository.tombstones().unwrap()[&id].len(), 1, "its own alone");
    }

    #[test]
    fn two_that_delete_and_bring_back_at_one_time_never_lose_it_wherever_one_is_killed() {
        let now: Timestamp = "2226-01-02T00:00:00Z".parse().unwrap();
        // The one does what the other did while it was between two of its steps, and is killed there.
        for (undeletes, is_undeleted) in [(false, false), (false, true), (true, false)] {
            for step in 0..2 {
                let repository = testing::repository();
                let id = repository.commit_snapshot(&snapshot()).unwrap();
                if undeletes {
                    repository.delete_snapshot(&id, now, &Guard::default()).unwrap();
                }
                let (other, asked) = (Arc::clone(&repository), AtomicUsize::new(0));
                let guard = Guard::new(move || match asked.fetch_add(1, Ordering::SeqCst) {
                    at if at == step => {
                        // It may be deleted already, or be visible: whichever is possible happens.
                        other.undelete_snapshot(&id, &Guard::default()).ok();
                        if !is_undeleted {
                            other.delete_snapshot(&id, now, &Guard::default())?;
                        }
                        Err(RepoError::LeaseLost { seconds: 0 })
                    }
                    _ => Ok(()),
                });
                match undeletes {
                    true => repository.undelete_snapshot(&id, &guard).unwrap_err(),
                    false => repository.delete_snapshot(&id, now, &guard).unwrap_err(),
                };
                let is_seen = repository.load_snapshots().unwrap().len() == 1;
                let rests = repository.deleted_snapshots().unwrap().len() == 1;
                assert!(is_seen || rests, "{undeletes} {is_undeleted} {step}: it is nowhere");
            }
        }
    }

    #[test]
    fn a_tombstone_of_the_older_form_is_read_and_cleared_away() {
        let repository = testing::repository();
        let id = repository.commit_snapshot(&snapshot()).unwrap();
        let object = FileKind::Snapshot.object(&id);
        let sealed = STANDARD.encode(store::store::read(repository.store(), &object).unwrap());
        let deleted_at = "2020-01-01T00:00:00Z".parse().unwrap();
        repository.put_note(&format!("deleted/{id}"), &Tombstone { deleted_at, sealed }).unwrap();
        repository.store().delete(&object).unwrap();
        assert_eq!(repository.deleted_snapshots().unwrap()[0].id, id);
        repository.undelete_snapshot(&id, &Guard::default()).unwrap();
        assert_eq!(repository.load_snapshots().unwrap(), [(id, snapshot())]);
        let left = &repository.tombstones().unwrap()[&id];
        assert!(left.len() == 1 && left[0].0.starts_with(&format!("deleted/{id}/")), "{left:?}");
    }

    #[test]
    fn junk_beside_tombstones_hides_none_of_them() {
        let repository = testing::repository();
        let id = repository.commit_snapshot(&snapshot()).unwrap();
        repository.delete_snapshot(&id, Timestamp::now(), &Guard::default()).unwrap();
        let (junk, alone) = (b"junk".as_slice(), Digest([7; 32]));
        let names = ["zzz".to_owned(), "no/tombstone".to_owned(), format!("{id}/0000"), format!("{id}/zzzz")];
        let put = |name: &str| {
            let key = format!("x/{FOLDER}/{name}").parse().unwrap();
            repository.store().put_new(&key, junk).unwrap();
        };
        names.iter().for_each(|name| put(name));
        assert_eq!(repository.deleted_ids().unwrap(), BTreeSet::from([id]));
        assert_eq!(repository.deleted_snapshots().unwrap()[0].snapshot, snapshot());
        put(&alone.to_string());
        repository.deleted_snapshots().unwrap_err();
        let (sound, broken) = repository.examine_deleted().unwrap();
        assert_eq!(sound.iter().map(|deleted| deleted.id).collect::<Vec<_>>(), [id]);
        let said = broken.iter().map(|error| format!("{error}\n")).collect::<String>();
        for name in names.iter().chain([&alone.to_string()]) {
            assert!(said.contains(&format!("x/{FOLDER}/{name}")), "{name} is not in {said}");
        }
        repository.undelete_snapshot(&id, &Guard::default()).unwrap();
        assert_eq!(repository.load_snapshots().unwrap(), [(id, snapshot())]);
    }
}
