//! Messages of SFTP 3 (draft-ietf-secsh-filexfer-02): requests built, answers taken apart. Does no IO.

use std::io::{self, ErrorKind};

use super::super::talk::NAME_LEN_MAX;
use super::attributes::Attributes;
use super::rest::{Rest, garbled};

/// Bytes of one answer: OpenSSH's own limit is 256 KiB.
pub(super) const ANSWER_LEN_MAX: usize = 1 << 20;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const READLINK: u8 = 19;

const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request<'a> {
    /// Open a file to read it.
    Open(&'a [u8]),
    /// Let go of a handle.
    Close(&'a [u8]),
    /// Bytes of an open file.
    Read { handle: &'a [u8], offset: u64, len: u32 },
    /// What is at a path, which is not followed.
    Lstat(&'a [u8]),
    /// What is at a path or where it leads.
    Stat(&'a [u8]),
    /// What an open file is like.
    Fstat(&'a [u8]),
    /// Open a directory.
    OpenDir(&'a [u8]),
    /// Some more of its entries.
    ReadDir(&'a [u8]),
    /// The whole of a path.
    RealPath(&'a [u8]),
    /// Where a link points.
    ReadLink(&'a [u8]),
}

/// The first message of all.
pub(super) fn init() -> Vec<u8> {
    vec![0, 0, 0, 5, INIT, 0, 0, 0, 3]
}

impl Request<'_> {
    /// Append it with its number.
    pub(super) fn write(&self, id: u32, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[0; 4]);
        let (kind, text) = match *self {
            Self::Open(path) => (OPEN, path),
            Self::Close(handle) => (CLOSE, handle),
            Self::Read { handle, .. } => (READ, handle),
            Self::Lstat(path) => (LSTAT, path),
            Self::Stat(path) => (STAT, path),
            Self::Fstat(handle) => (FSTAT, handle),
            Self::OpenDir(path) => (OPENDIR, path),
            Self::ReadDir(handle) => (READDIR, handle),
            Self::RealPath(path) => (REALPATH, path),
            Self::ReadLink(path) => (READLINK, path),
        };
        into.push(kind);
        into.extend_from_slice(&id.to_be_bytes());
        into.extend_from_slice(&(text.len() as u32).to_be_bytes());
        into.extend_from_slice(text);
        match *self {
            // To read, with no attributes.
            Self::Open(_) => into.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]),
            Self::Read { offset, len, .. } => {
                into.extend_from_slice(&offset.to_be_bytes());
                into.extend_from_slice(&len.to_be_bytes());
            }
            _ => {}
        }
        let len = (into.len() - start - 4) as u32;
        into[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// It went well.
    Done,
    /// There is no more.
    End,
    /// It did not go well.
    Refused(io::Error),
    /// A handle.
    Handle(Vec<u8>),
    /// Bytes.
    Data(Vec<u8>),
    /// Names with what is told of each, in the server's words and in ours.
    Names(Vec<Named>),
    /// What something is like.
    Attributes(Attributes),
}

/// One name.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: Vec<u8>,
    /// A line as of `ls -l`.
    pub(super) line: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// Whether this is the answer to [`init`], of a version that we speak.
pub(super) fn verify_version(message: &[u8]) -> io::Result<()> {
    let mut rest = Rest::of(message);
    match (rest.byte()?, rest.number()?) {
        (VERSION, 3..) => Ok(()),
        _ => Err(io::Error::new(ErrorKind::Unsupported, "the server does not speak SFTP 3")),
    }
}

/// Number and answer of a message without its length.
pub(super) fn parse(message: &[u8]) -> io::Result<(u32, Answer)> {
    let mut rest = Rest::of(message);
    let (kind, id) = (rest.byte()?, rest.number()?);
    let answer = match kind {
        STATUS => {
            let code = rest.number()?;
            let words = rest.text(ANSWER_LEN_MAX).map(|words| String::from_utf8_lossy(words).into_owned());
            status(code, words.unwrap_or_default())
        }
        HANDLE => Answer::Handle(rest.text(256)?.to_vec()),
        DATA => Answer::Data(rest.text(ANSWER_LEN_MAX)?.to_vec()),
        NAME => {
            let count = rest.number()?;
            let named = |rest: &mut Rest<'_>| {
                let (name, line) = (rest.text(NAME_LEN_MAX)?.to_vec(), rest.text(NAME_LEN_MAX * 2)?.to_vec());
                Ok(Named { name, line, attributes: Attributes::read(rest)? })
            };
            Answer::Names((0..count).map(|_| named(&mut rest)).collect::<io::Result<_>>()?)
        }
        ATTRS => Answer::Attributes(Attributes::read(&mut rest)?),
        _ => return Err(garbled()),
    };
    Ok((id, answer))
}

fn status(code: u32, words: String) -> Answer {
    let words = if words.is_empty() { format!("the server says failure {code}") } else { words };
    let kind = match code {
        0 => return Answer::Done,
        1 => return Answer::End,
        2 => ErrorKind::NotFound,
        3 => ErrorKind::PermissionDenied,
        6 | 7 => ErrorKind::ConnectionReset,
        8 => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    };
    Answer::Refused(io::Error::new(kind, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_the_draft_says() {
        let mut bytes = vec![];
        Request::Read { handle: b"h", offset: 258, len: 3 }.write(7, &mut bytes);
        assert_eq!(
            bytes,
            [0, 0, 0, 22, READ, 0, 0, 0, 7, 0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]
        );
        let mut bytes = vec![];
        Request::Open(b"\xff").write(1, &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 18, OPEN, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn names_stay_bytes_and_lies_about_lengths_are_refused() {
        let mut message = vec![NAME, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, b'a', 0xff, 0, 0, 0, 1, b'-'];
        message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]);
        let (id, Answer::Names(names)) = parse(&message).unwrap() else { panic!() };
        assert_eq!((id, &names[0].name[..], names[0].attributes.size), (9, &b"a\xff"[..], Some(5)));
        for cut in 0..message.len() {
            assert!(parse(&message[..cut]).is_err(), "{cut}");
        }
        assert!(parse(&[HANDLE, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[NAME, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[77, 0, 0, 0, 1]).is_err());
        assert!(
            verify_version(&[VERSION, 0, 0, 0, 2]).is_err()
                && verify_version(&[VERSION, 0, 0, 0, 3, 1]).is_ok()
        );
    }

    #[test]
    fn a_status_becomes_the_systems_kind() {
        let kind = |code| match parse(&[STATUS, 0, 0, 0, 1, 0, 0, 0, code, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap().1
        {
            Answer::Refused(error) => Some(error.kind()),
            _ => None,
        };
        assert_eq!([kind(0), kind(1)], [None, None]);
        assert_eq!(kind(2), Some(ErrorKind::NotFound));
        assert_eq!(kind(3), Some(ErrorKind::PermissionDenied));
        assert_eq!(kind(4), Some(ErrorKind::Other));
    }
}
