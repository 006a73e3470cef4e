//! As whom a throw-away server runs: ourselves, or, for root, somebody without rights.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Whom root becomes, the first that is known on this machine.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// Number of `nobody` where no account is known.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// A user and group to change to, or nobody else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity(Option<(u32, u32)>);

impl Identity {
    pub(super) fn find() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let known = ACCOUNTS.iter().find_map(|name| numbers_of(&accounts, name));
        Self(Some(known.unwrap_or(NOBODY)))
    }

    /// Let `command` run as this user.
    pub(super) fn apply(self, command: &mut Command) {
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
    }

    /// Give `path` to this user.
    pub(super) fn own(self, path: &Path) -> io::Result<()> {
        match self.0 {
            Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }
}

fn numbers_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(numbers_of(accounts, "postgres"), Some((101, 104)));
        assert_eq!(numbers_of(accounts, "nobody"), None);
    }
}
