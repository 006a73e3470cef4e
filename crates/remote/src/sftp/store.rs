//! The store.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use store::{Key, Object, Range, Store, StoreError};

use super::address::Address;
use super::pool::CONNECTIONS;
use super::root::{Root, path};
use super::{folder, object};
use crate::settings::Settings;

/// A directory on a server with SSH.
pub struct SftpStore {
    root: Root,
    has_cleaned: AtomicBool,
}

impl SftpStore {
    /// Connect to `address`, with the keys and the trust of `settings`. Waits for no server that does not answer:
    /// at the beginning somebody is there to mend it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the host key is not believed or nobody lets us in; of the network.
    pub fn open(address: Address, settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self { root: Root::open(address, settings)?, has_cleaned: AtomicBool::new(false) })
    }
}

impl Store for SftpStore {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.root.run("write", key.as_str(), async |link| {
            object::put_new(link, &path(link, key.as_str()), content).await?;
            if !self.has_cleaned.swap(true, Ordering::Relaxed) {
                // The object is safe; what cannot be cleaned now is cleaned by another run.
                drop(object::remove_leftovers(link).await);
            }
            Ok(())
        })
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.root.run("read", key.as_str(), async |link| {
            object::get(link, &path(link, key.as_str()), range, into).await
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.root.run("list", prefix, async |link| {
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
        self.root
            .run("delete", key.as_str(), async |link| object::delete(link, &path(link, key.as_str())).await)
    }

    fn location(&self) -> String {
        self.root.location.clone()
    }

    fn lanes(&self) -> usize {
        CONNECTIONS
    }
}
