//! Names of users and groups, from `/etc/passwd` and `/etc/group`.
//!
//! Read once. Directories of names beyond these files (LDAP) are not asked: the number is what a restore uses, the name
//! is for people. An unknown number has the empty name.

use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Who the numbers are.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// From `passwd` and `group` in `etc`; a file that is not there knows nobody.
    pub fn read(etc: &Path) -> io::Result<Self> {
        let read = |name| match std::fs::read(etc.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            outcome => outcome,
        };
        Ok(Self::parse(&read("passwd")?, &read("group")?))
    }

    /// From the contents of the two files.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: names(passwd), groups: names(group) }
    }

    /// Name of a user, or nothing.
    pub fn user(&self, uid: u32) -> &str {
        self.users.get(&uid).map_or("", String::as_str)
    }

    /// Name of a group, or nothing.
    pub fn group(&self, gid: u32) -> &str {
        self.groups.get(&gid).map_or("", String::as_str)
    }
}

/// `name:password:number:…`; the first line of a number counts, as for `getpwuid`.
fn names(file: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in file.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let (Some(name), Some(number)) = (fields.next(), fields.nth(1)) else { continue };
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        if let (Some(number), Ok(name)) = (number, std::str::from_utf8(name)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_counts_and_bad_lines_are_passed_over() {
        let owners = Owners::parse(
            b"root:x:0:0:r:/root:/bin/sh\ntoor:x:0:0\n+\nbad:x:no:1\n\xff:x:7:\n",
            b"staff:x:50:a,b\n",
        );
        assert_eq!(
            (owners.user(0), owners.user(7), owners.group(50), owners.group(1)),
            ("root", "", "staff", "")
        );
        assert_eq!(Owners::read(Path::new("/nonexistent")).unwrap().user(0), "");
        assert_eq!(Owners::read(Path::new("/etc")).unwrap().user(0), "root");
    }
}
