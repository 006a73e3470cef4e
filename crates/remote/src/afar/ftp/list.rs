//! Lines of `LIST` as unix systems write them: what servers say that know no `MLSD`. Does no IO.

use jiff::Timestamp;
use model::entry::{Entry, EntryKind};

use super::super::talk::Unsaid;
use super::time::{Coarse, of_long_iso, of_ls};

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// One entry, whose time is a step.
    Entry(Box<Entry>, Coarse),
    /// Something that cannot be kept, by name.
    Unclear(Vec<u8>, String),
    /// Nothing: `total 12`, `.` or `..`.
    Nothing,
}

/// Read a line; `None` where it is none of `ls -l`.
pub(super) fn parse(line: &[u8], unsaid: &Unsaid, now: Timestamp) -> Option<Line> {
    if line.starts_with(b"total ") || line.is_empty() {
        return Some(Line::Nothing);
    }
    let words = words(line);
    let mode = words.first().map(|(at, word)| &line[*at..at + word.len()]).filter(|mode| mode.len() >= 10)?;
    let (date, time, name_at) = date(&words, now)?;
    let name = line.get(name_at..).filter(|name| !name.is_empty())?;
    if matches!(name, b"." | b"..") {
        return Some(Line::Nothing);
    }
    let size: Option<u64> = words[date - 1].1.parse().ok();
    let (name, kind) = match mode[0] {
        b'-' => (name, EntryKind::File),
        b'd' => (name, EntryKind::Directory),
        b'p' => (name, EntryKind::Fifo),
        b's' => (name, EntryKind::Socket),
        b'l' => match split_link(name, size) {
            Some((name, target)) => (name, EntryKind::Symlink { target: target.to_vec() }),
            None => {
                return Some(Line::Unclear(
                    name.to_vec(),
                    "the server does not tell where the link points".into(),
                ));
            }
        },
        b'b' | b'c' => {
            return Some(Line::Unclear(name.to_vec(), "FTP does not tell which device it is".into()));
        }
        _ => return None,
    };
    let mut entry = unsaid.entry(name.to_vec(), kind);
    let metadata = &mut entry.metadata;
    metadata.mode = permissions(&mode[1..10]).unwrap_or(metadata.mode);
    // Between mode, links and size stand the owner and the group, or only one of them.
    if let [owner, group] = &words[2.min(date - 1)..date - 1] {
        (metadata.uid, metadata.user) = owner_of(owner.1, metadata.uid);
        (metadata.gid, metadata.group) = owner_of(group.1, metadata.gid);
    }
    metadata.size = if entry.kind == EntryKind::File { size? } else { 0 };
    (metadata.mtime, metadata.atime, metadata.ctime) = (time.begin, time.begin, time.begin);
    Some(Line::Entry(Box::new(entry), time))
}

/// The words in front of the name, with their places; what is no text is no such word.
fn words(line: &[u8]) -> Vec<(usize, &str)> {
    let (mut words, mut at) = (vec![], 0);
    while words.len() < 10 {
        let Some(start) = line[at..].iter().position(|byte| *byte != b' ') else { break };
        let start = at + start;
        let end = line[start..].iter().position(|byte| *byte == b' ').map_or(line.len(), |len| start + len);
        let Ok(word) = std::str::from_utf8(&line[start..end]) else { break };
        words.push((start, word));
        at = end;
    }
    words
}

/// Which word the date begins with, the time, and where the name begins: one space behind it.
fn date(words: &[(usize, &str)], now: Timestamp) -> Option<(usize, Coarse, usize)> {
    let after = |(at, word): (usize, &str)| at + word.len() + 1;
    (2..words.len()).find_map(|at| {
        let is_size = words[at - 1].1.bytes().all(|byte| byte.is_ascii_digit());
        let [first, second] = *words.get(at..at + 2)? else { return None };
        let three = words
            .get(at + 2)
            .and_then(|third| Some((of_ls(first.1, second.1, third.1, now)?, after(*third))));
        let (time, name) = three.or_else(|| Some((of_long_iso(first.1, second.1)?, after(second))))?;
        is_size.then_some((at, time, name))
    })
}

/// `name -> target`; the size of a link is the length of its target, which says where a name with an arrow ends.
fn split_link(text: &[u8], size: Option<u64>) -> Option<(&[u8], &[u8])> {
    const ARROW: &[u8] = b" -> ";
    let arrows: Vec<_> = (1..text.len()).filter(|at| text[*at..].starts_with(ARROW)).collect();
    let split = |at: usize| (&text[..at], &text[at + ARROW.len()..]);
    let fits = arrows.iter().map(|at| split(*at)).find(|(_, target)| Some(target.len() as u64) == size);
    fits.or_else(|| arrows.first().filter(|_| arrows.len() == 1).map(|at| split(*at)))
        .filter(|(_, target)| !target.is_empty())
}

fn owner_of(word: &str, unsaid: u32) -> (u32, String) {
    match word.parse() {
        Ok(number) => (number, String::new()),
        Err(_) => (unsaid, word.to_owned()),
    }
}

/// `rwxr-sr-t`
fn permissions(text: &[u8]) -> Option<u32> {
    let mut mode = 0;
    for (nth, three) in text.chunks_exact(3).enumerate() {
        let shift = 6 - 3 * nth as u32;
        let (execute, special) = match three[2] {
            b'-' => (0, 0),
            b'x' => (1, 0),
            b's' | b't' => (1, 0o4000 >> nth),
            b'S' | b'T' => (0, 0o4000 >> nth),
            _ => return None,
        };
        let bits = u32::from(three[0] == b'r') << 2 | u32::from(three[1] == b'w') << 1 | execute;
        mode |= bits << shift | special;
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSAID: Unsaid = Unsaid { uid: 7, gid: 8 };

    fn read(line: &[u8]) -> Option<Line> {
        parse(line, &UNSAID, "2026-11-21T12:00:00Z".parse().unwrap())
    }

    fn entry(line: &[u8]) -> (Entry, Coarse) {
        match read(line) {
            Some(Line::Entry(entry, time)) => (*entry, time),
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(line)),
        }
    }

    #[test]
    fn files_directories_and_links_of_many_servers() {
        let (file, time) = entry(b"-rw-r--r--    1 0        1000         1234 Nov 20 15:30 a  b ");
        assert_eq!((&file.name[..], file.metadata.size, file.metadata.mode), (&b"a  b "[..], 1234, 0o644));
        assert_eq!((file.metadata.uid, file.metadata.gid), (0, 1000));
        assert_eq!(time.begin, "2026-11-20T15:30:00Z".parse().unwrap());
        let (dir, time) = entry(b"drwxr-sr-t    2 web      staff        4096 Nov 20  2019 .d");
        assert!(dir.is_dir() && dir.metadata.mode == 0o3755 && dir.metadata.user == "web");
        assert_eq!((dir.metadata.size, time.step.as_hours()), (0, 24));
        let (spaced, _) = entry(b"-rwsr-xr--    1 ftp      ftp             3 Jan 01 00:00  leading");
        assert_eq!((&spaced.name[..], spaced.metadata.mode), (&b" leading"[..], 0o4754));
        let (bytes, _) = entry(b"-rw-r--r--    1 0        0               3 Jan 01 00:00 caf\xe9");
        assert_eq!(bytes.name, b"caf\xe9");
        let (lone, _) = entry(b"-rw-r--r--    1 0               3 Jan 01 00:00 x");
        assert_eq!((lone.metadata.uid, lone.metadata.size), (7, 3));
        let (iso, _) = entry(b"-rw-r--r-- 1 a b 3 2026-11-20 15:30 Nov 21 12:00 x");
        assert_eq!(iso.name, b"Nov 21 12:00 x");
        let (odd, _) = entry(b"-rw-r--r-- 1 1000 Jan 4096 Nov 21 12:00 x");
        assert_eq!((odd.metadata.size, &odd.metadata.group[..]), (4096, "Jan"));
        let (link, _) = entry(b"lrwxrwxrwx    1 0 0   6 Nov 20 15:30 a -> b -> c -> d");
        assert_eq!(
            (&link.name[..], link.kind),
            (&b"a -> b"[..], EntryKind::Symlink { target: b"c -> d".to_vec() })
        );
        let (link, _) = entry(b"lrwxrwxrwx    1 0 0   0 Nov 20 15:30 a -> ../b");
        assert_eq!(link.kind, EntryKind::Symlink { target: b"../b".to_vec() });
    }

    #[test]
    fn what_is_not_kept_and_what_is_not_understood() {
        assert_eq!(read(b"total 12"), Some(Line::Nothing));
        assert_eq!(read(b"drwxr-xr-x    2 0 0 4096 Nov 20 15:30 .."), Some(Line::Nothing));
        assert!(matches!(read(b"lrwxrwxrwx    1 0 0   5 Nov 20 15:30 a"), Some(Line::Unclear(..))));
        assert!(matches!(read(b"lrwxrwxrwx    1 0 0   5 Nov 20 15:30 a -> b -> c"), Some(Line::Unclear(..))));
        assert!(matches!(
            read(b"crw-rw-rw-    1 0 0   1, 3 Nov 20 15:30 null"),
            None | Some(Line::Unclear(..))
        ));
        for odd in [
            &b"11-21-26  12:34PM       <DIR>          x"[..],
            b"-rw-r--r--",
            b"-rw-r--r-- 1 0 0 5 Nov 20 15:30",
            b"-rw-r--r-- 1 0 0 5 Nov 20 15:30 ",
            b"-rw-r--r-- 1 0 0 5 Foo 20 15:30 x",
            b"-rw-r--r-- 1 0 0 99999999999999999999 Nov 20 15:30 x",
            b"?rw-r--r-- 1 0 0 5 Nov 20 15:30 x",
        ] {
            assert_eq!(read(odd), None, "{:?}", String::from_utf8_lossy(odd));
        }
    }
}
