//! A stored file, readable at any offset by many threads at once.
//!
//! Offset → piece by sums of lengths, or by a division where all pieces but the last are alike; piece → pack by the
//! index; a ranged read brings it, and it is compared with its name before a byte of it is given. Who reads on from
//! where the last read ended gets pieces ahead, in one request where they lie together. Memory: the ids (32 bytes a piece),
//! sums (8), and what the cache of plaintext may hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::blob::{BlobId, BlobKind};
use crate::error::{RepoError, Result};
use crate::index::Index;
use crate::opener::BlobOpener;
use crate::plain_cache::{Answer, PlainCache};
use crate::reader::Wanted;
use crate::repository::Repository;

/// Plaintext that is read ahead at most, and at most a quarter of the cache.
const AHEAD_MAX: u64 = 8 << 20;
/// Plaintext that the first read ahead brings; each further one doubles it.
const AHEAD_MIN: u64 = 512 << 10;

/// A file of a snapshot.
pub struct RandomFile {
    repository: Arc<Repository>,
    index: Arc<Index>,
    cache: Arc<PlainCache>,
    pieces: Arc<[BlobId]>,
    starts: Starts,
    /// Where the last read ended, and how much is read ahead from there.
    last_end: AtomicU64,
    ahead: AtomicU64,
    spare: Mutex<Vec<Tools>>,
}

/// Where each piece begins.
enum Starts {
    /// All of one length, but for the last, which may be shorter.
    Fixed { piece: u64, len: u64 },
    /// The first byte of each, and the end of the last.
    Sums(Vec<u64>),
}

/// What one read needs for itself.
struct Tools {
    opener: BlobOpener,
    stored: Vec<u8>,
}

impl Starts {
    fn of(lengths: &[u64]) -> Self {
        let len = lengths.iter().sum();
        let piece = lengths.first().copied().unwrap_or(1).max(1);
        let (last, others) = lengths.split_last().unwrap_or((&1, &[]));
        if others.iter().all(|other| *other == piece) && (1..=piece).contains(last) {
            return Self::Fixed { piece, len };
        }
        let mut end = 0;
        let sums = std::iter::once(0).chain(lengths.iter().map(|len| {
            end += len;
            end
        }));
        Self::Sums(sums.collect())
    }

    fn len(&self) -> u64 {
        match self {
            Self::Fixed { len, .. } => *len,
            Self::Sums(sums) => sums.last().copied().unwrap_or(0),
        }
    }

    /// The piece that holds the byte at `offset`, which is one of the file's.
    fn piece_at(&self, offset: u64) -> usize {
        match self {
            Self::Fixed { piece, .. } => (offset / piece) as usize,
            Self::Sums(sums) => sums.partition_point(|start| *start <= offset) - 1,
        }
    }

    fn start_of(&self, number: usize) -> u64 {
        match self {
            Self::Fixed { piece, len } => (*piece * number as u64).min(*len),
            Self::Sums(sums) => sums[number],
        }
    }
}

impl RandomFile {
    /// The file whose `pieces` these are; several files may share one `cache`.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`] where a piece is in no index.
    pub fn open(
        repository: &Arc<Repository>,
        index: &Arc<Index>,
        pieces: &[BlobId],
        cache: &Arc<PlainCache>,
    ) -> Result<Self> {
        let length = |id| Ok(u64::from(index.require(BlobKind::Data, id)?.plain_length()));
        let lengths = pieces.iter().map(length).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            repository: Arc::clone(repository),
            index: Arc::clone(index),
            cache: Arc::clone(cache),
            pieces: pieces.into(),
            starts: Starts::of(&lengths),
            last_end: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
            spare: Mutex::default(),
        })
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.starts.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fill `buffer` from `offset` on; fewer bytes only where the file ends. Returns how many.
    ///
    /// # Errors
    /// Damage naming the blob, or what the store says.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let wanted = (self.len().saturating_sub(offset)).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..wanted];
        let ahead = self.note(offset, wanted as u64);
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let number = self.starts.piece_at(at);
            let bytes = self.piece(number, ahead.max((wanted - done) as u64))?;
            let skip = (at - self.starts.start_of(number)) as usize;
            let rest = bytes.get(skip..).unwrap_or_default();
            let count = rest.len().min(wanted - done);
            if count == 0 {
                return Err(RepoError::damaged(
                    format!("blob {}", self.pieces[number]),
                    "is shorter than the index says",
                ));
            }
            buffer[done..done + count].copy_from_slice(&rest[..count]);
            done += count;
        }
        Ok(wanted)
    }

    /// Remember a read; how much to bring at once if it has to be fetched.
    fn note(&self, offset: u64, len: u64) -> u64 {
        let is_next = self.last_end.swap(offset + len, Ordering::Relaxed) == offset && offset > 0;
        let max = AHEAD_MAX.min(self.cache.len_max() as u64 / 4);
        match is_next {
            true => self.ahead.load(Ordering::Relaxed).max(AHEAD_MIN).min(max),
            false => {
                self.ahead.store(0, Ordering::Relaxed);
                0
            }
        }
    }

    /// The plaintext of a piece; where it has to be fetched, with those behind it, up to `ahead` bytes.
    fn piece(&self, number: usize, ahead: u64) -> Result<Arc<[u8]>> {
        let until = self.starts.start_of(number) + ahead.min(AHEAD_MAX.min(self.cache.len_max() as u64 / 4));
        let end =
            (number + 1..self.pieces.len()).take_while(|next| self.starts.start_of(*next) < until).last();
        let more = &self.pieces[number + 1..end.map_or(number + 1, |last| last + 1)];
        let first = &self.pieces[number];
        let claim = match self.cache.get(first, more) {
            Answer::Kept(bytes) => return Ok(bytes),
            Answer::Claimed(claim) => claim,
        };
        if !more.is_empty() {
            self.ahead.store((ahead * 2).min(AHEAD_MAX), Ordering::Relaxed);
        }
        let wanted = |(tag, id): (usize, &BlobId)| {
            Ok(Wanted { id: *id, place: self.index.require(BlobKind::Data, id)?, tag })
        };
        let mut wanted = claim.ids().iter().enumerate().map(wanted).collect::<Result<Vec<_>>>()?;
        let mut tools = self.tools()?;
        let mut found = None;
        let Tools { opener, stored } = &mut tools;
        self.repository.read_few(&self.index, &mut wanted, stored, opener, &mut |one, opened| {
            match opened {
                Ok(opened) => {
                    let bytes: Arc<[u8]> = opened.plain.into();
                    claim.keep(&one.id, &bytes);
                    if one.id == *first {
                        found = Some(Ok(bytes));
                    }
                }
                // Who wants the others will be told when he asks.
                Err(error) if one.id == *first => found = Some(Err(error)),
                Err(_) => {}
            }
            Ok::<(), RepoError>(())
        })?;
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(tools);
        found.unwrap_or(Err(RepoError::MissingBlob { id: *first }))
    }

    fn tools(&self) -> Result<Tools> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match spare {
            Some(tools) => Ok(tools),
            None => Ok(Tools { opener: BlobOpener::new(self.repository.sealer())?, stored: vec![] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use store::Store;
    use store::memory::MemoryStore;

    use super::*;
    use crate::repository::FileKind;
    use crate::testing;

    /// Deriving its key takes longer than all that is asked of it.
    static REPOSITORY: OnceLock<Arc<Repository>> = OnceLock::new();

    /// Numbered bytes, or zeros as a hole has them.
    fn piece(number: usize, len: usize, is_hole: bool) -> Vec<u8> {
        if is_hole {
            vec![0; len]
        } else {
            (0..len).map(|at| (at * 7 + number * 31 + at / 251) as u8).collect()
        }
    }

    fn open(repository: &Arc<Repository>, pieces: &[Vec<u8>], cache: usize) -> RandomFile {
        let blobs: Vec<_> = pieces.iter().map(|piece| (BlobKind::Data, &piece[..])).collect();
        let ids = testing::save(repository, &blobs);
        let index = Arc::new(repository.load_index().unwrap());
        RandomFile::open(repository, &index, &ids, &PlainCache::new(cache)).unwrap()
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

        #[test]
        fn random_reads_are_those_of_the_file(
            pieces in prop::collection::vec((1usize..3000, any::<bool>()), 0..12),
            fixed in prop::option::of(1usize..3000),
            reads in prop::collection::vec((0u64..40_000, 0usize..9000, any::<bool>()), 1..40),
            cache in 0usize..20_000,
        ) {
            let pieces: Vec<_> = pieces.iter().enumerate()
                .map(|(number, (len, is_hole))| piece(number, fixed.unwrap_or(*len), *is_hole)).collect();
            let whole = pieces.concat();
            let file = open(REPOSITORY.get_or_init(testing::repository), &pieces, cache);
            prop_assert_eq!(file.len(), whole.len() as u64);
            let mut end = 0;
            for (offset, len, goes_on) in reads {
                let offset = if goes_on { end } else { offset };
                let mut buffer = vec![0xee; len];
                let count = file.read_at(offset, &mut buffer).unwrap();
                let from = (offset as usize).min(whole.len());
                let expected = &whole[from..(from + len).min(whole.len())];
                prop_assert_eq!(&buffer[..count], expected);
                prop_assert!(buffer[count..].iter().all(|byte| *byte == 0xee), "nothing is written behind the end");
                prop_assert!(file.cache.len() <= cache);
                end = offset + count as u64;
            }
        }
    }

    #[test]
    fn many_threads_read_one_file() {
        let pieces: Vec<_> = (0..40).map(|number| piece(number, 1000 + number, false)).collect();
        let (whole, file) = (pieces.concat(), open(&testing::repository(), &pieces, 8 << 10));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (whole, file) = (&whole, &file);
                scope.spawn(move || {
                    for step in 0..400 {
                        let at = (step * 977 + thread * 5003) % whole.len();
                        let mut buffer = [0; 1500];
                        let count = file.read_at(at as u64, &mut buffer).unwrap();
                        assert_eq!(buffer[..count], whole[at..(at + 1500).min(whole.len())]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_damaged_piece_is_named_and_costs_no_other() {
        let store = Arc::new(MemoryStore::new());
        let repository = testing::repository_in(store.clone());
        let pieces: Vec<_> = (0..6).map(|number| piece(number, 4000, false)).collect();
        let file = open(&repository, &pieces, 1 << 20);
        let place = file.index.require(BlobKind::Data, &file.pieces[3]).unwrap();
        let object = FileKind::Pack.object(&file.index.pack_id(place.pack));
        let mut bytes = store::store::read(&*store, &object).unwrap();
        bytes[place.offset as usize + 20] ^= 1;
        store.delete(&object).unwrap();
        store.put_new(&object, &bytes).unwrap();
        let mut buffer = vec![0; 4000];
        for number in [0, 1, 2, 4, 5] {
            assert_eq!(file.read_at(number * 4000, &mut buffer).unwrap(), 4000);
            assert_eq!(buffer, pieces[number as usize]);
        }
        for _ in 0..2 {
            let error = file.read_at(2 * 4000 + 3999, &mut buffer).unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(&file.pieces[3].to_hex()), "{error}");
        }
        store.delete(&object).unwrap();
        assert!(open(&repository, &[], 0).is_empty());
        assert_eq!(file.read_at(0, &mut buffer).unwrap(), 4000, "from the cache");
    }

    #[test]
    fn table_of_starts() {
        for (lengths, is_fixed) in [
            (&[][..], true),
            (&[5], true),
            (&[5, 5, 5], true),
            (&[5, 5, 2], true),
            (&[5, 5, 6], false),
            (&[5, 4, 5], false),
        ] {
            let starts = Starts::of(lengths);
            assert_eq!(matches!(starts, Starts::Fixed { .. }), is_fixed, "{lengths:?}");
            assert_eq!(starts.len(), lengths.iter().sum::<u64>());
            let mut offset = 0;
            for (number, len) in lengths.iter().enumerate() {
                assert_eq!(starts.start_of(number), offset);
                (offset..offset + len).for_each(|at| assert_eq!(starts.piece_at(at), number, "{lengths:?}"));
                offset += len;
            }
        }
    }
}
