//! A page of a table: some records in one envelope.
//!
//! Form of the plaintext: nonce of the table ‖ number of the page ‖ number of records ‖ records ‖ zeros. Nonce and
//! number are compared, so that a page counts in its own table and place alone.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use crate::crypto::{OVERHEAD, Sealer};
use crate::table::record::{RECORD_LEN, Record};

/// Stored bytes of a page. Larger ones cost more to open, smaller ones more fences: see the design for the figures.
pub const PAGE_LEN: usize = 1 << 10;
/// Records of a page at most.
pub const RECORDS_MAX: usize = (PLAIN_LEN - HEAD_LEN) / RECORD_LEN;
const PLAIN_LEN: usize = PAGE_LEN - OVERHEAD;
const HEAD_LEN: usize = NONCE_LEN + 4 + 4;
const NONCE_LEN: usize = 8;

/// What all parts of one table have in common.
pub type Nonce = [u8; NONCE_LEN];

/// Damage, as an error of the file.
pub fn damaged(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("index table: {reason}"))
}

/// Append a sealed page.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn seal(
    nonce: Nonce,
    number: u32,
    records: &[Record],
    sealer: &Sealer,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    debug_assert!(records.len() <= RECORDS_MAX);
    let mut plain = Vec::with_capacity(PLAIN_LEN);
    plain.extend_from_slice(&nonce);
    plain.extend_from_slice(&number.to_le_bytes());
    plain.extend_from_slice(&(records.len() as u32).to_le_bytes());
    records.iter().for_each(|record| record.encode(&mut plain));
    plain.resize(PLAIN_LEN, 0);
    sealer.seal(&plain, out).map_err(io::Error::other)
}

/// A page that was read; its buffers serve for the next one.
#[derive(Default)]
pub struct Page {
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl Page {
    /// Read page `number`.
    ///
    /// # Errors
    /// `InvalidData` for other bytes than were written there.
    pub fn read(
        &mut self,
        file: &File,
        nonce: Nonce,
        number: u32,
        sealer: &Sealer,
    ) -> io::Result<&[[u8; RECORD_LEN]]> {
        self.stored.resize(PAGE_LEN, 0);
        file.read_exact_at(&mut self.stored, u64::from(number) * PAGE_LEN as u64)?;
        sealer
            .open(&self.stored, &mut self.plain, &"page")
            .map_err(|_| damaged("a page does not fit its tag"))?;
        let (head, records) =
            self.plain.split_first_chunk::<HEAD_LEN>().ok_or_else(|| damaged("a short page"))?;
        let is_here = head[..NONCE_LEN] == nonce && head[NONCE_LEN..NONCE_LEN + 4] == number.to_le_bytes();
        let count = u32::from_le_bytes(*head.last_chunk().expect("a head ends with a number")) as usize;
        if !is_here || count > RECORDS_MAX {
            return Err(damaged("a page of another table or place"));
        }
        Ok(&records.as_chunks::<RECORD_LEN>().0[..count])
    }
}
