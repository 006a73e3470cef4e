//! Remove something with all below it, never through a link.
//!
//! Every directory is opened in its open parent and its names are removed in it, so a directory swapped for a link is
//! removed as the link that it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, RawDir, unlinkat};
use rustix::io::{Errno, Result};

use crate::directories::{DirHandle, open_child};

const LISTING_BYTES: usize = 32 * 1024;

/// Names in a directory, in no order.
pub(crate) fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?; // the handle may have been listed before
    let mut buffer = Vec::with_capacity(LISTING_BYTES);
    let mut listing = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = listing.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Remove `name` and all below it; that it is not there is fine.
pub(crate) fn remove_tree(parent: &DirHandle, name: &[u8]) -> Result<()> {
    match parent.writing(|fd| unlinkat(fd, name, AtFlags::empty())) {
        Err(Errno::ISDIR) => {}
        Err(Errno::NOENT) => return Ok(()),
        outcome => return outcome,
    }
    let top = open_child(parent.fd(), name)?;
    let left = names(top.as_fd())?;
    let mut stack: Vec<(Vec<u8>, OwnedFd, Vec<Vec<u8>>)> = vec![(name.to_vec(), top, left)];
    while let Some((_, dir, left)) = stack.last_mut() {
        let Some(next) = left.pop() else {
            let Some((name, ..)) = stack.pop() else { break };
            let above = stack.last().map_or(parent.fd(), |(_, dir, _)| dir.as_fd());
            unlinkat(above, &name[..], AtFlags::REMOVEDIR)?;
            continue;
        };
        match unlink_or_open(dir.as_fd(), &next)? {
            None => {}
            Some(inner) => {
                let left = names(inner.as_fd())?;
                stack.push((next, inner, left));
            }
        }
    }
    Ok(())
}

/// `None` once it is gone; a directory is opened instead.
fn unlink_or_open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(None),
        Err(Errno::ISDIR) => open_child(dir, name).map(Some),
        Err(Errno::ACCESS) => {
            // A read-only directory: open it up through its own name, then once more.
            open_writable(dir)?;
            match unlinkat(dir, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => open_child(dir, name).map(Some),
                outcome => outcome.map(|()| None),
            }
        }
        Err(error) => Err(error),
    }
}

fn open_writable(dir: BorrowedFd<'_>) -> Result<()> {
    rustix::fs::fchmod(dir, rustix::fs::Mode::RWXU)
}
