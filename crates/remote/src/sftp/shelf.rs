//! A directory on a server with SSH for whole files under names that people choose: dumps beside a repository.
//!
//! A file of any size goes there while it is still made. It is written into `.tmp/<random>`, synced, and linked to its name, as
//! objects are: nobody sees a part of it, and nothing is overwritten. A connection that breaks is made again, and the piece that was
//! under way is written once more to the same place of the file.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use russh_sftp::protocol::{FileAttributes, OpenFlags};
use store::retry::Retry;
use store::{Key, Object, StoreError};

use super::address::Address;
use super::link::{Link, is_broken, sftp_error};
use super::root::{Root, path};
use super::{folder, object, transfer};
use crate::runtime::block_on;
use crate::settings::Settings;

/// Bytes that are held back until they are sent together: what a broken connection costs at most.
const PIECE_LEN: usize = 8 << 20;
/// For the owner alone, who goes on writing after a connection broke.
const FILE_MODE: u32 = 0o600;

/// The directory.
pub struct SftpShelf {
    root: Root,
    retry: Retry,
}

impl SftpShelf {
    /// Connect to `address`.
    ///
    /// # Errors
    /// As of [`super::SftpStore::open`].
    pub fn open(address: Address, settings: &Settings, retry: Retry) -> Result<Self, StoreError> {
        Ok(Self { root: Root::open(address, settings)?, retry })
    }

    /// The address, as people see it.
    pub fn location(&self) -> String {
        self.root.location.clone()
    }

    /// Begin a file.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where the name is taken.
    pub fn begin(&self, key: &Key) -> Result<SftpUpload<'_>, StoreError> {
        let temporary = self.run("write", key.as_str(), async |link| {
            match folder::exists(link, &path(link, key.as_str())).await? {
                true => Err(ErrorKind::AlreadyExists.into()),
                false => object::temporary_name(link),
            }
        })?;
        Ok(SftpUpload { shelf: self, key: key.clone(), temporary, waiting: vec![], sent: 0, is_there: false })
    }

    /// Every file below `folder`; empty: below the shelf. Those that have no name yet are none.
    ///
    /// # Errors
    /// What the server says.
    pub fn list(&self, below: &str) -> Result<Vec<Object>, StoreError> {
        self.run("list", below, async |link| {
            let start = if below.is_empty() { link.root.clone() } else { path(link, below) };
            let mut found = vec![];
            for (path, about) in folder::files(link, &start).await? {
                let name = path.strip_prefix(&*link.root).and_then(|name| name.strip_prefix('/'));
                let name = name.filter(|name| name.split('/').next() != Some(object::TEMPORARY));
                let Some(key) = name.and_then(|name| name.parse().ok()) else { continue };
                let modified = UNIX_EPOCH + Duration::from_secs(about.mtime.unwrap_or_default().into());
                found.push(Object { key, size: about.size.unwrap_or_default(), modified });
            }
            Ok(found)
        })
    }

    /// Take a file away; one that is gone is no error.
    ///
    /// # Errors
    /// What the server says.
    pub fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run("delete", key.as_str(), async |link| object::delete(link, &path(link, key.as_str())).await)
    }

    /// Do `work`, again where what hinders it may pass.
    fn run<T>(
        &self,
        action: &'static str,
        key: &str,
        work: impl AsyncFn(&Arc<Link>) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        self.retry.persist(|| self.root.run(action, key, async |link| work(link).await))
    }
}

/// A file under way.
pub struct SftpUpload<'a> {
    shelf: &'a SftpShelf,
    key: Key,
    temporary: String,
    waiting: Vec<u8>,
    /// Bytes that the server has.
    sent: u64,
    /// Whether there may be a file without its name.
    is_there: bool,
}

impl SftpUpload<'_> {
    /// The bytes that come next.
    ///
    /// # Errors
    /// What the server says.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.waiting.len() == PIECE_LEN {
                self.send(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE_LEN - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// All is written: it gets its name.
    ///
    /// # Errors
    /// What the server says; then there is no such file.
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.send(true)?;
        let (key, temporary, len) = (&self.key, &self.temporary, self.sent);
        self.shelf.run("write", key.as_str(), async |link| {
            let path = path(link, key.as_str());
            if !is_named_already(link, temporary, &path, len).await? {
                object::give_name(link, temporary, &path).await?;
            }
            folder::sync(link, folder::above(&path)).await
        })?;
        // It has its name. What lies about beside it is no dump, and a later run tries again.
        let cleaned = self.shelf.root.pool.with(async |link| {
            object::delete(link, temporary).await?;
            object::remove_leftovers(link).await
        });
        drop(block_on(cleaned));
        self.is_there = false;
        Ok(())
    }

    /// Send what waits; at the end durably.
    fn send(&mut self, is_last: bool) -> Result<(), StoreError> {
        self.is_there = true;
        let (key, temporary, piece, sent) = (&self.key, &self.temporary, &self.waiting, self.sent);
        self.shelf.run("write", key.as_str(), async |link| {
            match put_piece(link, temporary, sent, piece, is_last).await {
                Err(error) => Err(object::explain(link, error, piece.len()).await),
                done => done,
            }
        })?;
        self.sent += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

impl Drop for SftpUpload<'_> {
    /// What was not finished goes; where the server does not answer, a later run takes it after a day.
    fn drop(&mut self) {
        if self.is_there {
            let gone = self.shelf.root.pool.with(async |link| object::delete(link, &self.temporary).await);
            drop(block_on(gone));
        }
    }
}

/// Write a piece into the file without a name, which is made where it is not there yet.
async fn put_piece(
    link: &Arc<Link>,
    temporary: &str,
    offset: u64,
    piece: &[u8],
    is_last: bool,
) -> io::Result<()> {
    let _room = link.handles(1).await?;
    let handle = open(link, temporary, offset == 0).await?;
    let written = async {
        transfer::write(link, &handle, offset, piece).await?;
        if !is_last {
            return Ok(());
        }
        if link.can_sync {
            link.sftp.fsync(&handle).await.map_err(sftp_error)?;
        }
        let about = link.sftp.fstat(&handle).await.map_err(sftp_error)?;
        match about.attrs.size == Some(offset + piece.len() as u64) {
            true => Ok(()),
            false => {
                Err(io::Error::new(ErrorKind::InvalidData, "the file there is not as long as what was sent"))
            }
        }
    };
    let written = written.await;
    if written.as_ref().is_err_and(is_broken) {
        return written;
    }
    // Also an error of the last write may be said only here.
    let closed = link.sftp.close(&handle).await.map_err(sftp_error);
    written.and(closed.map(drop))
}

async fn open(link: &Link, temporary: &str, is_first: bool) -> io::Result<String> {
    let create = if is_first { OpenFlags::CREATE } else { OpenFlags::empty() };
    let open = async || {
        let mode = FileAttributes { permissions: Some(FILE_MODE), ..FileAttributes::empty() };
        let opened = link.sftp.open(temporary, OpenFlags::WRITE | create, mode).await;
        opened.map(|opened| opened.handle).map_err(sftp_error)
    };
    match open().await {
        Err(error) if is_first && error.kind() == ErrorKind::NotFound => {
            folder::make(link, folder::above(temporary)).await?;
            open().await
        }
        opened => opened,
    }
}

/// Whether an answer was lost and the file has its name: a link has the size and the time of what it was made from.
async fn is_named_already(link: &Link, temporary: &str, path: &str, len: u64) -> io::Result<bool> {
    let about = async |path: &str| match link.sftp.lstat(path).await.map_err(sftp_error) {
        Ok(about) => Ok(Some((about.attrs.size, about.attrs.mtime))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Some(named) = about(path).await? else { return Ok(false) };
    match about(temporary).await? {
        Some(own) => Ok(own == named),
        // It was renamed.
        None => Ok(named.0 == Some(len)),
    }
}
