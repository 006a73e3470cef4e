//! The head of an archive: versions, compression, and who was dumped when.
//!
//! Form: `PGDMP`, three version bytes, integer size, offset size, kind (1 = custom), compression (an algorithm byte
//! since 1.15, a level integer before), seven integers of local time, then database name, server version and
//! pg_dump version as strings. Source: `ReadHead` in PostgreSQL's pg_backup_archiver.c.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, INT_LEN, Stop};
use super::error::ArchiveError;

/// How the data blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: rows can be counted.
    None,
    /// zlib.
    Gzip,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// The head, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format of the archive: (1, 12) is PostgreSQL 9.3, (1, 16) is 17 and 18.
    pub version: (u8, u8),
    /// How data is compressed.
    pub compression: Compression,
    /// Name of the dumped database.
    pub database: String,
    /// Version of the server, as it calls itself.
    pub server_version: String,
    /// Version of pg_dump.
    pub dump_version: String,
    pub(super) offset_size: usize,
    /// The bytes that hold the time of the dump.
    pub(super) created: Range<usize>,
    pub(super) length: usize,
}

/// Fields of the time of the dump, each one integer: sec, min, hour, mday, mon, year, isdst.
const TIME_FIELDS: usize = 7;

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Stop> {
        let magic = b"PGDMP";
        if bytes.iter().zip(magic).any(|(byte, expected)| byte != expected) {
            return Err(ArchiveError::NotAnArchive.into());
        }
        let mut cursor = Cursor::new(bytes, 0);
        cursor.take(magic.len())?;
        let version = (cursor.byte()?, cursor.byte()?);
        if !((1, 12)..=(1, 16)).contains(&version) {
            let (major, minor) = version;
            return Err(ArchiveError::UnknownVersion { major, minor }.into());
        }
        cursor.byte()?; // revision
        if cursor.byte()? != 4 {
            return Err(cursor.malformed("integers are not of 4 bytes"));
        }
        let offset_size = usize::from(cursor.byte()?);
        if !(1..=16).contains(&offset_size) {
            return Err(cursor.malformed("offsets are not of 1 to 16 bytes"));
        }
        if cursor.byte()? != 1 {
            return Err(cursor.malformed("the archive is not of kind custom"));
        }
        let compression = read_compression(&mut cursor, version)?;
        let created = cursor.at()..cursor.at() + TIME_FIELDS * INT_LEN;
        cursor.take(created.len())?;
        Ok(Self {
            version,
            compression,
            database: cursor.text()?.unwrap_or_default(),
            server_version: cursor.text()?.unwrap_or_default(),
            dump_version: cursor.text()?.unwrap_or_default(),
            offset_size,
            created,
            length: cursor.at(),
        })
    }
}

fn read_compression(cursor: &mut Cursor<'_>, version: (u8, u8)) -> Result<Compression, Stop> {
    if version < (1, 15) {
        return Ok(if cursor.int()? == 0 { Compression::None } else { Compression::Gzip });
    }
    match cursor.byte()? {
        0 => Ok(Compression::None),
        1 => Ok(Compression::Gzip),
        2 => Ok(Compression::Lz4),
        3 => Ok(Compression::Zstd),
        _ => Err(cursor.malformed("the compression is unknown")),
    }
}
