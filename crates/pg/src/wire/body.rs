//! The inside of a message, read from front to back.
//!
//! Form: numbers are big-endian, texts end with a zero byte (PostgreSQL manual, chapter 55.6). Invariant: whatever the
//! bytes are, reading them gives a value or an error and takes no memory of its own.

use std::borrow::Cow;

use super::error::{ServerError, WireError};

/// What is left of a message.
pub(crate) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text up to its zero byte.
    pub(crate) fn text(&mut self) -> Result<&'a [u8], WireError> {
        let end = memchr::memchr(0, self.0).ok_or_else(short)?;
        let text = self.take(end)?;
        self.0 = &self.0[1..];
        Ok(text)
    }
}

fn short() -> WireError {
    WireError::nonsense("a message ends too early")
}

/// A text for people, whatever encoding it was meant in.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// An error or a notice.
pub(crate) fn server_error(bytes: &[u8]) -> Result<ServerError, WireError> {
    let mut body = Body::new(bytes);
    let mut error = ServerError::default();
    let mut translated = String::new();
    loop {
        let kind = body.u8()?;
        if kind == 0 {
            break;
        }
        let text = readable(body.text()?).into_owned();
        match kind {
            b'S' => translated = text,
            b'V' => error.severity = text,
            b'C' => error.sqlstate = text,
            b'M' => error.message = text,
            b'D' => error.detail = Some(text),
            b'H' => error.hint = Some(text),
            _ => {}
        }
    }
    // Servers before 9.6 say it in their own language alone.
    if error.severity.is_empty() {
        error.severity = translated;
    }
    Ok(error)
}

/// The names of the columns of a result.
pub(crate) fn columns(bytes: &[u8]) -> Result<Vec<String>, WireError> {
    let mut body = Body::new(bytes);
    let count = body.u16()?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(readable(body.text()?).into_owned());
        // Table, column, type, its size and modifier, format.
        body.take(18)?;
    }
    Ok(names)
}

/// The values of a row.
pub(crate) fn row(bytes: &[u8]) -> Result<Vec<Option<Vec<u8>>>, WireError> {
    let mut body = Body::new(bytes);
    let count = body.u16()?;
    let mut values = Vec::new();
    for _ in 0..count {
        let len = body.i32()?;
        values.push(match usize::try_from(len) {
            Ok(len) => Some(body.take(len)?.to_vec()),
            Err(_) => None,
        });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_is_told_in_the_servers_words() {
        let bytes = b"SFEHLER\0VERROR\0C42704\0Mreplication slot \"x\" does not exist\0Hmake it\0\0";
        let error = server_error(bytes).unwrap();
        let words = "ERROR: replication slot \"x\" does not exist (SQLSTATE 42704); make it";
        assert_eq!(error.to_string(), words);
    }

    #[test]
    fn rows_tell_nothing_from_an_empty_text() {
        let bytes = [&[0, 3][..], &[0, 0, 0, 1], b"x", &[0xff; 4], &[0; 4]].concat();
        assert_eq!(row(&bytes).unwrap(), [Some(b"x".to_vec()), None, Some(Vec::new())]);
        assert!(row(&bytes[..bytes.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            server_error(&bytes).ok();
            columns(&bytes).ok();
            row(&bytes).ok();
        }
    }
}
