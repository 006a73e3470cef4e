//! A file with a secret in it, which others must not be able to read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{LEN_MAX, SecretError};

/// Whoever else may not be let in.
const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;
const GROUP_CHANGES: u32 = 0o030;

/// Whether somebody else than its owner can read it. A group may where that is root's, and where root owns the file and so
/// chose the group, which may only read: so Kubernetes mounts secrets for a pod with `fsGroup`. libpq judges keys alike.
fn is_exposed(mode: u32, owner: u32, group: u32) -> bool {
    let by_group = mode & GROUP != 0 && group != 0 && (owner != 0 || mode & GROUP_CHANGES != 0);
    mode & OTHERS != 0 || by_group
}

/// What stands in `path`.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let unreadable = |cause| SecretError::Unreadable { path: path.to_owned(), cause };
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    let mode = about.permissions().mode();
    if about.is_file() && is_exposed(mode, about.uid(), about.gid()) {
        return Err(SecretError::Exposed { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LEN_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LEN_MAX { Err(SecretError::TooLong(path.to_owned())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_root_gave_it() {
        let (us, ours, root) = (1000, 1000, 0);
        for (mode, owner, group, exposed) in [
            (0o600, us, ours, false),
            (0o640, us, ours, true),
            (0o640, us, root, false),
            (0o440, root, ours, false),
            (0o460, root, ours, true),
            (0o444, root, root, true),
            (0o404, root, ours, true),
        ] {
            assert_eq!(is_exposed(mode, owner, group), exposed, "{mode:o} {owner} {group}");
        }
    }
}
