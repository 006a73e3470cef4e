//! From stored bytes to the plaintext of a blob, compared with its name on the way.

use crate::blob::{BlobId, id_of};
use crate::compression::Decompressor;
use crate::crypto::Sealer;
use crate::error::{RepoError, Result};

/// Opens blobs, with buffers that are reused; one for each thread.
pub struct BlobOpener {
    sealer: Sealer,
    decompressor: Decompressor,
    text: Vec<u8>,
    plain: Vec<u8>,
}

impl BlobOpener {
    /// An opener with the keys of `sealer`.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new(sealer: &Sealer) -> Result<Self> {
        Ok(Self { sealer: sealer.clone(), decompressor: Decompressor::new()?, text: vec![], plain: vec![] })
    }

    /// The plaintext of the blob `id`, whose envelope is `sealed`; `raw_length` where it is compressed.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] naming the blob.
    pub fn open(&mut self, id: &BlobId, sealed: &[u8], raw_length: Option<u32>) -> Result<&[u8]> {
        let what = BlobName(id);
        self.sealer.open(sealed, &mut self.text, &what)?;
        let plain = match raw_length {
            None => &self.text,
            Some(len) => {
                self.decompressor.exactly(&self.text, len as usize, &mut self.plain, &what)?;
                &self.plain
            }
        };
        if id_of(plain) != *id {
            return Err(RepoError::damaged(what.to_string(), "its bytes do not fit its name"));
        }
        Ok(plain)
    }
}

/// `blob ab12…`, made into text only for an error.
struct BlobName<'a>(&'a BlobId);

impl std::fmt::Display for BlobName<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "blob {}", self.0)
    }
}
