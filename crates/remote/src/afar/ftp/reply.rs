//! Replies of a server: a code, and lines. Does no IO.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Bytes of one line.
pub(super) const LINE_LEN_MAX: usize = 16 << 10;
/// Lines of one reply.
const LINES_MAX: usize = 1000;

/// A whole reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// Without the codes.
    pub(super) lines: Vec<Vec<u8>>,
}

/// A reply that is not whole yet.
#[derive(Debug, Default)]
pub(super) struct Growing {
    reply: Reply,
}

/// What is no reply: nothing after it can be understood.
pub(super) fn garbled(what: &str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, format!("the server's answer is not FTP: {what}"))
}

impl Growing {
    /// One more line; the reply, if it is the last one.
    pub(super) fn add(&mut self, line: &[u8]) -> io::Result<Option<Reply>> {
        let code = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit));
        let code = code.and_then(|code| std::str::from_utf8(code).ok()?.parse::<u16>().ok());
        let is_first = self.reply.code == 0;
        if is_first {
            self.reply.code =
                code.filter(|code| (100..700).contains(code)).ok_or_else(|| garbled("no code"))?;
        }
        let (is_coded, mark) = (code == Some(self.reply.code), line.get(3));
        let is_last = is_coded && matches!(mark, None | Some(b' '));
        let text = if is_last || is_first { line.get(4..).unwrap_or_default() } else { line };
        self.reply.lines.push(text.to_vec());
        if self.reply.lines.len() > LINES_MAX {
            return Err(garbled("a reply without an end"));
        }
        Ok(is_last.then(|| std::mem::take(&mut self.reply)))
    }
}

impl Reply {
    /// The words of the last line, as a person may see them.
    pub(super) fn words(&self) -> String {
        let last = self.lines.last().map(Vec::as_slice).unwrap_or_default();
        let text = String::from_utf8_lossy(&last[..last.len().min(300)]);
        format!("{} {}", self.code, text.trim().replace(char::is_control, "?"))
    }

    /// Whether what was asked for is done.
    pub(super) fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether what was asked for has begun.
    pub(super) fn is_begun(&self) -> bool {
        (100..200).contains(&self.code)
    }

    /// Why it was refused.
    pub(super) fn refusal(&self) -> io::Error {
        let words = self.words();
        let lower = words.to_lowercase();
        let is_crowd =
            ["too many", "maximum number", "already connected"].iter().any(|words| lower.contains(words));
        let kind = match self.code {
            421 | 430 | 530 if is_crowd => ErrorKind::ResourceBusy,
            421 | 425 | 426 => ErrorKind::ConnectionAborted,
            430 | 530 => ErrorKind::PermissionDenied,
            550 if lower.contains("no such file") || lower.contains("not found") => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, format!("the server says {words}"))
    }

    /// The port of `229 Entering Extended Passive Mode (|||6446|)`.
    pub(super) fn extended_port(&self) -> Option<u16> {
        let line = self.lines.last()?;
        let inner = &line[line.iter().position(|byte| *byte == b'(')? + 1..];
        let mark = *inner.first()?;
        let port = inner.strip_prefix(&[mark; 3])?.split(|byte| *byte == mark).next()?;
        std::str::from_utf8(port).ok()?.parse().ok().filter(|port| *port != 0)
    }

    /// The port of `227 Entering Passive Mode (192,0,2,7,25,46)`. The address in front of it is often one that only the
    /// server's own network has, and never to be trusted: data come from where the commands go.
    pub(super) fn passive_port(&self) -> Option<u16> {
        let line = std::str::from_utf8(self.lines.last()?).ok()?;
        let numbers = line
            .split(|c: char| !(c.is_ascii_digit() || c == ','))
            .find(|part| part.matches(',').count() == 5)?;
        let numbers: Vec<u8> = numbers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let port = u16::from(numbers[4]) << 8 | u16::from(numbers[5]);
        (port != 0).then_some(port)
    }

    /// The path in `257 "/srv/a""b" is the current directory`, where `""` is a quote.
    pub(super) fn quoted_path(&self) -> Option<Vec<u8>> {
        let line = self.lines.last()?;
        let mut rest = &line[line.iter().position(|byte| *byte == b'"')? + 1..];
        let mut path = vec![];
        loop {
            let end = rest.iter().position(|byte| *byte == b'"')?;
            path.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.first() {
                Some(b'"') => path.push(b'"'),
                _ => return Some(path),
            }
            rest = &rest[1..];
        }
    }
}

/// Where data come from: the host of the commands.
pub(super) fn data_address(control: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(control.ip(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(lines: &[&str]) -> io::Result<Option<Reply>> {
        let mut growing = Growing::default();
        for line in lines {
            if let Some(reply) = growing.add(line.as_bytes())? {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    fn one(line: &str) -> Reply {
        whole(&[line]).unwrap().unwrap()
    }

    #[test]
    fn replies_of_one_line_and_of_many() {
        assert_eq!(one("200 ok"), Reply { code: 200, lines: vec![b"ok".to_vec()] });
        assert_eq!(one("200").code, 200);
        let many = whole(&["211-Features:", " MDTM", "211 is no end here", "211 End"]).unwrap().unwrap();
        assert_eq!(many.lines.len(), 3, "the first line that begins with the code and a space ends it");
        let many = whole(&["211-Features:", " MDTM", "200 x", "211-y", "211 End"]).unwrap().unwrap();
        assert_eq!(many.lines[1..4], [b" MDTM".to_vec(), b"200 x".to_vec(), b"211-y".to_vec()]);
        assert!(whole(&["211-Features:", " MDTM"]).unwrap().is_none());
        for garbage in ["", "hello", "9", "99 x", "SSH-2.0-OpenSSH", "999 x"] {
            assert!(whole(&[garbage]).is_err(), "{garbage}");
        }
        let mut growing = Growing::default();
        growing.add(b"211-x").unwrap();
        assert!((0..=LINES_MAX).any(|_| growing.add(b" y").is_err()));
    }

    #[test]
    fn passive_ports_are_taken_and_addresses_are_not() {
        assert_eq!(one("229 Entering Extended Passive Mode (|||6446|)").extended_port(), Some(6446));
        assert_eq!(one("229 ok (!!!1!)").extended_port(), Some(1));
        for wrong in ["229 ok", "229 (|||)", "229 (|||99999|)", "229 (||6446|)", "229 (|||0|)", "229 ("] {
            assert_eq!(one(wrong).extended_port(), None, "{wrong}");
        }
        assert_eq!(one("227 Entering Passive Mode (10,0,0,1,25,46).").passive_port(), Some(6446));
        assert_eq!(one("227 ok 10,0,0,1,0,21").passive_port(), Some(21));
        for wrong in ["227 ok", "227 (10,0,0,1,25)", "227 (10,0,0,1,256,1)", "227 (1,2,3,4,0,0)"] {
            assert_eq!(one(wrong).passive_port(), None, "{wrong}");
        }
        let control = "192.0.2.7:21".parse().unwrap();
        assert_eq!(data_address(control, 6446).to_string(), "192.0.2.7:6446");
    }

    #[test]
    fn paths_are_quoted() {
        let path = |line| one(line).quoted_path().map(|path| String::from_utf8(path).unwrap());
        assert_eq!(path("257 \"/srv\" is the current directory").as_deref(), Some("/srv"));
        assert_eq!(path("257 \"/a\"\"b\"").as_deref(), Some("/a\"b"));
        assert_eq!(path("257 /srv"), None);
        assert_eq!(path("257 \"/srv"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let kind = |line| one(line).refusal().kind();
        assert_eq!(kind("421 There are too many connections"), ErrorKind::ResourceBusy);
        assert_eq!(
            kind("530 Sorry, the maximum number of clients (2) are already connected"),
            ErrorKind::ResourceBusy
        );
        assert_eq!(kind("421 Timeout."), ErrorKind::ConnectionAborted);
        assert_eq!(kind("530 Login incorrect."), ErrorKind::PermissionDenied);
        assert_eq!(kind("550 Failed to open file."), ErrorKind::Other);
        assert_eq!(kind("550 No such file or directory."), ErrorKind::NotFound);
        assert!(!one("550 \u{1b}[31mred").refusal().to_string().contains('\u{1b}'));
    }
}
