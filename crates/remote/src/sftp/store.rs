//! The store: from calls that block to work on a connection, and from its errors to those of stores.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use store::{Key, Object, Range, Refusal, Store, StoreError};

use super::address::Address;
use super::link::{Dial, Link};
use super::pool::{CONNECTIONS, Pool};
use super::trust::HostKeyTrouble;
use super::{folder, object};
use crate::runtime::block_on;
use crate::settings::Settings;

/// A directory on a server with SSH.
pub struct SftpStore {
    pool: Pool,
    location: String,
    has_cleaned: AtomicBool,
}

impl SftpStore {
    /// Connect to `address`, with the keys and the trust of `settings`. Waits for no server that does not answer:
    /// at the beginning somebody is there to mend it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the host key is not believed or nobody lets us in; of the network.
    pub fn open(address: Address, settings: &Settings) -> Result<Self, StoreError> {
        let location = address.to_string();
        let fail = |cause| store_error("open", "", &location, cause);
        let dial = Dial::told(address, settings).map_err(fail)?;
        let pool = Pool::new(dial);
        let root = block_on(pool.with(async |link| Ok(link.root.clone()))).map_err(fail)?;
        let location = pool.location(&root);
        Ok(Self { pool, location, has_cleaned: AtomicBool::new(false) })
    }

    fn run<T>(
        &self,
        action: &'static str,
        key: &str,
        work: impl AsyncFnOnce(&Arc<Link>) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        block_on(self.pool.with(work)).map_err(|cause| store_error(action, key, &self.location, cause))
    }
}

impl Store for SftpStore {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.run("write", key.as_str(), async |link| {
            object::put_new(link, &path(link, key.as_str()), content).await?;
            if !self.has_cleaned.swap(true, Ordering::Relaxed) {
                // The object is safe; what cannot be cleaned now is cleaned by another run.
                drop(object::remove_leftovers(link).await);
            }
            Ok(())
        })
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.run("read", key.as_str(), async |link| {
            object::get(link, &path(link, key.as_str()), range, into).await
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.run("list", prefix, async |link| {
            let files = folder::files(link, &path(link, prefix)).await?;
            let inside = |path: &str| path.strip_prefix(&*link.root)?.strip_prefix('/')?.parse().ok();
            let object = |(path, about): (String, russh_sftp::protocol::FileAttributes)| {
                let size = about.size.ok_or(ErrorKind::InvalidData)?;
                let modified = UNIX_EPOCH + Duration::from_secs(about.mtime.unwrap_or_default().into());
                Ok(inside(&path).map(|key| Object { key, size, modified }))
            };
            files.into_iter().filter_map(|file| object(file).transpose()).collect()
        })
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run("delete", key.as_str(), async |link| object::delete(link, &path(link, key.as_str())).await)
    }

    fn location(&self) -> String {
        self.location.clone()
    }

    fn lanes(&self) -> usize {
        CONNECTIONS
    }
}

fn path(link: &Link, key: &str) -> String {
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
