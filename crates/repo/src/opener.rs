//! From stored bytes to the plaintext of a blob, compared with its name on the way.
//!
//! Invariant: no plaintext leaves before its SHA-256 was found to be its name. Several blobs are opened into one
//! buffer of [`BATCH_LEN`] bytes, so that they are hashed together.

use std::ops::Range;

use crate::blob::{BlobId, id_of};
use crate::compression::Decompressor;
use crate::crypto::{OVERHEAD, Sealer};
use crate::error::{RepoError, Result};
use crate::sha256;

/// Plaintext bytes that are hashed together: several of the longest blobs that small files become.
const BATCH_LEN: usize = 4 << 20;

/// A blob as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// Its name.
    pub id: BlobId,
    /// Its envelope.
    pub bytes: &'a [u8],
    /// Plaintext bytes where it is compressed.
    pub raw_length: Option<u32>,
}

impl Sealed<'_> {
    fn plain_len(&self) -> usize {
        self.raw_length.map_or(self.bytes.len().saturating_sub(OVERHEAD), |len| len as usize)
    }
}

/// A blob whose plaintext is in the buffer, and not compared with its name yet.
struct Decoded {
    number: usize,
    id: BlobId,
    place: Result<Range<usize>>,
}

/// Opens blobs, with buffers that are reused; one for each thread.
pub struct BlobOpener {
    sealer: Sealer,
    decompressor: Decompressor,
    text: Vec<u8>,
    /// Only grows; what lies where is known by the one who filled it.
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
        let place = self.decode(&Sealed { id: *id, bytes: sealed, raw_length }, 0)?;
        let plain = &self.plain[place];
        if id_of(plain) == *id { Ok(plain) } else { Err(misnamed(id)) }
    }

    /// The plaintext of `len` bytes that was opened last.
    pub(crate) fn opened(&self, len: usize) -> &[u8] {
        &self.plain[..len]
    }

    /// Hand the plaintext of each of `blobs`, or why it has none, to `use_plain`, in their order and with its number.
    ///
    /// # Errors
    /// What `use_plain` returns; the rest is then left alone.
    pub fn open_each<'a, E>(
        &mut self,
        blobs: impl IntoIterator<Item = Sealed<'a>>,
        mut use_plain: impl FnMut(usize, Result<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut batch, mut end) = (vec![], 0);
        for (number, blob) in blobs.into_iter().enumerate() {
            if end > 0 && end + blob.plain_len() > BATCH_LEN {
                self.hand_over(&mut batch, &mut use_plain)?;
                end = 0;
            }
            let place = self.decode(&blob, end);
            end = place.as_ref().map_or(end, |place| place.end);
            batch.push(Decoded { number, id: blob.id, place });
        }
        self.hand_over(&mut batch, &mut use_plain)
    }

    /// Compare all of `batch` with their names, and hand them over.
    fn hand_over<E>(
        &self,
        batch: &mut Vec<Decoded>,
        use_plain: &mut impl FnMut(usize, Result<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        // What could not be decoded has no bytes, and needs no name.
        let plain = |blob: &Decoded| &self.plain[blob.place.as_ref().map_or(0..0, Range::clone)];
        let mut names = vec![BlobId::default(); batch.len()];
        sha256::digests(batch.iter().map(plain), |at, name| names[at] = name);
        for (Decoded { number, id, place }, name) in batch.drain(..).zip(names) {
            let plain = match place {
                Ok(place) if name == id => Ok(&self.plain[place]),
                Ok(_) => Err(misnamed(&id)),
                Err(error) => Err(error),
            };
            use_plain(number, plain)?;
        }
        Ok(())
    }

    /// Decrypt and decompress into the buffer from `start` on. -> where it lies
    fn decode(&mut self, blob: &Sealed<'_>, start: usize) -> Result<Range<usize>> {
        let what = BlobName(&blob.id);
        self.sealer.open(blob.bytes, &mut self.text, &what)?;
        let place = start..start + blob.plain_len();
        if self.plain.len() < place.end {
            self.plain.resize(place.end, 0);
        }
        let plain = &mut self.plain[place.clone()];
        match blob.raw_length {
            None => plain.copy_from_slice(&self.text),
            Some(_) => self.decompressor.exactly(&self.text, plain, &what)?,
        }
        Ok(place)
    }
}

fn misnamed(id: &BlobId) -> RepoError {
    RepoError::damaged(BlobName(id).to_string(), "its bytes do not fit its name")
}

/// `blob ab12…`, made into text only for an error.
struct BlobName<'a>(&'a BlobId);

impl std::fmt::Display for BlobName<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "blob {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compressor;
    use crate::crypto::Key;

    /// Many small blobs, some that fill batches and one that is longer than a batch; every third is stored raw.
    fn plains() -> Vec<Vec<u8>> {
        let lens = (0..200).map(|n| n * 37).chain([400_000, 700_000, BATCH_LEN + 1, 5, 0, BATCH_LEN]);
        lens.enumerate().map(|(n, len)| (0..len).map(|at| (at / 7 + at * n) as u8).collect()).collect()
    }

    type Stored = (BlobId, Vec<u8>, Option<u32>);

    fn stored(sealer: &Sealer, plains: &[Vec<u8>]) -> Vec<Stored> {
        let mut compressor = Compressor::new(1).unwrap();
        let seal = |(n, plain): (usize, &Vec<u8>)| {
            let compressed = if n % 3 == 0 { None } else { compressor.shorter(plain) };
            let (mut bytes, raw_length) = (vec![], compressed.map(|_| plain.len() as u32));
            sealer.seal(compressed.unwrap_or(plain), &mut bytes).unwrap();
            (id_of(plain), bytes, raw_length)
        };
        plains.iter().enumerate().map(seal).collect()
    }

    fn opened(sealer: &Sealer, stored: &[Stored]) -> Vec<Option<Vec<u8>>> {
        let mut all = vec![];
        let blobs =
            stored.iter().map(|(id, bytes, raw_length)| Sealed { id: *id, bytes, raw_length: *raw_length });
        let mut opener = BlobOpener::new(sealer).unwrap();
        let each = opener.open_each(blobs, |number, plain| -> Result<(), RepoError> {
            assert_eq!(number, all.len());
            all.push(plain.ok().map(<[u8]>::to_vec));
            Ok(())
        });
        each.unwrap();
        all
    }

    #[test]
    fn each_is_handed_over_in_its_order() {
        let sealer = Key::random().unwrap().sealer();
        let plains = plains();
        let expected: Vec<_> = plains.iter().cloned().map(Some).collect();
        assert!(opened(&sealer, &stored(&sealer, &plains)) == expected);
    }

    #[test]
    fn what_does_not_open_or_does_not_fit_its_name_is_told_and_the_rest_goes_on() {
        let sealer = Key::random().unwrap().sealer();
        let plains = plains();
        let mut stored = stored(&sealer, &plains);
        let (last, bad) = (stored.len() - 1, [0, 7, 100, 202, 203]);
        stored[0].1.clear();
        stored[7].1[20] ^= 1;
        stored[100].0 = stored[99].0;
        stored[202].2 = Some(12);
        stored[203].0.0[31] ^= 1;
        let opened = opened(&sealer, &stored);
        for (number, (opened, plain)) in opened.iter().zip(&plains).enumerate() {
            assert_eq!(opened.as_ref() == Some(plain), !bad.contains(&number), "{number}");
            assert_eq!(opened.is_none(), bad.contains(&number), "{number}");
        }
        assert_eq!(opened.len(), last + 1);
    }

    #[test]
    fn an_error_of_the_user_ends_it() {
        let sealer = Key::random().unwrap().sealer();
        let stored = stored(&sealer, &plains());
        let blobs = stored.iter().map(|(id, bytes, len)| Sealed { id: *id, bytes, raw_length: *len });
        let mut count = 0;
        let ended = BlobOpener::new(&sealer).unwrap().open_each(blobs, |_, _| {
            count += 1;
            if count == 3 { Err("enough") } else { Ok(()) }
        });
        assert_eq!((ended, count), (Err("enough"), 3));
    }
}
