//! Where each blob is: the sum of all index files, in memory or, for most of a large repository, in a table on disk.
//!
//! Invariant: what it says is what the index files say. A table that turns out to be damaged is given up, and the
//! files are read into memory instead: slower, never wrong.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use model::digest::Digest;

use crate::blob::{BlobId, BlobKind, PackedBlob};
use crate::crypto::OVERHEAD;
use crate::error::{RepoError, Result};
pub use crate::index_file::{FILE_BLOBS_MAX, IndexedPack, decode_file, encode_file};
use crate::table::record::Record;
use crate::table::sorted::Table;

/// Where one blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the pack in [`Index::pack_id`].
    pub pack: u32,
    /// First byte of its envelope.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Plaintext bytes where compressed, otherwise 0.
    raw_length: u32,
}

impl Place {
    /// Bytes of the plaintext.
    pub fn plain_length(&self) -> u32 {
        if self.raw_length > 0 { self.raw_length } else { self.length - OVERHEAD as u32 }
    }

    /// Plaintext bytes where the blob is compressed.
    pub fn compressed_from(&self) -> Option<u32> {
        (self.raw_length > 0).then_some(self.raw_length)
    }
}

/// Ids are SHA-256 already: eight bytes of them are as good a hash as any.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

/// A map by blob id.
pub type IdMap<V> = HashMap<BlobId, V, BuildHasherDefault<IdHasher>>;
/// A set of blob ids.
pub type IdSet = std::collections::HashSet<BlobId, BuildHasherDefault<IdHasher>>;

/// All blobs of the repository.
#[derive(Default)]
pub struct Index {
    /// Numbers of packs: first the rows of the table, then these, then those of the stand-in.
    packs: Vec<Digest>,
    data: IdMap<Place>,
    trees: IdMap<Place>,
    table: Option<Backed>,
    beside: Option<Beside>,
}

/// Copies of blobs beside those that an index gives.
#[derive(Default)]
pub struct Doubles(IdMap<Vec<(Digest, PackedBlob)>>);

impl Doubles {
    /// Take in what `pack` holds of blobs that `index` gives from another one.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn take_in(&mut self, index: &Index, pack: &IndexedPack) -> Result<()> {
        for blob in &pack.blobs {
            let given = index.find(blob.kind, &blob.id)?;
            if given.is_some_and(|place| index.pack_id(place.pack) != pack.id) {
                self.0.entry(blob.id).or_default().push((pack.id, *blob));
            }
        }
        Ok(())
    }
}

/// Looks for all doubles of an index.
pub type SeekDoubles = Box<dyn Fn(&Index) -> Result<Doubles> + Send + Sync>;

/// Doubles, which are looked for when the first blob turns out to be damaged.
struct Beside {
    seek: SeekDoubles,
    found: Mutex<Option<Arc<Doubles>>>,
}

/// Makes an index of all index files in memory.
pub type Reload = Box<dyn Fn() -> Result<Index> + Send + Sync>;

/// A table with what must be known beside it.
struct Backed {
    table: Table,
    hidden: Vec<u64>,
    reload: Reload,
    /// In place of a table that is damaged.
    stand_in: OnceLock<Box<Index>>,
    /// Held by the thread that makes it.
    making: Mutex<()>,
}

impl Index {
    /// What `table` says, but for rows that are `hidden`; `reload` is asked where it turns out to be damaged.
    pub fn with_table(table: Table, hidden: impl Fn(u32) -> bool, reload: Reload) -> Self {
        let rows = table.rows().len() as u32;
        let mut bits = vec![0u64; table.rows().len().div_ceil(64)];
        for row in (0..rows).filter(|row| hidden(*row)) {
            bits[row as usize / 64] |= 1 << (row % 64);
        }
        let (stand_in, making) = (OnceLock::new(), Mutex::new(()));
        let backed = Backed { table, hidden: bits, reload, stand_in, making };
        Self { table: Some(backed), ..Self::default() }
    }

    /// The same, where a damaged blob is then looked for elsewhere: `seek` finds the copies that are passed over here.
    #[must_use]
    pub fn with_doubles(self, seek: SeekDoubles) -> Self {
        Self { beside: Some(Beside { seek, found: Mutex::default() }), ..self }
    }

    /// Copies of a blob beside the one that is given here, as far as anybody looks for them.
    pub(crate) fn others(&self, id: &BlobId) -> Vec<(Digest, PackedBlob)> {
        let Some(Beside { seek, found }) = &self.beside else { return vec![] };
        let doubles = {
            let mut found = lock(found);
            match &*found {
                Some(doubles) => Arc::clone(doubles),
                None => match seek(self) {
                    Ok(doubles) => Arc::clone(found.insert(Arc::new(doubles))),
                    // That the first copy is damaged is told anyway; the next one asks again.
                    Err(_) => return vec![],
                },
            }
        };
        doubles.0.get(id).cloned().unwrap_or_default()
    }

    /// Take in the packs of one index file, leaving out those that `is_doomed`.
    pub fn add(&mut self, packs: &[IndexedPack], is_doomed: impl Fn(&Digest) -> bool) {
        for pack in packs.iter().filter(|pack| !is_doomed(&pack.id)) {
            self.add_pack(pack.id, &pack.blobs);
        }
    }

    /// Take in the `blobs` of one pack.
    pub(crate) fn add_pack(&mut self, id: Digest, blobs: &[PackedBlob]) {
        let number = self.rows() + self.packs.len() as u32;
        self.packs.push(id);
        for blob in blobs {
            let raw_length = blob.raw_length.unwrap_or(0);
            let place = Place { pack: number, offset: blob.offset, length: blob.length, raw_length };
            if let Entry::Vacant(vacant) = self.map(blob.kind).entry(blob.id) {
                vacant.insert(place);
            }
        }
    }

    /// Rows of the table.
    fn rows(&self) -> u32 {
        self.table.as_ref().map_or(0, |backed| backed.table.rows().len() as u32)
    }

    fn map(&mut self, kind: BlobKind) -> &mut IdMap<Place> {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    /// Where a blob is, if it is anywhere.
    ///
    /// # Errors
    /// When a table is damaged and the index files cannot be read either.
    pub fn find(&self, kind: BlobKind, id: &BlobId) -> Result<Option<Place>> {
        let found = match kind {
            BlobKind::Data => self.data.get(id).copied(),
            BlobKind::Tree => self.trees.get(id).copied(),
        };
        match (found, &self.table) {
            (None, Some(backed)) => backed.find(kind, id, self.rows() + self.packs.len() as u32),
            _ => Ok(found),
        }
    }

    /// Whether a blob is anywhere.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn has(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        Ok(self.find(kind, id)?.is_some())
    }

    /// The same, as an error where it is nowhere.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`], or as [`Index::find`].
    pub fn require(&self, kind: BlobKind, id: &BlobId) -> Result<Place> {
        self.find(kind, id)?.ok_or(RepoError::MissingBlob { id: *id })
    }

    /// Name of a pack by its number.
    pub fn pack_id(&self, number: u32) -> Digest {
        let (number, rows) = (number as usize, self.rows() as usize);
        match &self.table {
            Some(backed) if number < rows => backed.table.rows()[number].pack,
            Some(backed) if number >= rows + self.packs.len() => {
                let stand_in = backed.stand_in.get().expect("its numbers come from nowhere else");
                stand_in.packs[number - rows - self.packs.len()]
            }
            _ => self.packs[number - rows],
        }
    }

    /// Number of packs, about: those that are hidden count.
    pub fn packs(&self) -> usize {
        self.rows() as usize + self.packs.len()
    }

    /// Number of blobs; copies that a table has of one blob count each.
    pub fn len(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |backed| backed.table.records());
        self.data.len() + self.trees.len() + usize::try_from(table).unwrap_or(usize::MAX)
    }

    /// Whether it knows no blob at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Backed {
    /// Look into the table, or into what stands in for it: its packs are numbered from `base`.
    fn find(&self, kind: BlobKind, id: &BlobId, base: u32) -> Result<Option<Place>> {
        let stand_in = match self.stand_in.get() {
            Some(stand_in) => stand_in,
            None => match self.look(kind, id) {
                Ok(record) => return Ok(record.map(place_of)),
                Err(_) => self.stand_in()?,
            },
        };
        let found = stand_in.find(kind, id)?;
        Ok(found.map(|place| Place { pack: place.pack + base, ..place }))
    }

    fn look(&self, kind: BlobKind, id: &BlobId) -> io::Result<Option<Record>> {
        self.table.find(kind, id, |row| self.hidden[row as usize / 64] & (1 << (row % 64)) == 0)
    }

    fn stand_in(&self) -> Result<&Index> {
        let _alone = lock(&self.making);
        if let Some(stand_in) = self.stand_in.get() {
            return Ok(stand_in);
        }
        let made = (self.reload)()?;
        Ok(self.stand_in.get_or_init(|| Box::new(made)))
    }
}

fn place_of(record: Record) -> Place {
    let Record { row, offset, length, raw_length, .. } = record;
    Place { pack: row, offset, length, raw_length }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index_file::tests::sample;

    #[test]
    fn kinds_are_kept_apart_and_lengths_told() {
        let mut index = Index::default();
        index.add(&sample(), |_| false);
        let data = index.require(BlobKind::Data, &Digest([1; 32])).unwrap();
        let tree = index.require(BlobKind::Tree, &Digest([1; 32])).unwrap();
        assert_eq!((data.plain_length(), tree.plain_length()), (77, 40 - 32));
        assert_eq!((index.pack_id(data.pack), index.pack_id(tree.pack)), (Digest([9; 32]), Digest([8; 32])));
        assert!(!index.has(BlobKind::Tree, &Digest([2; 32])).unwrap());
    }

    #[test]
    fn doomed_packs_are_left_out() {
        let mut index = Index::default();
        index.add(&sample(), |pack| *pack == Digest([9; 32]));
        assert_eq!(index.len(), 1);
    }
}
