//! A blob whose copy is damaged may have another one: stored by a backup that did not rely on the first, or by two at once.
//!
//! Invariant: whatever is given fits its name; where no copy does, the error is that of the first.

use store::Range;

use crate::blob::{BlobId, BlobKind};
use crate::error::{RepoError, Result};
use crate::index::Index;
use crate::opener::BlobOpener;
use crate::repository::{FileKind, Repository, found};

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
        let len = first.or_else(|error| self.open_other(index, id, error, opener, stored))?;
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
            BlobKind::Tree => found(&object, self.store().get_often_read(&object, range, into)),
        }
    }

    /// Another copy of the blob `id`, of which the first one gave `error`. -> bytes of the plaintext, which is in `opener`
    ///
    /// # Errors
    /// `error`, where it is no damage or no other copy is sound.
    pub(crate) fn open_other(
        &self,
        index: &Index,
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
                return Ok(len);
            }
        }
        Err(error)
    }
}
