//! Small archives made from a large one: the same head, some of its entries, and the data blocks the caller sends
//! behind them.
//!
//! Invariant: every entry is a copy of the original's bytes except for two fields: the data offset is "not set"
//! (pg_restore then reads blocks in the order they come), and, where entries are left out, a section of "none" is
//! written out, because such an entry belongs to the section of its neighbour.

use std::collections::HashSet;

use super::cursor::{INT_LEN, int_bytes};
use super::error::ArchiveError;
use super::toc::{Section, Toc, TocEntry};

/// State bytes of a data offset: `K_OFFSET_POS_NOT_SET` and `K_OFFSET_POS_SET` of pg_backup_archiver.h.
const OFFSET_NOT_SET: u8 = 1;
const OFFSET_SET: u8 = 2;

/// Entries that tell pg_restore how to read all others: encoding, quoting, search path.
const SETTINGS: [&str; 3] = ["ENCODING", "STDSTRINGS", "SEARCHPATH"];

impl Toc {
    /// An archive without data, for a file: good for `--section=pre-data` and `--section=post-data`, also with jobs.
    pub fn without_data(&self) -> Vec<u8> {
        let mut archive = self.bytes.clone();
        for entry in &self.entries {
            forget_offset(&mut archive[entry.state_at]);
        }
        archive
    }

    /// The head of an archive that loads some tables: send the blocks of these entries behind it, in the order of
    /// the archive. One table is the usual case; many small ones in one archive save as many processes.
    pub fn tables_head(&self, dump_ids: &[u32]) -> Result<Vec<u8>, ArchiveError> {
        let wanted: HashSet<u32> = dump_ids.iter().copied().collect();
        let is_wanted = |entry: &TocEntry| entry.has_data && wanted.contains(&entry.dump_id);
        let found: HashSet<u32> =
            self.entries.iter().filter(|entry| is_wanted(entry)).map(|entry| entry.dump_id).collect();
        match wanted.difference(&found).min() {
            Some(dump_id) => Err(ArchiveError::NoSuchEntry(*dump_id)),
            None => Ok(self.with_entries(is_wanted)),
        }
    }

    /// The head of an archive for all of the data section except rows of tables: sequence values, large objects,
    /// statistics. Send the blocks of the entries that have one behind it, in the order of the archive.
    pub fn rest_head(&self) -> Vec<u8> {
        self.with_entries(|entry| entry.section == Section::Data && !is_table_data(entry))
    }

    fn with_entries(&self, wanted: impl Fn(&TocEntry) -> bool) -> Vec<u8> {
        let kept: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| wanted(entry) || SETTINGS.contains(&entry.desc.as_str()))
            .collect();
        let mut archive = self.bytes[..self.header.length].to_vec();
        archive.extend_from_slice(&int_bytes(kept.len() as u32));
        for entry in kept {
            let start = archive.len();
            archive.extend_from_slice(&self.bytes[entry.bytes.clone()]);
            let section = start + entry.section_at - entry.bytes.start;
            archive[section..section + INT_LEN].copy_from_slice(&int_bytes(section_number(entry.section)));
            forget_offset(&mut archive[start + entry.state_at - entry.bytes.start]);
        }
        archive
    }
}

fn forget_offset(state: &mut u8) {
    if *state == OFFSET_SET {
        *state = OFFSET_NOT_SET;
    }
}

fn is_table_data(entry: &TocEntry) -> bool {
    entry.has_data && entry.desc == "TABLE DATA"
}

fn section_number(section: Section) -> u32 {
    match section {
        Section::PreData => 2,
        Section::Data => 3,
        Section::PostData => 4,
    }
}
