//! The ways into a repository: several passwords may open the same key.
//!
//! Invariant: changing a password rewrites one small file and no byte of data; the last way in is never removed.

use jiff::Timestamp;
use model::digest::Digest;
use model::secret::Secret;

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
        let stored = store::store::read(self.store(), &FileKind::Key.object(&id))?;
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
        self.store().delete(&FileKind::Key.object(&id))?;
        Ok(id)
    }

    /// Replace the password in use: the new one is added and tried, then the old one goes.
    ///
    /// # Errors
    /// When the store does not take it; the old one then still opens.
    pub fn rotate_key(&self, password: &Secret, username: &str, hostname: &str) -> Result<Digest> {
        let id = self.add_key(password, username, hostname)?;
        self.store().delete(&FileKind::Key.object(&self.key_id()))?;
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
    use std::sync::Arc;

    use super::*;
    use crate::testing::{password, repository_in};
    use store::Store;
    use store::memory::MemoryStore;

    #[test]
    fn a_rotated_password_opens_and_the_removed_one_does_not() {
        let store = Arc::new(MemoryStore::new());
        let repository = repository_in(store.clone());
        let before = store.list("data").unwrap();
        let new = Secret::new(password().expose().replace('0', "x"));
        repository.rotate_key(&new, "u", "h").unwrap();
        assert!(matches!(
            Repository::open(store.clone(), &password()).err().unwrap(),
            RepoError::WrongPassword { .. }
        ));
        let again = Repository::open(store.clone(), &new).unwrap();
        assert_eq!(again.config(), repository.config());
        assert_eq!(store.list("data").unwrap(), before, "data was touched");
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
