//! Folders on the server: made durably, synced, and listed down to their last file.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{File, FileAttributes, OpenFlags, StatusCode};
use tokio::task::JoinSet;

use super::link::{Link, is_broken, sftp_error};
use super::transfer::lost;

/// Folders that are read at once.
const UNDER_WAY: usize = 16;
/// For the owner alone.
const FOLDER_MODE: u32 = 0o700;

/// The folder that a path is in.
pub(super) fn above(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

/// Make a folder and what is missing above it.
///
/// # Errors
/// Where there is none afterwards.
pub(super) async fn make(link: &Link, folder: &str) -> io::Result<()> {
    let mut missing = vec![];
    let mut next = folder;
    while next != "/" && !exists(link, next).await? {
        missing.push(next);
        next = above(next);
    }
    for folder in missing.into_iter().rev() {
        let mode = FileAttributes { permissions: Some(FOLDER_MODE), ..FileAttributes::empty() };
        if let Err(error) = link.sftp.mkdir(folder, mode).await.map_err(sftp_error) {
            // Another writer may have made it meanwhile.
            if is_broken(&error) || !exists(link, folder).await? {
                return Err(error);
            }
        }
        sync(link, above(folder)).await?;
    }
    Ok(())
}

/// Make the names in a folder durable, where the server can.
///
/// # Errors
/// Where the connection breaks; a server that does not open folders as files, as OpenSSH does, makes names durable
/// when it likes.
pub(super) async fn sync(link: &Link, folder: &str) -> io::Result<()> {
    if !link.can_sync {
        return Ok(());
    }
    let opened = link.sftp.open(folder, OpenFlags::READ, FileAttributes::empty()).await;
    let handle = match opened.map_err(sftp_error) {
        Ok(opened) => opened.handle,
        Err(error) if is_broken(&error) => return Err(error),
        Err(_) => return Ok(()),
    };
    let synced = link.sftp.fsync(&handle).await.map_err(sftp_error);
    let closed = link.sftp.close(&handle).await.map_err(sftp_error);
    synced.and(closed).map(drop)
}

/// Whether there is something of that name.
///
/// # Errors
/// Where the server does not tell.
pub(super) async fn exists(link: &Link, path: &str) -> io::Result<bool> {
    match link.sftp.lstat(path).await.map_err(sftp_error) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Every regular file below a folder with its path; nothing where there is no such folder.
///
/// # Errors
/// Any one fails the whole.
pub(super) async fn files(link: &Arc<Link>, folder: &str) -> io::Result<Vec<(String, FileAttributes)>> {
    let mut waiting = VecDeque::from([folder.to_owned()]);
    let mut under_way = JoinSet::new();
    let mut files = vec![];
    loop {
        while under_way.len() < UNDER_WAY
            && let Some(folder) = waiting.pop_front()
        {
            let link = link.clone();
            under_way.spawn(async move { (read(&link, &folder).await, folder) });
        }
        let Some(done) = under_way.join_next().await else { return Ok(files) };
        let (entries, folder) = done.map_err(lost)?;
        for File { filename, attrs, .. } in entries? {
            let path = format!("{folder}/{filename}");
            if attrs.is_dir() && !attrs.is_regular() {
                waiting.push_back(path);
            } else if attrs.file_type().is_file() {
                files.push((path, attrs));
            }
        }
    }
}

/// The entries of one folder; none where it is gone.
///
/// # Errors
/// What the server says.
pub(super) async fn read(link: &Link, folder: &str) -> io::Result<Vec<File>> {
    let _room = link.handles(1).await?;
    let handle = match link.sftp.opendir(folder).await.map_err(sftp_error) {
        Ok(opened) => opened.handle,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut entries = vec![];
    let end = loop {
        match link.sftp.readdir(&handle).await {
            Ok(some) => {
                entries.extend(some.files.into_iter().filter(|file| !matches!(&*file.filename, "." | "..")))
            }
            Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break Ok(()),
            Err(error) => break Err(sftp_error(error)),
        }
    };
    let closed = link.sftp.close(&handle).await.map_err(sftp_error);
    end.and(closed.map(drop))?;
    for entry in
        entries.iter_mut().filter(|entry| entry.attrs.permissions.is_none() || entry.attrs.size.is_none())
    {
        entry.attrs =
            link.sftp.lstat(format!("{folder}/{}", entry.filename)).await.map_err(sftp_error)?.attrs;
    }
    Ok(entries)
}
