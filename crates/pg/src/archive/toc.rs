//! The table of contents: one entry for everything in a database, and where in the archive its fields stand.
//!
//! Form: an integer count, then per entry: dump id, has-data flag, two oids as strings, tag, kind, section,
//! definition, drop statement, COPY statement, schema, tablespace, access method (since 1.14), relation kind
//! (since 1.16), owner, "with oids", dependencies as strings up to a missing one, and the place of its data: a
//! state byte and an offset. Source: `ReadToc` in pg_backup_archiver.c, `_ReadExtraToc` in pg_backup_custom.c.
//!
//! Invariant: the bytes are kept as they came; derived archives are made by copying them, never by writing anew.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, INT_LEN, Stop};
use super::error::ArchiveError;
use super::header::Header;

/// Bytes of head and table of contents at most: 50,000 tables need about 30 MB.
pub const TOC_LEN_MAX: u64 = 2 << 30;

/// Entries at most; 10,000 tables make about 60,000.
const ENTRY_COUNT_MAX: i64 = 50_000_000;

/// Part of a restore that an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Definitions that data needs.
    PreData,
    /// Rows, large objects, sequence values.
    Data,
    /// Indexes, constraints, triggers, refreshes.
    PostData,
}

/// One thing in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TocEntry {
    /// Number of the entry within the archive.
    pub dump_id: u32,
    /// Whether a data block belongs to it.
    pub has_data: bool,
    /// Kind, such as `TABLE DATA`.
    pub desc: String,
    /// Name, without its schema.
    pub tag: String,
    /// Schema, empty for things outside schemas.
    pub namespace: String,
    /// Owner, empty where there is none.
    pub owner: String,
    /// Tablespace that was asked for, empty for the default one.
    pub tablespace: String,
    /// Section in which pg_restore handles it: its own, or that of the entry before it.
    pub section: Section,
    /// Entries that must be restored before it.
    pub dependencies: Vec<u32>,
    /// Whether its data are rows in COPY's text form.
    pub is_copy: bool,
    pub(super) definition: Range<usize>,
    pub(super) copy_statement: Range<usize>,
    pub(super) bytes: Range<usize>,
    /// Where the section integer stands.
    pub(super) section_at: usize,
    /// Where the state byte of the data offset stands.
    pub(super) state_at: usize,
}

/// Head and table of contents, with the bytes they were read from.
#[derive(Clone, Debug)]
pub struct Toc {
    /// The head.
    pub header: Header,
    /// All entries, in the order of the archive.
    pub entries: Vec<TocEntry>,
    pub(super) bytes: Vec<u8>,
}

impl Toc {
    /// Read a table of contents from the first bytes of an archive, which must be all there.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut reading = TocReading::default();
        match reading.push(bytes)? {
            Some((toc, _)) => Ok(toc),
            None => Err(reading.truncated()),
        }
    }

    /// Head and table of contents as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The statement that creates what `entry` stands for, in the encoding of the archive.
    pub fn definition(&self, entry: &TocEntry) -> &[u8] {
        self.bytes.get(entry.definition.clone()).unwrap_or_default()
    }

    /// The statement that takes the rows of `entry`.
    pub(super) fn copy_statement(&self, entry: &TocEntry) -> &[u8] {
        self.bytes.get(entry.copy_statement.clone()).unwrap_or_default()
    }
}

/// A table of contents that is still coming in.
#[derive(Default)]
pub(super) struct TocReading {
    bytes: Vec<u8>,
    header: Option<Header>,
    count: Option<usize>,
    entries: Vec<TocEntry>,
    /// Everything before this is read.
    at: usize,
    /// Trying again is useless with fewer bytes.
    needed: usize,
}

impl TocReading {
    /// Take `bytes`; once the table of contents is complete, it and the number of bytes used of this slice.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<(Toc, usize)>, ArchiveError> {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() < self.needed {
            return Ok(None);
        }
        match self.advance() {
            Ok(header) => {
                self.bytes.truncate(self.at);
                let (bytes, entries) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.entries));
                // The table of contents ends in this slice, or it had been complete before.
                let used = self.at.saturating_sub(before);
                Ok(Some((Toc { header, entries, bytes }, used)))
            }
            Err(Stop::More(needed)) if needed as u64 > TOC_LEN_MAX => Err(ArchiveError::TooLarge {
                offset: self.at as u64,
                what: "the length of the table of contents",
                limit: TOC_LEN_MAX,
            }),
            Err(Stop::More(needed)) => {
                self.needed = needed;
                Ok(None)
            }
            Err(Stop::Bad(error)) => Err(error),
        }
    }

    /// What to say when no more bytes come.
    pub(super) fn truncated(&self) -> ArchiveError {
        let part = if self.header.is_none() { "its head" } else { "its table of contents" };
        ArchiveError::Truncated { offset: self.bytes.len() as u64, part }
    }

    fn advance(&mut self) -> Result<Header, Stop> {
        let header = match &self.header {
            Some(header) => header.clone(),
            None => {
                let header = Header::read(&self.bytes)?;
                self.at = header.length;
                self.header.insert(header).clone()
            }
        };
        let count = match self.count {
            Some(count) => count,
            None => {
                let mut cursor = Cursor::new(&self.bytes, self.at);
                let count = cursor.int()?;
                if !(0..=ENTRY_COUNT_MAX).contains(&count) {
                    return Err(cursor.malformed("the number of entries is absurd"));
                }
                self.at = cursor.at();
                *self.count.insert(count as usize)
            }
        };
        while self.entries.len() < count {
            let section = self.entries.last().map_or(Section::PreData, |entry| entry.section);
            let entry = read_entry(&self.bytes, self.at, &header, section)?;
            self.at = entry.bytes.end;
            self.entries.push(entry);
        }
        Ok(header)
    }
}

fn read_entry(bytes: &[u8], at: usize, header: &Header, before: Section) -> Result<TocEntry, Stop> {
    let mut cursor = Cursor::new(bytes, at);
    let dump_id = read_dump_id(&mut cursor)?;
    let has_data = cursor.int()? != 0;
    cursor.string()?; // oid of the catalog
    cursor.string()?; // oid of the object
    let tag = cursor.text()?.unwrap_or_default();
    let desc = cursor.text()?.unwrap_or_default();
    let section_at = cursor.at();
    let section = read_section(&mut cursor, before)?;
    let definition = read_range(&mut cursor)?;
    cursor.string()?; // drop statement
    let copy_statement = read_range(&mut cursor)?;
    let is_copy = bytes[copy_statement.clone()].starts_with(b"COPY ");
    let namespace = cursor.text()?.unwrap_or_default();
    let tablespace = cursor.text()?.unwrap_or_default();
    if header.version >= (1, 14) {
        cursor.string()?; // access method
    }
    if header.version >= (1, 16) {
        cursor.int()?; // relation kind
    }
    let owner = cursor.text()?.unwrap_or_default();
    cursor.string()?; // with oids
    let dependencies = read_dependencies(&mut cursor)?;
    let state_at = cursor.at();
    cursor.take(1 + header.offset_size)?;
    let bytes = at..cursor.at();
    Ok(TocEntry {
        dump_id,
        has_data,
        desc,
        tag,
        namespace,
        owner,
        tablespace,
        section,
        dependencies,
        is_copy,
        definition,
        copy_statement,
        bytes,
        section_at,
        state_at,
    })
}

fn read_dump_id(cursor: &mut Cursor<'_>) -> Result<u32, Stop> {
    match cursor.int()? {
        id @ 1..=0x7fff_ffff => Ok(id as u32),
        _ => Err(cursor.malformed("a dump id is not positive")),
    }
}

fn read_section(cursor: &mut Cursor<'_>, before: Section) -> Result<Section, Stop> {
    match cursor.int()? {
        1 => Ok(before),
        2 => Ok(Section::PreData),
        3 => Ok(Section::Data),
        4 => Ok(Section::PostData),
        _ => Err(cursor.malformed("a section is unknown")),
    }
}

fn read_range(cursor: &mut Cursor<'_>) -> Result<Range<usize>, Stop> {
    let start = cursor.at() + INT_LEN;
    Ok(match cursor.string()? {
        Some(_) => start..cursor.at(),
        None => 0..0,
    })
}

fn read_dependencies(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, Stop> {
    let mut dependencies = Vec::new();
    while let Some(digits) = cursor.string()? {
        let id = std::str::from_utf8(digits).ok().and_then(|digits| digits.trim().parse().ok());
        dependencies.push(id.ok_or_else(|| cursor.malformed("a dependency is not a number"))?);
    }
    Ok(dependencies)
}
