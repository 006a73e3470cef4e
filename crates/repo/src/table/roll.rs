//! The roll at the end of a table: which index files it was made of, which packs they name, and where its pages begin.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use model::digest::Digest;

use crate::crypto::Sealer;
use crate::table::page::{Nonce, PAGE_LEN, damaged};

const MAGIC: &[u8; 16] = b"mainstay index 1";
const ROW_LEN: usize = 36;

/// A pack, as one index file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The pack.
    pub pack: Digest,
    /// Number of the index file.
    pub file: u32,
}

/// All of a table but its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// Whose index it is.
    pub repository: Digest,
    /// What its pages carry.
    pub nonce: Nonce,
    /// Number of records.
    pub records: u64,
    /// The index files.
    pub files: Vec<Digest>,
    /// What records refer to.
    pub rows: Vec<Row>,
    /// For each page the beginning of its first id.
    pub fences: Vec<u64>,
}

impl Roll {
    /// The bytes behind the last page.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn seal(&self, sealer: &Sealer) -> io::Result<Vec<u8>> {
        let mut plain = vec![];
        plain.extend_from_slice(MAGIC);
        plain.extend_from_slice(&self.repository.0);
        plain.extend_from_slice(&self.nonce);
        for count in [self.records, self.files.len() as u64, self.rows.len() as u64, self.fences.len() as u64]
        {
            plain.extend_from_slice(&count.to_le_bytes());
        }
        self.files.iter().for_each(|file| plain.extend_from_slice(&file.0));
        for row in &self.rows {
            plain.extend_from_slice(&row.pack.0);
            plain.extend_from_slice(&row.file.to_le_bytes());
        }
        self.fences.iter().for_each(|fence| plain.extend_from_slice(&fence.to_le_bytes()));
        let mut sealed = vec![];
        sealer.seal(&plain, &mut sealed).map_err(io::Error::other)?;
        sealed.extend_from_slice(&(self.fences.len() as u64).to_le_bytes());
        Ok(sealed)
    }

    /// The roll of the table in `file`, which must be of `repository`.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not such a table.
    pub fn read(file: &File, repository: &Digest, sealer: &Sealer) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let end = len.checked_sub(8).ok_or_else(|| damaged("too short"))?;
        let mut pages = [0; 8];
        file.read_exact_at(&mut pages, end)?;
        let start = u64::from_le_bytes(pages).checked_mul(PAGE_LEN as u64).filter(|start| *start <= end);
        let start = start.ok_or_else(|| damaged("shorter than it was written"))?;
        let mut sealed = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        file.read_exact_at(&mut sealed, start)?;
        let mut plain = vec![];
        sealer.open(&sealed, &mut plain, &"roll").map_err(|_| damaged("its roll does not fit its tag"))?;
        drop(sealed);
        let roll = Self::decode(&plain).ok_or_else(|| damaged("a roll of another form"))?;
        match roll.repository == *repository && roll.fences.len() as u64 == u64::from_le_bytes(pages) {
            true => Ok(roll),
            false => Err(damaged("of another repository")),
        }
    }

    fn decode(mut plain: &[u8]) -> Option<Self> {
        let is_ours = take::<16>(&mut plain)? == *MAGIC;
        let (repository, nonce) = (Digest(take(&mut plain)?), take(&mut plain)?);
        let mut count = || Some(u64::from_le_bytes(take(&mut plain)?));
        let (records, files, rows, fences) = (count()?, count()?, count()?, count()?);
        let (files, plain) = plain.split_at_checked(len_of(files, 32)?)?;
        let (rows, plain) = plain.split_at_checked(len_of(rows, ROW_LEN)?)?;
        let is_whole = plain.len() == len_of(fences, 8)?;
        let row = |row: &[u8; ROW_LEN]| {
            let (pack, file) = row.split_first_chunk::<32>()?;
            Some(Row { pack: Digest(*pack), file: u32::from_le_bytes(*file.first_chunk()?) })
        };
        (is_ours && is_whole).then_some(Self {
            repository,
            nonce,
            records,
            files: files.as_chunks().0.iter().copied().map(Digest).collect(),
            rows: rows.as_chunks().0.iter().map(row).collect::<Option<_>>()?,
            fences: plain.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect(),
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn len_of(count: u64, size: usize) -> Option<usize> {
    usize::try_from(count).ok()?.checked_mul(size)
}
