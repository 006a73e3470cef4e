//! What is remembered of an archive after it has passed: enough to list it, count it and restore parts of it.

use serde::{Deserialize, Serialize};

use super::header::Compression;
use super::toc::{Section, TocEntry};

/// The archive in numbers and names. Offsets count from the first byte of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveSummary {
    /// Format, such as `1.14`.
    pub archive_version: String,
    /// Version of the dumped server, as it calls itself.
    pub server_version: String,
    /// Version of pg_dump.
    pub dump_version: String,
    /// Name of the dumped database.
    pub database: String,
    /// How data blocks are compressed.
    pub compression: Compression,
    /// Bytes of head and table of contents, which end where the first data block begins.
    pub toc_length: u64,
    /// Bytes of the whole stream.
    pub length: u64,
    /// BLAKE3 over the stream without the time of the dump, 64 hexadecimal digits: equal for equal content.
    pub content_hash: String,
    /// Every entry, in the order of the archive.
    pub entries: Vec<ArchiveEntry>,
}

/// One entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveEntry {
    /// Number of the entry within the archive.
    pub dump_id: u32,
    /// Kind, such as `TABLE DATA`.
    pub desc: String,
    /// Schema, empty for things outside schemas.
    pub namespace: String,
    /// Name, without its schema.
    pub tag: String,
    /// Owner, empty where there is none.
    pub owner: String,
    /// Section in which pg_restore handles it.
    pub section: Section,
    /// Whether a data block belongs to it.
    pub has_data: bool,
    /// Exact number of rows, where the block is uncompressed COPY text.
    pub rows: Option<u64>,
    /// First byte of its data block, 0 without one.
    pub offset: u64,
    /// Bytes of its data block with kind, id and end mark, 0 without one.
    pub length: u64,
}

impl ArchiveEntry {
    pub(super) fn without_block(entry: &TocEntry) -> Self {
        Self {
            dump_id: entry.dump_id,
            desc: entry.desc.clone(),
            namespace: entry.namespace.clone(),
            tag: entry.tag.clone(),
            owner: entry.owner.clone(),
            section: entry.section,
            has_data: entry.has_data,
            rows: None,
            offset: 0,
            length: 0,
        }
    }

    /// Whether this entry holds the rows of one table.
    pub fn is_table_data(&self) -> bool {
        self.has_data && self.desc == "TABLE DATA"
    }
}

impl ArchiveSummary {
    /// The entries that hold the rows of tables.
    pub fn tables(&self) -> impl Iterator<Item = &ArchiveEntry> {
        self.entries.iter().filter(|entry| entry.is_table_data())
    }

    /// Whether the archive has a table of this name, in whatever schema; a view or sequence counts, as for pg_restore.
    pub fn has_table(&self, name: &str) -> bool {
        let kinds = ["TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "FOREIGN TABLE"];
        self.entries.iter().any(|entry| kinds.contains(&entry.desc.as_str()) && entry.tag == name)
    }

    /// Whether the archive has something in this schema, or the schema itself.
    pub fn has_schema(&self, name: &str) -> bool {
        let is_it = |entry: &ArchiveEntry| entry.desc == "SCHEMA" && entry.tag == name;
        self.entries.iter().any(|entry| entry.namespace == name || is_it(entry))
    }

    /// The entry with this dump id.
    pub fn entry(&self, dump_id: u32) -> Option<&ArchiveEntry> {
        self.entries.iter().find(|entry| entry.dump_id == dump_id)
    }
}
