//! A finished table: finding in it, and reading it from one end to the other.

use std::fs::File;
use std::io;
use std::path::Path;

use model::digest::Digest;

use crate::blob::{BlobId, BlobKind};
use crate::crypto::Sealer;
use crate::table::page::Page;
use crate::table::record::Record;
use crate::table::roll::{Roll, Row};

/// A table to look into, from any thread.
pub struct Table {
    file: File,
    sealer: Sealer,
    roll: Roll,
}

impl Table {
    /// What was just written.
    pub(super) fn new(file: File, sealer: Sealer, roll: Roll) -> Self {
        Self { file, sealer, roll }
    }

    /// The table in the file `path`.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidData` for anything that is not a table of `repository` under its key.
    pub fn open(path: &Path, repository: &Digest, sealer: &Sealer) -> io::Result<Self> {
        let file = File::open(path)?;
        let roll = Roll::read(&file, repository, sealer)?;
        Ok(Self { file, sealer: sealer.clone(), roll })
    }

    /// The index files that it was made of.
    pub fn files(&self) -> &[Digest] {
        &self.roll.files
    }

    /// What records refer to.
    pub fn rows(&self) -> &[Row] {
        &self.roll.rows
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.roll.records
    }

    /// The first copy of a blob in a row that `counts`.
    ///
    /// # Errors
    /// When a page on the way cannot be read or is not what was written.
    pub fn find(
        &self,
        kind: BlobKind,
        id: &BlobId,
        counts: impl Fn(u32) -> bool,
    ) -> io::Result<Option<Record>> {
        let (fences, fence) = (&self.roll.fences, Record::fence(id));
        let mut page = Page::default();
        // The page before the first fence that is not less may end with it; several may begin alike.
        let first = fences.partition_point(|other| *other < fence).saturating_sub(1);
        let pages = (first..).zip(&fences[first..]);
        for (number, _) in pages.take_while(|(number, other)| *number == first || **other <= fence) {
            let records = page.read(&self.file, self.roll.nonce, number as u32, &self.sealer)?;
            let start = records.partition_point(|record| record[..32] < id.0[..]);
            // In full: a fence is only the beginning of an id.
            let same = records[start..].iter().take_while(|record| record[..32] == id.0).map(Record::decode);
            if let Some(found) = same.into_iter().find(|record| record.kind == kind && counts(record.row)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// All records, in order.
    pub fn scan(&self) -> Scan<'_> {
        Scan { table: self, page: Page::default(), records: vec![].into_iter(), next: 0 }
    }
}

/// The records of a table, in order.
pub struct Scan<'a> {
    table: &'a Table,
    page: Page,
    records: std::vec::IntoIter<Record>,
    next: u32,
}

impl Iterator for Scan<'_> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(Ok(record));
            }
            if self.next as usize == self.table.roll.fences.len() {
                return None;
            }
            let read = self.page.read(&self.table.file, self.table.roll.nonce, self.next, &self.table.sealer);
            self.next += 1;
            match read {
                Ok(records) => {
                    self.records = records.iter().map(Record::decode).collect::<Vec<_>>().into_iter()
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
