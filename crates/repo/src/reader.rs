//! Reading many blobs on all cores: in the order in which they lie, or in the order of a stream.
//!
//! Memory: a range of a pack per thread, of [`RANGE_LEN_MAX`] stored bytes at most; for streams, as many pieces
//! of [`PIECE_LEN_MAX`] plaintext bytes, and [`AHEAD`] more. How many threads there are is up to the budget and the store.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use model::cancel::CancelToken;
use store::Range;

use crate::blob::{BlobId, BlobKind};
use crate::error::{RepoError, Result};
use crate::index::{Index, Place};
use crate::opener::{BlobOpener, Sealed};
use crate::repository::{FileKind, Repository};

/// Stored bytes that are read at once.
const RANGE_LEN_MAX: u64 = 4 << 20;
/// A gap between two wanted blobs that is cheaper read than asked for separately.
const GAP_MAX: u64 = 256 << 10;
/// Plaintext bytes of one piece of a stream.
const PIECE_LEN_MAX: u64 = 4 << 20;
/// Pieces of a stream that may wait, beside those that are being read.
const AHEAD: usize = 2;

/// A blob that somebody wants, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its name.
    pub id: BlobId,
    /// Where it is.
    pub place: Place,
    /// What the caller knows it by; it comes back with the bytes.
    pub tag: usize,
}

/// A blob that was read and fits its name.
pub(crate) struct Opened<'a> {
    /// Its envelope.
    pub(crate) sealed: &'a [u8],
    /// Its plaintext.
    pub(crate) plain: &'a [u8],
}

/// A piece of a stream to read, and where its bytes are waited for.
type Piece<'a> = (&'a [Wanted], Sender<Result<Vec<u8>>>);

/// Takes one blob, or why it cannot be had.
pub(crate) type UseBlob<'a, E> = &'a mut dyn FnMut(&Wanted, Result<Opened<'_>>) -> Result<(), E>;

impl Repository {
    /// The plaintext of one blob.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`], damage, or what the store says.
    pub fn read_blob(&self, index: &Index, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>> {
        let mut opener = BlobOpener::new(self.sealer())?;
        self.open_blob(index, kind, id, &mut opener, &mut vec![]).map(<[u8]>::to_vec)
    }

    /// Read every blob of `wanted`, pack by pack, on all cores, and hand each to `use_blob`
    /// (`wanted` is sorted here). A blob that cannot be read is handed over as its error, and the rest goes on.
    ///
    /// # Errors
    /// What `use_blob` returns, or [`RepoError::Cancelled`].
    pub fn read_packed<E: From<RepoError> + Send>(
        &self,
        index: &Index,
        wanted: &mut [Wanted],
        cancel: &CancelToken,
        use_blob: impl Fn(&Wanted, Result<&[u8]>) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        self.read_packed_sealed(index, wanted, cancel, |one, opened| {
            use_blob(one, opened.map(|opened| opened.plain))
        })
    }

    /// [`Repository::read_packed`] for who also wants the envelopes.
    pub(crate) fn read_packed_sealed<E: From<RepoError> + Send>(
        &self,
        index: &Index,
        wanted: &mut [Wanted],
        cancel: &CancelToken,
        use_blob: impl Fn(&Wanted, Result<Opened<'_>>) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        wanted.sort_unstable_by_key(|wanted| (wanted.place.pack, wanted.place.offset));
        let ranges = ranges(wanted);
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), E> {
            let mut opener = BlobOpener::new(self.sealer())?;
            let mut stored = vec![];
            while let Some(range) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
                cancel.check().map_err(RepoError::from)?;
                let outcome = self.read_range(index, range, &mut stored, &mut opener, &mut |one, opened| {
                    use_blob(one, opened)
                });
                if outcome.is_err() {
                    // The others need not begin another range.
                    next.store(ranges.len(), Ordering::Relaxed);
                    return outcome;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.readers().min(ranges.len())).map(|_| scope.spawn(work)).collect();
            let outcomes = threads.into_iter().map(|thread| thread.join().map_err(|_| panicked()));
            // All are joined before the first error is told.
            let outcomes: Vec<_> = outcomes.collect();
            outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|error| Err(error.into())))
        })
    }

    /// Read `wanted` on this thread, what lies together at once, and hand each to `use_blob` (`wanted` is sorted here).
    pub(crate) fn read_few<E>(
        &self,
        index: &Index,
        wanted: &mut [Wanted],
        stored: &mut Vec<u8>,
        opener: &mut BlobOpener,
        use_blob: UseBlob<'_, E>,
    ) -> Result<(), E> {
        wanted.sort_unstable_by_key(|wanted| (wanted.place.pack, wanted.place.offset));
        let mut ranges = ranges(wanted).into_iter();
        ranges.try_for_each(|range| self.read_range(index, range, stored, opener, use_blob))
    }

    fn read_range<E>(
        &self,
        index: &Index,
        range: &[Wanted],
        stored: &mut Vec<u8>,
        opener: &mut BlobOpener,
        use_blob: UseBlob<'_, E>,
    ) -> Result<(), E> {
        let (Some(first), Some(last)) = (range.first(), range.last()) else { return Ok(()) };
        let start = u64::from(first.place.offset);
        let len = u64::from(last.place.offset) + u64::from(last.place.length) - start;
        let object = FileKind::Pack.object(&index.pack_id(first.place.pack));
        let read = self.read_pack(&object, Range::Bytes { offset: start, len }, stored);
        if read.is_err() && range.len() > 1 {
            // One bad spot must not take its neighbours along.
            return range.chunks(1).try_for_each(|one| self.read_range(index, one, stored, opener, use_blob));
        }
        if let Err(error) = read {
            return self.use_other((index, first), error, stored, opener, use_blob);
        }
        let mut damaged = vec![];
        let sealed = |wanted: &Wanted| {
            let from = wanted.place.offset as usize - start as usize;
            let bytes = &stored[from..from + wanted.place.length as usize];
            Sealed { id: wanted.id, bytes, raw_length: wanted.place.compressed_from() }
        };
        opener.open_each(range.iter().map(sealed), |number, plain| {
            let wanted = &range[number];
            match plain {
                Ok(plain) => use_blob(wanted, Ok(Opened { sealed: sealed(wanted).bytes, plain })),
                Err(error) => {
                    damaged.push((wanted, error));
                    Ok(())
                }
            }
        })?;
        damaged
            .into_iter()
            .try_for_each(|(wanted, error)| self.use_other((index, wanted), error, stored, opener, use_blob))
    }

    /// Hand over another copy of what gave `error`, or that.
    fn use_other<E>(
        &self,
        (index, wanted): (&Index, &Wanted),
        error: RepoError,
        stored: &mut Vec<u8>,
        opener: &mut BlobOpener,
        use_blob: UseBlob<'_, E>,
    ) -> Result<(), E> {
        match self.open_other((index, wanted.place), &wanted.id, error, opener, stored) {
            Ok(len) => use_blob(wanted, Ok(Opened { sealed: stored, plain: opener.opened(len) })),
            Err(error) => use_blob(wanted, Err(error)),
        }
    }

    /// Read the data blobs `ids` in their order, decrypted and verified ahead on all cores, and hand their bytes to
    /// `use_bytes` one after the other on this thread.
    ///
    /// # Errors
    /// The first blob that cannot be read, what `use_bytes` returns, or [`RepoError::Cancelled`].
    pub fn read_stream<E: From<RepoError>>(
        &self,
        index: &Index,
        ids: &[BlobId],
        cancel: &CancelToken,
        mut use_bytes: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let place = |(tag, id): (usize, &BlobId)| {
            Ok(Wanted { id: *id, place: index.require(BlobKind::Data, id)?, tag })
        };
        let wanted = ids.iter().enumerate().map(place).collect::<Result<Vec<_>>>()?;
        let pieces = pieces(&wanted);
        std::thread::scope(|scope| {
            let (to_workers, work) = bounded::<Piece<'_>>(0);
            let readers = self.readers().min(pieces.len()).max(1);
            let (in_order, ready) = bounded::<Receiver<Result<Vec<u8>>>>(readers + AHEAD);
            for _ in 0..readers {
                let work = work.clone();
                scope.spawn(move || self.read_pieces(index, &work));
            }
            drop(work);
            scope.spawn(move || {
                for piece in pieces {
                    let (answer, answered) = bounded(1);
                    if in_order.send(answered).is_err() || to_workers.send((piece, answer)).is_err() {
                        return;
                    }
                }
            });
            while let Ok(answered) = ready.recv() {
                cancel.check().map_err(RepoError::from)?;
                use_bytes(&answered.recv().map_err(|_| panicked())??)?;
            }
            Ok(())
        })
    }

    /// Threads that read and open at one time.
    fn readers(&self) -> usize {
        self.budget().readers(self.store().lanes())
    }

    fn read_pieces(&self, index: &Index, work: &Receiver<Piece<'_>>) {
        let mut opener = BlobOpener::new(self.sealer());
        let mut stored = vec![];
        while let Ok((piece, answer)) = work.recv() {
            let plain = match &mut opener {
                Ok(opener) => self.read_piece(index, piece, opener, &mut stored),
                Err(error) => Err(RepoError::System(error.to_string())),
            };
            // Nobody waits for it any more when the stream was given up.
            drop(answer.send(plain));
        }
    }

    fn read_piece(
        &self,
        index: &Index,
        piece: &[Wanted],
        opener: &mut BlobOpener,
        stored: &mut Vec<u8>,
    ) -> Result<Vec<u8>> {
        let mut plain = vec![0; piece.iter().map(|wanted| wanted.place.plain_length() as usize).sum()];
        let starts = piece.iter().scan(0, |end, wanted| {
            *end += wanted.place.plain_length() as usize;
            Some(*end - wanted.place.plain_length() as usize)
        });
        // Read as they lie, put down where they belong: several threads wrote them, so the two orders differ.
        let mut as_stored: Vec<Wanted> =
            piece.iter().zip(starts).map(|(one, tag)| Wanted { tag, ..*one }).collect();
        self.read_few(index, &mut as_stored, stored, opener, &mut |wanted, bytes| {
            let bytes = bytes?.plain;
            plain[wanted.tag..wanted.tag + bytes.len()].copy_from_slice(bytes);
            Ok::<(), RepoError>(())
        })?;
        Ok(plain)
    }
}

/// Cut a stream's blobs into pieces that are read by one thread each.
fn pieces(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let mut len = 0;
    wanted
        .chunk_by(|one, _| {
            len += u64::from(one.place.plain_length());
            let goes_on = len < PIECE_LEN_MAX;
            len = if goes_on { len } else { 0 };
            goes_on
        })
        .collect()
}

/// Cut sorted blobs into ranges of one pack that are read at once.
fn ranges(wanted: &[Wanted]) -> Vec<&[Wanted]> {
    let mut ranges = vec![];
    let mut start = 0;
    for at in 1..=wanted.len() {
        let goes_on = wanted.get(at).is_some_and(|next| {
            let (first, last) = (wanted[start].place, wanted[at - 1].place);
            let end = u64::from(last.offset) + u64::from(last.length);
            next.place.pack == first.pack
                && u64::from(next.place.offset).saturating_sub(end) <= GAP_MAX
                && u64::from(next.place.offset) + u64::from(next.place.length) - u64::from(first.offset)
                    <= RANGE_LEN_MAX
        });
        if !goes_on {
            ranges.push(&wanted[start..at]);
            start = at;
        }
    }
    ranges
}

fn panicked() -> RepoError {
    RepoError::System("a reading thread stopped unexpectedly".to_owned())
}
