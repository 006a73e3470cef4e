//! The ways into a repository: several passwords may open the same key.
//!
//! Invariant: changing a password rewrites one small file and no byte of data; the last way in is never removed, also not
//! by two that remove each other's.

use jiff::Timestamp;
use model::digest::Digest;
use model::secret::Secret;
use store::Range;

use crate::error::{RepoError, Result};
use crate::key_file::KeyFile;
use crate::repository::{FileKind, KeyFiles, Repository, load_keys, put_key};

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Name of the key file.
    pub id: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub username: String,
    /// Where.
    pub hostname: String,
    /// Whether this one opened the repository just now.
    pub current: bool,
}

impl Repository {
    /// All ways in, oldest first.
    ///
    /// # Errors
    /// Damage to a key file.
    pub fn keys(&self) -> Result<Vec<KeyEntry>> {
        let KeyFiles { sound, damage } = load_keys(self.store())?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let entry = |(id, file): (Digest, KeyFile)| KeyEntry {
            id,
            created: file.created,
            username: file.username,
            hostname: file.hostname,
            current: id == self.key_id(),
        };
        let mut entries: Vec<_> = sound.into_iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.created);
        Ok(entries)
    }

    /// Another password that opens everything. It is tried before it counts.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn add_key(&self, password: &Secret, username: &str, hostname: &str) -> Result<Digest> {
        let file = KeyFile::seal(self.key(), password, username, hostname)?;
        let id = put_key(self.store(), &file)?;
        // On two stores it is the cold one that must open when the other is lost.
        let mut stored = vec![];
        self.store().get_original(&FileKind::Key.object(&id), Range::All, &mut stored)?;
        let what = format!("key {id}");
        let again: KeyFile =
            serde_json::from_slice(&stored).map_err(|error| RepoError::damaged(&what, error))?;
        match again.open(password, &what)? {
            Some(_) => Ok(id),
            None => Err(RepoError::damaged(what, "does not open with its own password")),
        }
    }

    /// Take a way in away. What it opened before, whoever kept a copy of the repository's key can still open.
    ///
    /// # Errors
    /// [`RepoError::Refused`] for the one in use (rotate instead), [`RepoError::NotFound`], [`RepoError::Ambiguous`].
    pub fn remove_key(&self, prefix: &str) -> Result<Digest> {
        let keys = self.list(FileKind::Key)?;
        let id = find_unique("key", prefix, keys.iter().map(|listed| listed.id))?;
        if id == self.key_id() {
            return Err(RepoError::Refused(format!(
                "key {} is the one in use; open the repository with another password to remove it",
                id.short()
            )));
        }
        self.take_away(&[id], self.key_id())?;
        Ok(id)
    }

    /// Delete the key files `gone`, while `stays` is there before and afterwards. Of several that remove each other's way in
    /// at one moment, the last one to look sees that, and puts back what it came in by.
    fn take_away(&self, gone: &[Digest], stays: Digest) -> Result<()> {
        let object = FileKind::Key.object(&stays);
        let is_there =
            || Ok::<_, RepoError>(self.list(FileKind::Key)?.iter().any(|listed| listed.id == stays));
        let kept = match is_there()?.then(|| store::store::read(self.store(), &object)) {
            Some(Ok(kept)) => kept,
            Some(Err(error)) if !error.is_not_found() => return Err(error.into()),
            _ => return Err(RepoError::Refused(format!("key {} is to stay, and is gone", stays.short()))),
        };
        gone.iter().try_for_each(|id| self.store().delete(&FileKind::Key.object(id)))?;
        let seen = is_there();
        if matches!(seen, Ok(true)) {
            return Ok(());
        }
        match self.store().put_new(&object, &kept) {
            Ok(()) => Err(RepoError::Refused(format!(
                "key {} was removed by somebody else at this moment; it is back, so that the last way in is not lost",
                stays.short()
            ))),
            Err(error) if error.is_already_exists() => seen.map(drop),
            Err(error) => Err(error.into()),
        }
    }

    /// Replace the password `old`, which opened this repository, by `new`: that is added and tried first, then every way
    /// in goes that `old` opens. A rotation that was killed left two; the one after it takes the second in its stride.
    ///
    /// # Errors
    /// When the store does not take it; the old one then still opens. Damage to a key file, of which nobody can say which
    /// password opens it.
    pub fn rotate_key(&self, old: &Secret, new: &Secret, username: &str, hostname: &str) -> Result<Digest> {
        let KeyFiles { sound, damage } = load_keys(self.store())?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let (mut added, mut gone) = (None, vec![]);
        for (id, file) in sound.into_iter().filter(|(id, _)| *id != self.key_id()) {
            let what = format!("key {id}");
            if file.open(old, &what)?.is_some() {
                gone.push(id);
            } else if file.open(new, &what)?.is_some() {
                added = Some(id);
            }
        }
        let id = added.map_or_else(|| self.add_key(new, username, hostname), Ok)?;
        gone.push(self.key_id());
        self.take_away(&gone, id)?;
        Ok(id)
    }
}

/// The one id that begins with `prefix`.
///
/// # Errors
/// [`RepoError::NotFound`] or [`RepoError::Ambiguous`].
pub fn find_unique(what: &'static str, prefix: &str, ids: impl Iterator<Item = Digest>) -> Result<Digest> {
    let matching: Vec<_> = ids.filter(|id| !prefix.is_empty() && id.to_hex().starts_with(prefix)).collect();
    match matching[..] {
        [id] => Ok(id),
        [] => Err(RepoError::NotFound { what, id: prefix.to_owned() }),
        _ => Err(RepoError::Ambiguous { what, id: prefix.to_owned(), count: matching.len() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use std::sync::Barrier;

    use super::*;
    use crate::testing::{password, repository_in};
    use store::memory::MemoryStore;
    use store::{Key, Object, Store, StoreError};

    /// Deletes when as many as there are want to, and says so when all have.
    struct Together(MemoryStore, Barrier);

    impl Store for Together {
        fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
            self.0.put_new(key, content)
        }
        fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
            self.0.get(key, range, into)
        }
        fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
            self.0.list(prefix)
        }
        fn delete(&self, key: &Key) -> Result<(), StoreError> {
            self.1.wait();
            let deleted = self.0.delete(key);
            self.1.wait();
            deleted
        }
        fn location(&self) -> String {
            self.0.location()
        }
    }

    /// Two people with a password each, who remove the other's at one time; how many are told that theirs is back.
    fn remove_each_other(store: &Arc<impl Store + 'static>) -> usize {
        let first = repository_in(store.clone());
        let other = Secret::new(password().expose().replace('0', "x"));
        first.add_key(&other, "u", "h").unwrap();
        let second = Repository::open(store.clone(), &other).unwrap();
        let (one, two) = (first.key_id().to_hex(), second.key_id().to_hex());
        let told = std::thread::scope(|scope| {
            let removals = [scope.spawn(|| first.remove_key(&two)), scope.spawn(|| second.remove_key(&one))];
            removals.map(|removal| removal.join().unwrap())
        });
        let opening = [password(), other].map(|password| Repository::open(store.clone(), &password));
        let opens = opening.iter().filter(|opened| opened.is_ok()).count();
        let refused = told.iter().filter(|told| matches!(told, Err(RepoError::Refused(_)))).count();
        assert!(opens > 0, "nobody comes in any more: {told:?}");
        assert_eq!(told.iter().filter(|told| told.is_ok()).count() + refused, 2, "{told:?}");
        let is_back =
            |told: &&Result<Digest>| told.as_ref().is_err_and(|error| error.to_string().contains("is back"));
        told.iter().filter(is_back).count()
    }

    #[test]
    fn two_that_remove_each_others_way_in_leave_one() {
        let both = remove_each_other(&Arc::new(Together(MemoryStore::new(), Barrier::new(2))));
        assert_eq!(both, 2);
        for _ in 0..8 {
            assert!(remove_each_other(&Arc::new(MemoryStore::new())) <= 2);
        }
    }

    #[test]
    fn a_rotated_password_opens_and_the_removed_one_does_not() {
        let store = Arc::new(MemoryStore::new());
        let repository = repository_in(store.clone());
        let before = store.list("data").unwrap();
        let new = Secret::new(password().expose().replace('0', "x"));
        repository.rotate_key(&password(), &new, "u", "h").unwrap();
        assert!(matches!(
            Repository::open(store.clone(), &password()).err().unwrap(),
            RepoError::WrongPassword { .. }
        ));
        let again = Repository::open(store.clone(), &new).unwrap();
        assert_eq!(again.config(), repository.config());
        assert_eq!(store.list("data").unwrap(), before, "data was touched");
    }

    #[test]
    fn a_rotation_takes_away_all_that_the_old_password_opens_and_adds_nothing_twice() {
        let store = Arc::new(MemoryStore::new());
        let repository = repository_in(store.clone());
        let [second, third, recovery] =
            ['x', 'y', 'z'].map(|other| Secret::new(password().expose().replace('0', &other.to_string())));
        let kept = repository.add_key(&recovery, "u", "h").unwrap();
        // Killed when it had added the new one, and begun again.
        let first = repository.add_key(&second, "u", "h").unwrap();
        assert_eq!(repository.rotate_key(&password(), &second, "u", "h").unwrap(), first);
        // An older version added one more.
        repository.add_key(&second, "u", "h").unwrap();
        let repository = Repository::open(store.clone(), &second).unwrap();
        let last = repository.rotate_key(&second, &third, "u", "h").unwrap();
        let left: HashSet<_> = repository.keys().unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(left, [kept, last].into());
        assert!(Repository::open(store.clone(), &second).is_err());
        // The same password once more: sealed anew.
        let repository = Repository::open(store.clone(), &third).unwrap();
        let again = repository.rotate_key(&third, &third, "u", "h").unwrap();
        assert!(again != last && Repository::open(store, &third).is_ok());
    }

    #[test]
    fn several_passwords_open_and_the_one_in_use_is_not_removed() {
        let store = Arc::new(MemoryStore::new());
        let repository = repository_in(store.clone());
        let recovery = Secret::new(password().expose().replace('a', "y"));
        let id = repository.add_key(&recovery, "u", "h").unwrap();
        assert_eq!(repository.keys().unwrap().len(), 2);
        let own = repository.key_id().to_hex();
        assert!(matches!(repository.remove_key(&own), Err(RepoError::Refused(_))));
        assert!(matches!(repository.remove_key("zz"), Err(RepoError::NotFound { .. })));
        assert!(matches!(repository.remove_key(""), Err(RepoError::NotFound { .. })));
        repository.remove_key(&id.to_hex()[..12]).unwrap();
        assert!(Repository::open(store, &recovery).is_err());
    }

    #[test]
    fn a_damaged_key_file_is_named_when_nothing_else_opens() {
        let store = Arc::new(MemoryStore::new());
        let repository = repository_in(store.clone());
        let object = FileKind::Key.object(&repository.key_id());
        store.tamper(&object, |bytes| bytes[50] ^= 1);
        let error = Repository::open(store, &password()).err().unwrap();
        assert!(error.is_damage() && error.to_string().contains(&repository.key_id().to_hex()), "{error}");
    }
}
