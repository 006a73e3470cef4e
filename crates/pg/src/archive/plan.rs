//! What to do, and in which order, to restore an archive with several loaders at once.
//!
//! Order: pre-data from `Toc::without_data`, but no rights; then the tables, by batches, each from `Toc::tables_head`
//! and its blocks, any number of batches at once; then the rest from `Toc::rest_head` and its blocks; then post-data
//! and the rights from `Toc::without_data` and `list_of_the_end`, with jobs. Rights come last, as in a whole
//! restore: an owner who took the right to write away from himself could not load his own rows (pitfall 29).

use super::summary::{ArchiveEntry, ArchiveSummary};
use super::toc::Section;

/// Where one data block stands in the stored stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataBlock {
    /// The entry.
    pub dump_id: u32,
    /// Schema and name, for people.
    pub name: String,
    /// First byte in the stream.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Exact number of rows, where known.
    pub rows: Option<u64>,
}

/// The steps of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePlan {
    /// Tables with rows, largest first: each may be loaded by its own pg_restore.
    pub tables: Vec<DataBlock>,
    /// Blocks of large objects, to be sent in this order behind the head of the rest.
    pub rest_blocks: Vec<DataBlock>,
    /// Whether there is a rest at all.
    pub has_rest: bool,
}

/// Tables in one batch at most: enough to hide the start of a process, few enough to share the work.
const BATCH_TABLES_MAX: usize = 200;

impl RestorePlan {
    /// Take out the tables that are to be loaded behind all others.
    pub fn set_aside(&mut self, is_late: impl Fn(&DataBlock) -> bool) -> Vec<DataBlock> {
        let (late, others) = std::mem::take(&mut self.tables).into_iter().partition(is_late);
        self.tables = others;
        late
    }

    /// The tables in batches, one pg_restore each, largest first. A table of `length_min` bytes is a batch of its
    /// own; smaller ones share batches of about that size, in the order of the archive, which is the order in which
    /// their blocks must be sent.
    pub fn batches(&self, length_min: u64) -> Vec<Vec<DataBlock>> {
        let (large, mut small): (Vec<_>, Vec<_>) =
            self.tables.iter().cloned().partition(|table| table.length >= length_min);
        small.sort_by_key(|table| table.offset);
        let mut batches: Vec<Vec<DataBlock>> = large.into_iter().map(|table| vec![table]).collect();
        let mut batch: Vec<DataBlock> = Vec::new();
        for table in small {
            batch.push(table);
            if length_of(&batch) >= length_min || batch.len() >= BATCH_TABLES_MAX {
                batches.push(std::mem::take(&mut batch));
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches.sort_by_key(|batch| std::cmp::Reverse(length_of(batch)));
        batches
    }
}

fn length_of(batch: &[DataBlock]) -> u64 {
    batch.iter().map(|table| table.length).sum()
}

/// Decide how to restore the archive. Tables known to be empty need no loader and are left out.
pub fn plan_restore(summary: &ArchiveSummary) -> RestorePlan {
    let mut tables: Vec<_> = summary.tables().filter(|entry| entry.rows != Some(0)).map(block_of).collect();
    tables.sort_by_key(|table| (std::cmp::Reverse(table.length), table.dump_id));
    let is_rest = |entry: &&ArchiveEntry| entry.section == Section::Data && !entry.is_table_data();
    let mut rest_blocks: Vec<_> =
        summary.entries.iter().filter(is_rest).filter(|entry| entry.has_data).map(block_of).collect();
    rest_blocks.sort_by_key(|block| block.offset);
    RestorePlan { tables, rest_blocks, has_rest: summary.entries.iter().any(|entry| is_rest(&entry)) }
}

/// A list for `pg_restore --use-list`: post-data, and the rights on what came before; pg_restore itself puts rights
/// behind constraints, and what needs rights (materialized views, event triggers) behind them. The rights on large
/// objects come with the rest of the data.
pub fn list_of_the_end(summary: &ArchiveSummary) -> String {
    let is_wanted = |entry: &&ArchiveEntry| match entry.section {
        Section::PostData => true,
        Section::PreData => entry.desc == "ACL",
        Section::Data => false,
    };
    lines(summary.entries.iter().filter(is_wanted))
}

/// A list for `pg_restore --use-list`: what lies in `schemas`, and those of the schemas themselves that are `missing`
/// in the target, with their rights and comments. pg_restore's own `--schema` never creates the schema.
pub fn list_of_schemas(summary: &ArchiveSummary, schemas: &[String], missing: &[String]) -> String {
    let is_missing = |entry: &ArchiveEntry| {
        let of = entry.tag.strip_prefix("SCHEMA ");
        missing.iter().any(|name| match entry.desc.as_str() {
            "SCHEMA" => entry.tag == *name,
            "ACL" | "COMMENT" | "SECURITY LABEL" => {
                of.is_some_and(|quoted| quoted.trim_matches('"').replace("\"\"", "\"") == *name)
            }
            _ => false,
        })
    };
    let is_wanted = |entry: &&ArchiveEntry| match entry.namespace.as_str() {
        "" => is_missing(entry),
        namespace => schemas.iter().any(|schema| schema == namespace),
    };
    lines(summary.entries.iter().filter(is_wanted))
}

/// A list for `pg_restore --use-list`: the entries that are wanted.
pub fn list_of(summary: &ArchiveSummary, is_wanted: impl Fn(&ArchiveEntry) -> bool) -> String {
    lines(summary.entries.iter().filter(|entry| is_wanted(entry)))
}

/// pg_restore reads the number and takes the rest of the line for a comment.
fn lines<'a>(entries: impl Iterator<Item = &'a ArchiveEntry>) -> String {
    entries.map(|entry| format!("{};\n", entry.dump_id)).collect()
}

fn block_of(entry: &ArchiveEntry) -> DataBlock {
    DataBlock {
        dump_id: entry.dump_id,
        name: if entry.namespace.is_empty() {
            entry.tag.clone()
        } else {
            format!("{}.{}", entry.namespace, entry.tag)
        },
        offset: entry.offset,
        length: entry.length,
        rows: entry.rows,
    }
}
