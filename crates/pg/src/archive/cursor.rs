//! Reads the three things an archive's head is made of: bytes, integers and strings.
//!
//! Form: an integer is a sign byte and four bytes of magnitude, least first; a string is an integer length and
//! that many bytes, a negative length standing for "no string". Invariant: nothing is allocated here, and a
//! length is believed only once its bytes are there.

use super::error::ArchiveError;

/// Bytes of one integer: sign and magnitude.
pub(super) const INT_LEN: usize = 5;

/// The longest string in a table of contents; PostgreSQL itself cannot hold a field over 1 GiB.
const STRING_LEN_MAX: u64 = 1 << 30;

/// Why reading stopped.
pub(super) enum Stop {
    /// At least this many bytes must be there, counted from the beginning.
    More(usize),
    /// It can never be read.
    Bad(ArchiveError),
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Bad(error)
    }
}

/// A place in the head of an archive.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn malformed(&self, what: &'static str) -> Stop {
        Stop::Bad(ArchiveError::Malformed { offset: self.at as u64, what })
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.at.saturating_add(len);
        let taken = self.bytes.get(self.at..end).ok_or(Stop::More(end))?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn int(&mut self) -> Result<i64, Stop> {
        let bytes = self.take(INT_LEN)?;
        let magnitude = i64::from(u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]));
        Ok(if bytes[0] == 0 { magnitude } else { -magnitude })
    }

    /// A string without NUL: pg_restore would end at the NUL and see another text than we do.
    pub(super) fn string(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        let length = self.int()?;
        let Ok(length) = u64::try_from(length) else { return Ok(None) };
        if length > STRING_LEN_MAX {
            let (offset, what) = (self.at as u64, "the length of a string");
            return Err(ArchiveError::TooLarge { offset, what, limit: STRING_LEN_MAX }.into());
        }
        let bytes = self.take(length as usize)?;
        if memchr::memchr(0, bytes).is_some() {
            return Err(self.malformed("a string contains a NUL byte"));
        }
        Ok(Some(bytes))
    }

    /// A string as text; other encodings than UTF-8 keep their ASCII letters.
    pub(super) fn text(&mut self) -> Result<Option<String>, Stop> {
        Ok(self.string()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The bytes of `number` as an archive writes it.
pub(super) fn int_bytes(number: u32) -> [u8; INT_LEN] {
    let [a, b, c, d] = number.to_le_bytes();
    [0, a, b, c, d]
}
