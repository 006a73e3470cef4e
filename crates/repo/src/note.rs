//! mainstay's own objects under `x/`: records, leases, tombstones.
//!
//! Form: the envelope of a JSON file `{"name":…,"value":…}`. The envelope itself does not bind an object to its
//! name, so the name stands inside and is compared: nobody can pass one object off as another by renaming it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{Key as ObjectKey, Object};

use crate::error::{RepoError, Result};
use crate::repository::Repository;

#[derive(Serialize, Deserialize)]
struct Bound<T> {
    name: String,
    value: T,
}

/// The key of an object under `x/`.
///
/// # Errors
/// [`RepoError::Refused`] where `name` cannot be a key.
pub fn object(name: &str) -> Result<ObjectKey> {
    format!("x/{name}").parse().map_err(|error: store::key::BadKey| RepoError::Refused(error.to_string()))
}

impl Repository {
    /// Keep `value` under `x/<name>`; false where that name is taken.
    ///
    /// # Errors
    /// When the store does not take it.
    pub fn put_note(&self, name: &str, value: &impl Serialize) -> Result<bool> {
        let bound = Bound { name: name.to_owned(), value };
        let json = serde_json::to_vec(&bound).map_err(|error| RepoError::System(error.to_string()))?;
        match self.store().put_new(&object(name)?, &self.seal_json(&json)?) {
            Ok(()) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What `x/<name>` holds.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] for other bytes or another object's; what the store says where it is missing.
    pub fn load_note<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.open_note(name, &store::store::read(self.store(), &object(name)?)?)
    }

    /// What `x/<name>` holds, of which the stored bytes are `sealed`.
    ///
    /// # Errors
    /// As [`Repository::load_note`].
    pub fn open_note<T: DeserializeOwned>(&self, name: &str, sealed: &[u8]) -> Result<T> {
        let what = format!("x/{name}");
        let json = self.open_json(sealed, &what)?;
        let bound: Bound<T> =
            serde_json::from_slice(&json).map_err(|error| RepoError::damaged(&what, error))?;
        if bound.name != name {
            return Err(RepoError::damaged(
                what,
                format!("is the object x/{} under another name", bound.name),
            ));
        }
        Ok(bound.value)
    }

    /// The objects under `x/<folder>`, with their names below it.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn list_notes(&self, folder: &str) -> Result<Vec<(String, Object)>> {
        let prefix = format!("x/{folder}");
        let strip = |object: Object| {
            let name = object.key.as_str().strip_prefix(&prefix)?.strip_prefix('/')?.to_owned();
            Some((name, object))
        };
        Ok(self.store().list(&prefix)?.into_iter().filter_map(strip).collect())
    }

    /// Remove `x/<name>`; one that is not there is no error.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn delete_note(&self, name: &str) -> Result<()> {
        Ok(self.store().delete(&object(name)?)?)
    }
}
