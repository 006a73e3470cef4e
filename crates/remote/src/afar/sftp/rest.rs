//! Numbers and texts of a message, taken off its front. Does no IO; what is too short is an error and no panic.

use std::io::{self, ErrorKind};

/// A message that is none of SFTP: nothing after it can be understood.
pub(super) fn garbled() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "the server's answer is not SFTP")
}

/// What is left of a message.
pub(super) struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// All of it.
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, len: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(garbled)?;
        self.0 = rest;
        Ok(taken)
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Four bytes.
    pub(super) fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Eight bytes.
    pub(super) fn long(&mut self) -> io::Result<u64> {
        Ok(u64::from(self.number()?) << 32 | u64::from(self.number()?))
    }

    /// A length, and so many bytes.
    pub(super) fn text(&mut self, len_max: usize) -> io::Result<&'a [u8]> {
        let len = self.number()? as usize;
        if len > len_max {
            return Err(garbled());
        }
        self.take(len)
    }
}
