//! Names of users and groups, from `/etc/passwd` and `/etc/group`.
//!
//! Read once. Directories of names beyond these files (LDAP) are not asked. An unknown number has the empty name. A
//! restore goes by the name where this machine knows it, since elsewhere the same user may have another number; else by
//! the number.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use model::entry::Metadata;

/// Who the numbers are.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    uids: HashMap<String, u32>,
    gids: HashMap<String, u32>,
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
        let (users, groups) = (names(passwd), names(group));
        let (uids, gids) = (numbers(passwd), numbers(group));
        Self { users, groups, uids, gids }
    }

    /// The same, by whom owners keep their numbers.
    #[must_use]
    pub fn by_number(self) -> Self {
        Self { uids: HashMap::new(), gids: HashMap::new(), ..self }
    }

    /// Give what is restored the numbers that its owners' names have here.
    pub fn settle(&self, metadata: &mut Metadata) {
        metadata.uid = self.uids.get(&metadata.user).copied().unwrap_or(metadata.uid);
        metadata.gid = self.gids.get(&metadata.group).copied().unwrap_or(metadata.gid);
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

/// The first line of a number counts, as for `getpwuid`.
fn names(file: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for (name, number) in lines(file) {
        names.entry(number).or_insert_with(|| name.to_owned());
    }
    names
}

/// The first line of a name counts, as for `getpwnam`.
fn numbers(file: &[u8]) -> HashMap<String, u32> {
    let mut numbers = HashMap::new();
    for (name, number) in lines(file).filter(|(name, _)| !name.is_empty()) {
        numbers.entry(name.to_owned()).or_insert(number);
    }
    numbers
}

/// `name:password:number:…`
fn lines(file: &[u8]) -> impl Iterator<Item = (&str, u32)> {
    file.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(number).ok()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_known_here_decide_and_numbers_otherwise() {
        let owners = Owners::parse(b"web:x:33:\nweb:x:34:\n:x:9:\n", b"web:x:50:\n");
        let mut metadata = Metadata { uid: 7, gid: 8, user: "web".into(), group: "gone".into(), ..blank() };
        owners.settle(&mut metadata);
        assert_eq!((metadata.uid, metadata.gid), (33, 8));
        let mut unnamed = Metadata { uid: 7, gid: 8, ..blank() };
        owners.settle(&mut unnamed);
        assert_eq!((unnamed.uid, unnamed.gid), (7, 8));
        let mut metadata = Metadata { uid: 7, user: "web".into(), ..blank() };
        owners.by_number().settle(&mut metadata);
        assert_eq!(metadata.uid, 7);
    }

    fn blank() -> Metadata {
        let time = jiff::Timestamp::UNIX_EPOCH;
        Metadata {
            mode: 0,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            mtime: time,
            atime: time,
            ctime: time,
            inode: 0,
            device_id: 0,
            links: 1,
            size: 0,
            xattrs: vec![],
        }
    }

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
