//! Put metadata onto something that is open or pinned.
//!
//! The order is the point. Owner first: changing it clears suid bits and capabilities. Attributes but ACLs next, while
//! the owner may still write. Then the mode, then ACLs, whose mask lives in the mode. Times last: all else moves them.
//! Invariant: before the mode is set nobody but the owner can read; suid bits are not given to a file of another owner.

use std::os::fd::BorrowedFd;
use std::path::Path;

use model::entry::Metadata;
use rustix::fs::{AtFlags, Gid, Mode, Timestamps, Uid, chmod, chownat, fchmod, fchown, futimens, utimensat};
use rustix::fs::{FileType, Statx};
use rustix::io::{Errno, Result};

use crate::error::Error;
use crate::losses::{Losses, Lost};
use crate::metadata::stat_open;
use crate::time;
use crate::xattr::{Bearer, proc_path};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const ACL_PREFIX: &str = "system.posix_acl_";

/// What metadata is put onto.
#[derive(Clone, Copy)]
pub(crate) enum Grip<'a> {
    /// Opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// Opened with `O_PATH`; its path under `/proc`.
    Pinned(BorrowedFd<'a>, &'a [u8]),
}

impl<'a> Grip<'a> {
    fn stat(self) -> Result<Statx> {
        let (Grip::Open(fd) | Grip::Pinned(fd, _)) = self;
        stat_open(fd)
    }

    fn bearer(self) -> Bearer<'a> {
        match self {
            Grip::Open(fd) => Bearer::Open(fd),
            Grip::Pinned(_, path) => Bearer::Pinned(path),
        }
    }

    fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Grip::Open(fd) => fchown(fd, uid, gid),
            Grip::Pinned(fd, _) => chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    pub(crate) fn chmod(self, mode: u32) -> Result<()> {
        match self {
            Grip::Open(fd) => fchmod(fd, Mode::from_raw_mode(mode)),
            Grip::Pinned(_, path) => chmod(path, Mode::from_raw_mode(mode)),
        }
    }

    fn set_times(self, times: &Timestamps) -> Result<()> {
        match self {
            Grip::Open(fd) => futimens(fd, times),
            Grip::Pinned(fd, _) => utimensat(fd, c"", times, AtFlags::EMPTY_PATH),
        }
    }
}

/// Give `fd`, opened with `O_PATH`, the metadata.
pub(crate) fn apply_pinned(
    fd: BorrowedFd<'_>,
    wanted: &Metadata,
    path: &Path,
    losses: &Losses,
) -> std::result::Result<(), Error> {
    let proc = proc_path(fd);
    apply(Grip::Pinned(fd, &proc), wanted, path, losses)
}

/// Give it the metadata. What we have no right to set is a loss; that the disk fails is an error.
pub(crate) fn apply(
    grip: Grip<'_>,
    wanted: &Metadata,
    path: &Path,
    losses: &Losses,
) -> std::result::Result<(), Error> {
    let found = grip.stat().map_err(|e| Error::io("look at", path, e))?;
    let lose = |what, error| losses.add(what, path, error);
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    let owned = set_owner(grip, wanted, &found).map_err(|e| Error::io("change the owner of", path, e))?;
    if let Some(error) = owned.error {
        lose(Lost::Owner, error);
    }
    set_attributes(grip.bearer(), wanted, &lose);
    if kind != FileType::Symlink {
        let mut mode = wanted.mode & 0o7777;
        if kind != FileType::Directory {
            mode &= !(if owned.user { 0 } else { SET_UID } | if owned.group { 0 } else { SET_GID });
        }
        if owned.changed || u32::from(found.stx_mode) & 0o7777 != mode {
            accept(grip.chmod(mode), |e| lose(Lost::Mode, e))
                .map_err(|e| Error::io("change the mode of", path, e))?;
        }
        for acl in wanted.xattrs.iter().filter(|xattr| xattr.name.starts_with(ACL_PREFIX)) {
            if let Err(error) = grip.bearer().set(&acl.name, &acl.value) {
                lose(Lost::Attributes("system".to_owned()), error);
            }
        }
    }
    let times = Timestamps {
        last_access: time::to_kernel(wanted.atime),
        last_modification: time::to_kernel(wanted.mtime),
    };
    accept(grip.set_times(&times), |e| lose(Lost::Times, e))
        .map_err(|e| Error::io("set the times of", path, e))
}

/// Missing rights and missing support are a loss, all else stays an error.
fn accept(outcome: Result<()>, lose: impl FnOnce(Errno)) -> Result<()> {
    match outcome {
        Err(error @ (Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)) => {
            lose(error);
            Ok(())
        }
        outcome => outcome,
    }
}

/// How the change of owner went.
struct Owned {
    user: bool,
    group: bool,
    changed: bool,
    error: Option<Errno>,
}

fn set_owner(grip: Grip<'_>, wanted: &Metadata, found: &Statx) -> Result<Owned> {
    let uid = (wanted.uid != found.stx_uid).then_some(wanted.uid);
    let gid = (wanted.gid != found.stx_gid).then_some(wanted.gid);
    let mut owned = Owned { user: true, group: true, changed: uid.is_some() || gid.is_some(), error: None };
    if !owned.changed {
        return Ok(owned);
    }
    accept(grip.chown(uid, gid), |error| owned.error = Some(error))?;
    if owned.error.is_some() {
        owned.user = uid.is_none();
        // Anybody may give a file to a group they belong to.
        owned.group = gid.is_none() || (uid.is_some() && grip.chown(None, gid).is_ok());
    }
    Ok(owned)
}

/// Exactly the wanted attributes: what a directory passed on to its new child (a default ACL) goes away again.
fn set_attributes(bearer: Bearer<'_>, wanted: &Metadata, lose: &impl Fn(Lost, Errno)) {
    let namespace = |name: &[u8]| {
        let end = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
        Lost::Attributes(String::from_utf8_lossy(&name[..end]).into_owned())
    };
    let present = bearer.names().unwrap_or_else(|error| {
        lose(Lost::Attributes("any namespace".to_owned()), error);
        Vec::new()
    });
    for name in present {
        let is_wanted = wanted.xattrs.iter().any(|xattr| xattr.name.as_bytes() == name);
        if !is_wanted
            && is_ours_to_remove(&name)
            && let Err(error) = bearer.remove(&name)
        {
            lose(namespace(&name), error);
        }
    }
    for xattr in wanted.xattrs.iter().filter(|xattr| !xattr.name.starts_with(ACL_PREFIX)) {
        if let Err(error) = bearer.set(&xattr.name, &xattr.value) {
            lose(namespace(xattr.name.as_bytes()), error);
        }
    }
}

/// Labels of security modules belong to the machine, not to the backup.
fn is_ours_to_remove(name: &[u8]) -> bool {
    [&b"user."[..], b"trusted.", b"security.capability", ACL_PREFIX.as_bytes()]
        .iter()
        .any(|p| name.starts_with(p))
}
