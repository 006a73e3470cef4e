//! A blob whose copy is damaged may have another one: stored by a backup that did not rely on the first, or by two at once.
//!
//! Invariants: whatever is given fits its name; where no copy does, the error is that of the first. Of which packs a copy was
//! passed over is kept, for who says and notes it.

use std::sync::PoisonError;

use store::Range;

use crate::blob::{BlobId, BlobKind};
use crate::broken_packs::{BrokenPacks, Why};
use crate::error::{RepoError, Result};
use crate::index::{Index, Place};
use crate::opener::BlobOpener;
use crate::repository::{FileKind, Repository, read_twice};

impl Repository {
    /// The plaintext of one blob, in the buffer of `opener`; `stored` is one for its envelope.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`], damage to every copy, or what the store says.
    pub fn open_blob<'o>(
        &self,
        index: &Index,
        kind: BlobKind,
        id: &BlobId,
        opener: &'o mut BlobOpener,
        stored: &mut Vec<u8>,
    ) -> Result<&'o [u8]> {
        let place = index.require(kind, id)?;
        let read = self.read_sealed(index, kind, id, stored);
        let first = read.and_then(|()| opener.open(id, stored, place.compressed_from()).map(<[u8]>::len));
        let len = first.or_else(|error| self.open_other((index, place), id, error, opener, stored))?;
        Ok(opener.opened(len))
    }

    /// The stored bytes of a blob's envelope.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`], or what the store says.
    fn read_sealed(&self, index: &Index, kind: BlobKind, id: &BlobId, into: &mut Vec<u8>) -> Result<()> {
        let place = index.require(kind, id)?;
        let object = FileKind::Pack.object(&index.pack_id(place.pack));
        let range = Range::Bytes { offset: place.offset.into(), len: place.length.into() };
        match kind {
            BlobKind::Data => self.read_pack(&object, range, into),
            BlobKind::Tree => read_twice(&object, || self.store().get_often_read(&object, range, into)),
        }
    }

    /// Another copy of the blob `id`, of which the first one, at `place`, gave `error`. -> bytes of the plaintext, which is in `opener`
    ///
    /// # Errors
    /// `error`, where it is no damage or no other copy is sound.
    pub(crate) fn open_other(
        &self,
        (index, place): (&Index, Place),
        id: &BlobId,
        error: RepoError,
        opener: &mut BlobOpener,
        stored: &mut Vec<u8>,
    ) -> Result<usize> {
        let others = if error.is_damage() { index.others(id) } else { vec![] };
        for (pack, blob) in others {
            let range = Range::Bytes { offset: blob.offset.into(), len: blob.length.into() };
            let read = self.read_pack(&FileKind::Pack.object(&pack), range, stored);
            let opened = read.and_then(|()| opener.open(id, stored, blob.raw_length).map(<[u8]>::len));
            if let Ok(len) = opened {
                let mut passed_over = self.passed_over().lock().unwrap_or_else(PoisonError::into_inner);
                passed_over.add(index.pack_id(place.pack), Why::of(&error));
                return Ok(len);
            }
        }
        Err(error)
    }

    /// Packs that are broken, as reading found out since this was asked last, although what it wanted of them was read: from
    /// another one.
    pub fn take_passed_over(&self) -> BrokenPacks {
        std::mem::take(&mut *self.passed_over().lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use store::memory::MemoryStore;
    use store::{Key, Object, Store, StoreError};

    use super::*;
    use crate::testing;

    /// Answers of packs that end too early: so many.
    struct CutShort(MemoryStore, AtomicUsize);

    impl Store for CutShort {
        fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
            self.0.put_new(key, content)
        }

        fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
            let one_less = |left: usize| left.checked_sub(1);
            let is_cut = key.as_str().starts_with("data/")
                && self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
            match is_cut {
                true => Err(StoreError::Short { key: key.to_string(), place: self.location() }),
                false => self.0.get(key, range, into),
            }
        }

        fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
            self.0.list(prefix)
        }

        fn delete(&self, key: &Key) -> Result<(), StoreError> {
            self.0.delete(key)
        }

        fn location(&self) -> String {
            self.0.location()
        }
    }

    #[test]
    fn one_answer_that_ends_too_early_is_no_damage() {
        let store = Arc::new(CutShort(MemoryStore::new(), AtomicUsize::new(0)));
        let repository = testing::repository_in(store.clone());
        for kind in BlobKind::ALL {
            let id = testing::save(&repository, &[(kind, b"some bytes")])[0];
            let index = repository.load_index().unwrap();
            let read_after = |cuts| {
                store.1.store(cuts, Ordering::SeqCst);
                repository.read_blob(&index, kind, &id)
            };
            assert_eq!(read_after(1).unwrap(), b"some bytes");
            assert!(read_after(9).unwrap_err().is_damage());
            store.1.store(0, Ordering::SeqCst);
        }
    }
}
