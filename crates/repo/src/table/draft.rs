//! Writing a table: records in order, then the roll.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use model::digest::Digest;

use crate::blob::BlobId;
use crate::crypto::Sealer;
use crate::table::page::{self, Nonce, RECORDS_MAX};
use crate::table::record::Record;
use crate::table::roll::{Roll, Row};

/// Bytes that are written at once.
const WRITE_LEN: usize = 256 << 10;

/// A table under way.
pub struct Draft {
    out: BufWriter<File>,
    sealer: Sealer,
    nonce: Nonce,
    page: Vec<Record>,
    fences: Vec<u64>,
    records: u64,
    last: Option<BlobId>,
    sealed: Vec<u8>,
}

impl Draft {
    /// An empty table in the empty `file`.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new(file: File, sealer: &Sealer) -> io::Result<Self> {
        let mut nonce = Nonce::default();
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        Ok(Self {
            out: BufWriter::with_capacity(WRITE_LEN, file),
            sealer: sealer.clone(),
            nonce,
            page: Vec::with_capacity(RECORDS_MAX),
            fences: vec![],
            records: 0,
            last: None,
            sealed: vec![],
        })
    }

    /// The next record; they come in the order of their ids.
    ///
    /// # Errors
    /// What the file system says.
    pub fn push(&mut self, record: Record) -> io::Result<()> {
        debug_assert!(self.last.is_none_or(|last| last <= record.id), "records come in order");
        self.last = Some(record.id);
        self.page.push(record);
        self.records += 1;
        if self.page.len() == RECORDS_MAX { self.write_page() } else { Ok(()) }
    }

    fn write_page(&mut self) -> io::Result<()> {
        let Some(first) = self.page.first() else { return Ok(()) };
        let number = u32::try_from(self.fences.len()).map_err(io::Error::other)?;
        self.fences.push(Record::fence(&first.id));
        self.sealed.clear();
        page::seal(self.nonce, number, &self.page, &self.sealer, &mut self.sealed)?;
        self.page.clear();
        self.out.write_all(&self.sealed)
    }

    /// Write the roll.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(
        mut self,
        repository: Digest,
        files: Vec<Digest>,
        rows: Vec<Row>,
    ) -> io::Result<(File, Roll)> {
        self.write_page()?;
        let Self { mut out, sealer, nonce, fences, records, .. } = self;
        let roll = Roll { repository, nonce, records, files, rows, fences };
        out.write_all(&roll.seal(&sealer)?)?;
        // Not synced: what a crash leaves of it fits no tag, and is made anew.
        Ok((out.into_inner().map_err(io::IntoInnerError::into_error)?, roll))
    }
}
