//! Facts of `MLSD` and `MLST` (RFC 3659): names, kinds, sizes and times as they are. Does no IO.

use jiff::Timestamp;
use model::entry::{Entry, EntryKind};

use super::super::talk::{Look, Unsaid};
use super::time::exact;

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One entry.
    Entry(Box<Entry>),
    /// A link, whose target another listing may tell.
    Link(Box<Entry>),
    /// Something that cannot be kept, by name.
    Unclear(Vec<u8>, String),
    /// The directory itself or the one above.
    Nothing,
}

/// What facts say.
#[derive(Default)]
struct Facts<'a> {
    kind: &'a [u8],
    size: Option<u64>,
    modify: Option<Timestamp>,
    unique: &'a [u8],
    mode: Option<u32>,
    owner: (Option<u32>, &'a [u8]),
    group: (Option<u32>, &'a [u8]),
}

impl<'a> Facts<'a> {
    /// `type=file;size=3;modify=20261121153000; name`: the facts, and the name.
    fn split(line: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let end = line.iter().position(|byte| *byte == b' ')?;
        let (facts, name) = (&line[..end], &line[end + 1..]);
        let mut found = Self::default();
        for fact in facts.split(|byte| *byte == b';').filter(|fact| !fact.is_empty()) {
            let equals = fact.iter().position(|byte| *byte == b'=')?;
            found.take(&fact[..equals].to_ascii_lowercase(), &fact[equals + 1..]);
        }
        Some((found, name))
    }

    fn take(&mut self, fact: &[u8], value: &'a [u8]) {
        let number =
            |radix| std::str::from_utf8(value).ok().and_then(|text| u32::from_str_radix(text, radix).ok());
        match fact {
            b"type" => self.kind = value,
            b"size" => self.size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            b"modify" => self.modify = exact(value),
            b"unique" => self.unique = value,
            // As pyftpdlib writes octal numbers, too.
            b"unix.mode" => self.mode = octal(value.strip_prefix(b"0o").unwrap_or(value)),
            b"unix.uid" => self.owner.0 = number(10),
            b"unix.gid" => self.group.0 = number(10),
            b"unix.owner" | b"unix.ownername" => {
                self.owner =
                    (self.owner.0.or(number(10)), if number(10).is_some() { self.owner.1 } else { value });
            }
            b"unix.group" | b"unix.groupname" => {
                self.group =
                    (self.group.0.or(number(10)), if number(10).is_some() { self.group.1 } else { value });
            }
            _ => {}
        }
    }
}

/// Read a line of `MLSD`; `None` where it is none.
pub(super) fn parse(line: &[u8], unsaid: &Unsaid) -> Option<Line> {
    let (facts, name) = Facts::split(line)?;
    let name = name.to_vec();
    let kind = facts.kind.to_ascii_lowercase();
    let (kind, is_link) = match &kind[..] {
        b"file" => (EntryKind::File, false),
        b"dir" => (EntryKind::Directory, false),
        b"cdir" | b"pdir" => return Some(Line::Nothing),
        kind if kind.starts_with(b"os.unix=slink") || kind.starts_with(b"os.unix=symlink") => {
            let target = facts.kind.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
            (EntryKind::Symlink { target: target.to_vec() }, target.is_empty())
        }
        other => {
            let kind = String::from_utf8_lossy(other).into_owned();
            return Some(Line::Unclear(name, format!("the server calls it {kind:?}, and tells no more")));
        }
    };
    let mut entry = unsaid.entry(name, kind);
    if matches!(&entry.name[..], b"." | b"..") && entry.is_dir() {
        return Some(Line::Nothing);
    }
    let metadata = &mut entry.metadata;
    metadata.mode = facts.mode.map_or(metadata.mode, |mode| mode & 0o7777);
    metadata.uid = facts.owner.0.unwrap_or(metadata.uid);
    metadata.gid = facts.group.0.unwrap_or(metadata.gid);
    metadata.user = String::from_utf8_lossy(facts.owner.1).into_owned();
    metadata.group = String::from_utf8_lossy(facts.group.1).into_owned();
    metadata.mtime = facts.modify.unwrap_or(metadata.mtime);
    (metadata.atime, metadata.ctime) = (metadata.mtime, metadata.mtime);
    match entry.kind {
        EntryKind::File => match (facts.size, facts.modify) {
            (Some(size), Some(_)) => entry.metadata.size = size,
            _ => return Some(Line::Unclear(entry.name, "the server tells no size or no time of it".into())),
        },
        // Servers that follow links show one directory in many places: in itself, too.
        EntryKind::Directory => entry.metadata.inode = number_of(facts.unique),
        _ => {}
    }
    Some(if is_link { Line::Link(Box::new(entry)) } else { Line::Entry(Box::new(entry)) })
}

/// What the second line of the reply to `MLST` says of a file; `None` where it is no file.
pub(super) fn look(line: &[u8]) -> Option<Look> {
    let (facts, _) = Facts::split(line.strip_prefix(b" ").unwrap_or(line))?;
    facts.kind.eq_ignore_ascii_case(b"file").then_some(Look { size: facts.size, mtime: facts.modify })
}

fn octal(text: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(text).ok()?, 8).ok()
}

/// FNV-1a; 0 is nothing told.
fn number_of(unique: &[u8]) -> u64 {
    if unique.is_empty() {
        return 0;
    }
    unique
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
        | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSAID: Unsaid = Unsaid { uid: 7, gid: 8 };

    fn entry(line: &[u8]) -> Entry {
        match parse(line, &UNSAID) {
            Some(Line::Entry(entry) | Line::Link(entry)) => *entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn facts_in_any_order_and_case() {
        let file = entry(b"Modify=20261121153000.5;SIZE=12;Type=file;UNIX.mode=0640;unix.uid=33;UNIX.gid=34;perm=r;  a;b= c");
        assert_eq!((&file.name[..], file.metadata.size, file.metadata.mode), (&b" a;b= c"[..], 12, 0o640));
        assert_eq!((file.metadata.uid, file.metadata.gid), (33, 34));
        assert_eq!(file.metadata.mtime, "2026-11-21T15:30:00.5Z".parse().unwrap());
        let named = entry(b"type=file;size=1;modify=20261121153000;unix.owner=web;unix.group=50; x\xff");
        assert_eq!((named.metadata.uid, &named.metadata.user[..], named.metadata.gid), (7, "web", 50));
        assert_eq!(entry(b"type=file;size=1;modify=20261121153000;unix.mode=0o604; x").metadata.mode, 0o604);
        let dir = entry(b"type=dir;modify=20261121153000;unique=1U2; d");
        assert!(dir.is_dir() && dir.metadata.inode != 0 && dir.metadata.mode == 0o755);
        let link = entry(b"type=OS.unix=slink:/a:b;modify=20261121153000; l");
        assert_eq!(link.kind, EntryKind::Symlink { target: b"/a:b".to_vec() });
        assert!(matches!(parse(b"type=OS.unix=symlink; l", &UNSAID), Some(Line::Link(_))));
        assert_eq!(parse(b"type=cdir; .", &UNSAID), Some(Line::Nothing));
        assert_eq!(parse(b"type=dir; ..", &UNSAID), Some(Line::Nothing));
    }

    #[test]
    fn what_tells_too_little_is_named() {
        for line in [
            &b"type=file;size=1; x"[..],
            b"type=file;modify=20261121153000; x",
            b"type=OS.unix=chr-1/3; x",
            b" x",
        ] {
            assert!(matches!(parse(line, &UNSAID), Some(Line::Unclear(name, _)) if name == b"x"), "{line:?}");
        }
        for line in [&b""[..], b"x", b"type;size=1; x"] {
            assert_eq!(parse(line, &UNSAID), None, "{line:?}");
        }
        assert_eq!(look(b" type=dir;modify=20261121153000; /x"), None);
        assert_eq!(look(b" type=file;size=3; /x").unwrap().size, Some(3));
    }
}
