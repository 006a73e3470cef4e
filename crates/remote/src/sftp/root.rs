//! The directory of an address: from calls that block to work on a connection, and from its errors to those of stores.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use store::{Refusal, StoreError};

use super::address::Address;
use super::link::{Dial, Link};
use super::pool::Pool;
use super::trust::HostKeyTrouble;
use crate::runtime::block_on;
use crate::settings::Settings;

/// A directory on a server, and the way there.
pub(super) struct Root {
    pub(super) pool: Pool,
    /// The address, as people see it.
    pub(super) location: String,
}

impl Root {
    /// Connect to `address`.
    ///
    /// # Errors
    /// As of [`super::SftpStore::open`].
    pub(super) fn open(address: Address, settings: &Settings) -> Result<Self, StoreError> {
        let location = address.to_string();
        let fail = |cause| store_error("open", "", &location, cause);
        let dial = Dial::told(address, settings).map_err(fail)?;
        let pool = Pool::new(dial);
        let root = block_on(pool.with(async |link| Ok(link.root.clone()))).map_err(fail)?;
        let location = pool.location(&root);
        Ok(Self { pool, location })
    }

    /// Do `work` on a connection, for `action` on the object or the folder `key`.
    ///
    /// # Errors
    /// What the work says, as a store's.
    pub(super) fn run<T>(
        &self,
        action: &'static str,
        key: &str,
        work: impl AsyncFnOnce(&Arc<Link>) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        block_on(self.pool.with(work)).map_err(|cause| store_error(action, key, &self.location, cause))
    }
}

/// Where `key` is on the server.
pub(super) fn path(link: &Link, key: &str) -> String {
    format!("{}/{key}", link.root)
}

/// What an error of the wire means for a call.
pub(crate) fn store_error(action: &'static str, key: &str, place: &str, cause: io::Error) -> StoreError {
    let (key, place) = (key.to_owned(), place.to_owned());
    let refused = |why| StoreError::Refused { action, key: key.clone(), place: place.clone(), why };
    if let Some(trouble) = cause.get_ref().and_then(|inner| inner.downcast_ref::<HostKeyTrouble>()) {
        return refused(match trouble {
            HostKeyTrouble::Unknown { .. } => Refusal::UnknownHostKey(trouble.to_string()),
            _ => Refusal::WrongHostKey(trouble.to_string()),
        });
    }
    match cause.kind() {
        ErrorKind::PermissionDenied if action == "open" => refused(Refusal::NoLogin(cause.to_string())),
        ErrorKind::PermissionDenied => refused(Refusal::Denied(cause.to_string())),
        ErrorKind::StorageFull => refused(Refusal::Full(cause.to_string())),
        // A missing folder while writing is a broken place, not a missing object.
        ErrorKind::NotFound if action == "read" => StoreError::NotFound { key, place },
        ErrorKind::AlreadyExists => StoreError::AlreadyExists { key, place },
        ErrorKind::UnexpectedEof => StoreError::Short { key, place },
        _ => StoreError::Io { action, key, place, cause },
    }
}
