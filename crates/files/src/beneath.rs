//! Open what lies below an open directory, and nothing else.
//!
//! `openat2` does it in one call; where it is missing (old kernels, strict seccomp) or the path is too long for one
//! call, the path is walked name by name without following links. Invariant: no symbolic link on the way is followed,
//! whoever swaps it in and whenever.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

use crate::relative::RelativePath;

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Open `path` below `root`. The last name is not followed either; with `O_PATH` a link itself is opened.
pub(crate) fn open(root: BorrowedFd<'_>, path: &RelativePath, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_root() {
        return openat(root, c".", flags, Mode::empty());
    }
    match openat2(root, path.as_bytes(), flags, Mode::empty(), RESOLVE) {
        // AGAIN: a rename in the tree raced with us. PERM: some sandboxes say so where others say NOSYS.
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => {
            open_by_names(root, path, flags)
        }
        outcome => outcome,
    }
}

/// The same, one name after the other.
fn open_by_names(root: BorrowedFd<'_>, path: &RelativePath, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here: Option<OwnedFd> = None;
    let mut names = path.parts().peekable();
    while let Some(name) = names.next() {
        let dir = here.as_ref().map_or(root, AsFd::as_fd);
        let last = names.peek().is_none();
        here = Some(openat(dir, name, if last { flags } else { step }, Mode::empty())?);
    }
    here.ok_or(Errno::INVAL)
}

/// Whether an error means that a link or a file stands where a directory is needed.
pub(crate) fn is_in_the_way(error: Errno) -> bool {
    matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::XDEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_open_the_same_and_refuse_the_same() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "x").unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink("b", dir.path().join("a/inside")).unwrap();
        symlink("/etc/passwd", dir.path().join("a/last")).unwrap();
        let root =
            openat(rustix::fs::CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for (path, can) in
            [("a/b/c", true), ("a", true), ("out/secret", false), ("a/inside/c", false), ("a/last", false)]
        {
            let path = RelativePath::parse(path).unwrap();
            for outcome in [
                open(root.as_fd(), &path, OFlags::RDONLY),
                open_by_names(root.as_fd(), &path, OFlags::RDONLY),
            ] {
                match outcome {
                    Ok(_) => assert!(can, "{path} was followed"),
                    Err(error) => assert!(!can && is_in_the_way(error), "{path}: {error}"),
                }
            }
        }
    }

    #[test]
    fn paths_longer_than_the_kernel_takes_in_one_call() {
        let dir = tempfile::tempdir().unwrap();
        let root =
            openat(rustix::fs::CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let name = [b'n'; 250];
        let mut path = RelativePath::root();
        let mut here = open(root.as_fd(), &path, OFlags::PATH).unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&here, &name[..], Mode::RWXU).unwrap();
            path = path.child(&name);
            here = open(root.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        }
        assert!(path.as_bytes().len() > 4096);
    }
}
