//! One object: put if absent, read, removed.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use russh_sftp::protocol::{File, FileAttributes, OpenFlags};
use store::Range;

use super::folder;
use super::link::{Link, is_broken, sftp_error};
use super::transfer;

/// Where objects are written before they have their name.
pub(super) const TEMPORARY: &str = ".tmp";
/// Older ones belong to nobody: no upload takes so long.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Objects are never changed, so not even their owner may write them.
const OBJECT_MODE: u32 = 0o400;

/// Keep `content` under `path`, durably, unless there is something of that name.
///
/// # Errors
/// `AlreadyExists`; `StorageFull`; others of the server or the connection.
pub(super) async fn put_new(link: &Arc<Link>, path: &str, content: &[u8]) -> io::Result<()> {
    let _room = link.handles(2).await?;
    // Asked first, so that a taken name costs no upload; the link asks again, and decides.
    if folder::exists(link, path).await? {
        // Its writer may have died before this.
        folder::sync(link, folder::above(path)).await?;
        return Err(ErrorKind::AlreadyExists.into());
    }
    let temporary = temporary_name(link)?;
    let named = match write(link, &temporary, content).await {
        Ok(()) => give_name(link, &temporary, path).await,
        Err(error) => Err(explain(link, error, content.len()).await),
    };
    if named.as_ref().is_err_and(is_broken) {
        return named;
    }
    // What cannot be removed is no object, and a later writer tries again.
    drop(link.sftp.remove(&temporary).await);
    named?;
    folder::sync(link, folder::above(path)).await
}

/// Replace `into` by the bytes of `range`.
///
/// # Errors
/// `NotFound`; `UnexpectedEof` where the object is shorter.
pub(super) async fn get(link: &Arc<Link>, path: &str, range: Range, into: &mut Vec<u8>) -> io::Result<()> {
    let _room = link.handles(1).await?;
    let opened = link.sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await.map_err(sftp_error)?;
    let read = async {
        let (offset, len) = match range {
            Range::All => {
                let about = link.sftp.fstat(&opened.handle).await.map_err(sftp_error)?;
                (0, about.attrs.size.ok_or(ErrorKind::InvalidData)?)
            }
            Range::Bytes { offset, len } => (offset, len),
        };
        // Positions of files are signed on every system.
        if offset.checked_add(len).is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        into.truncate(len);
        into.resize(len, 0);
        transfer::read(link, &opened.handle, offset, into).await
    };
    let read = read.await;
    if !read.as_ref().is_err_and(is_broken) {
        link.sftp.close(&opened.handle).await.map_err(sftp_error)?;
    }
    read
}

/// Remove an object; one that is not there is no error.
///
/// # Errors
/// Of the server or the connection.
pub(super) async fn delete(link: &Arc<Link>, path: &str) -> io::Result<()> {
    match link.sftp.remove(path).await.map_err(sftp_error) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Remove what writers left behind that were killed, by the server's clock. The place may be others', too: what is not called as ours
/// are stays.
///
/// # Errors
/// Of the server or the connection.
pub(super) async fn remove_leftovers(link: &Arc<Link>) -> io::Result<()> {
    let _room = link.handles(1).await?;
    // The server's clock is only to be had as the time of a file.
    let clock = temporary_name(link)?;
    write(link, &clock, b"").await?;
    let now = link.sftp.lstat(&clock).await.map_err(sftp_error)?.attrs.mtime.unwrap_or_default();
    let folder = folder::above(&clock);
    for File { filename, attrs, .. } in folder::read(link, folder).await? {
        let path = format!("{folder}/{filename}");
        let age = now.saturating_sub(attrs.mtime.unwrap_or(now));
        let is_left = u64::from(age) > TEMPORARY_AGE_MAX.as_secs() && attrs.file_type().is_file();
        if path == clock || (is_left && is_temporary(&filename)) {
            delete(link, &path).await?;
        }
    }
    Ok(())
}

pub(super) fn temporary_name(link: &Link) -> io::Result<String> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    Ok(format!("{}/{TEMPORARY}/{random:016x}", link.root))
}

/// Whether a name is one of [`temporary_name`].
fn is_temporary(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Make a file with this content, durably but for its name.
async fn write(link: &Arc<Link>, path: &str, content: &[u8]) -> io::Result<()> {
    let handle = create(link, path).await?;
    let written = async {
        transfer::write(link, &handle, 0, content).await?;
        if link.can_sync {
            link.sftp.fsync(&handle).await.map_err(sftp_error)?;
        }
        Ok(())
    };
    let written = written.await;
    if written.as_ref().is_err_and(is_broken) {
        return written;
    }
    // Also an error of the last write may be said only here.
    let closed = link.sftp.close(&handle).await.map_err(sftp_error);
    written.and(closed.map(drop))
}

async fn create(link: &Link, path: &str) -> io::Result<String> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let mode = || FileAttributes { permissions: Some(OBJECT_MODE), ..FileAttributes::empty() };
    let opened = match link.sftp.open(path, flags, mode()).await.map_err(sftp_error) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            folder::make(link, folder::above(path)).await?;
            link.sftp.open(path, flags, mode()).await.map_err(sftp_error)
        }
        opened => opened,
    };
    Ok(opened?.handle)
}

/// Give a finished file its name, unless that is taken.
pub(super) async fn give_name(link: &Arc<Link>, temporary: &str, path: &str) -> io::Result<()> {
    match try_name(link, temporary, path).await {
        Err(error) if !is_broken(&error) => {}
        done => return done,
    }
    if folder::exists(link, path).await? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // Its folder may be missing. It may also be there by now and not have been a moment ago, because another writer has
    // just made it: so the name is tried again in any case.
    folder::make(link, folder::above(path)).await?;
    match try_name(link, temporary, path).await {
        Err(error) if !is_broken(&error) && folder::exists(link, path).await? => {
            drop(error);
            Err(ErrorKind::AlreadyExists.into())
        }
        done => done,
    }
}

async fn try_name(link: &Arc<Link>, temporary: &str, path: &str) -> io::Result<()> {
    if link.can_link {
        match link.sftp.hardlink(temporary, path).await.map_err(sftp_error) {
            // File systems without links answer so.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            done => return done.map(drop),
        }
    }
    if !renaming_is_safe(link).await? {
        let words =
            "the server has no links, and renaming replaces what is there: no safe way to give a name";
        return Err(io::Error::new(ErrorKind::Unsupported, words));
    }
    link.sftp.rename(temporary, path).await.map(drop).map_err(sftp_error)
}

/// Whether this server refuses to rename over an existing file, as the protocol demands.
async fn renaming_is_safe(link: &Arc<Link>) -> io::Result<bool> {
    let (one, other) = (temporary_name(link)?, temporary_name(link)?);
    write(link, &one, b"1").await?;
    write(link, &other, b"2").await?;
    let renamed = link.sftp.rename(&one, &other).await.map_err(sftp_error);
    delete(link, &one).await?;
    delete(link, &other).await?;
    match renamed {
        Err(error) if is_broken(&error) => Err(error),
        renamed => Ok(renamed.is_err()),
    }
}

/// SFTP says "failure" for a full disk, too.
pub(super) async fn explain(link: &Link, error: io::Error, wanted: usize) -> io::Error {
    if error.kind() != ErrorKind::Other || !link.can_measure {
        return error;
    }
    match link.sftp.statvfs(&link.root).await {
        Ok(about) if about.blocks_avail.saturating_mul(about.fragment_size) < wanted as u64 => {
            io::Error::new(ErrorKind::StorageFull, "the disk of the server is full")
        }
        _ => error,
    }
}
