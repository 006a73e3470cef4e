//! Who stores a blob: the first that claims it. The blobs of a run, of which memory holds a little more than a byte each.
//!
//! The newest claims are a set in memory. When that is full it goes, sorted, into a file on this machine, and only a filter
//! of 1.1 bytes a blob stays. A claim is 16 bytes of the blob's name under a key that this process drew and nobody else has:
//! so the file tells nobody what is stored, nobody can make two blobs share a claim, and chance needs 2^64 of them.
//! Invariant: whoever is told that a blob is claimed can rely on its being stored in this run. Where the file cannot be
//! written or read, claims are forgotten, and a blob may be stored twice: that costs room and is no error.
//! Time: each new blob asks the filters of its shard, one for each 229,000 blobs of the run.

use std::collections::HashSet;
use std::fs::File;
use std::hash::BuildHasherDefault;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

use crate::blob::{BlobId, BlobKind};
use crate::error::Result;
use crate::index::IdHasher;

/// The set is split, so that threads seldom wait for each other.
const SHARDS: usize = 16;
const SHARD_BITS: u32 = SHARDS.ilog2();
/// Claims of a shard that are in memory: a table of 2^14 places, as full as it may be.
const RECENT_MAX: usize = (1 << 14) / 8 * 7;
/// Bytes of a claim in the file.
const CLAIM_LEN: u64 = 16;
/// Claims to each side of where one is expected that are read with it: eight times what chance makes of it.
const AROUND: u64 = 512;
/// Words of a filter: nine bits for each claim.
const FILTER_WORDS: usize = (1 << 17) / 64;

/// The claims of a run.
pub(crate) struct Claims {
    key: Aes128,
    shards: [Mutex<Shard>; SHARDS],
    recent_max: usize,
    scratch: ScratchFile,
}

#[derive(Default)]
struct Shard {
    recent: HashSet<u128, BuildHasherDefault<IdHasher>>,
    runs: Vec<Run>,
}

/// Sorted claims in the file.
struct Run {
    filter: Box<[u64; FILTER_WORDS]>,
    offset: u64,
    count: u64,
}

/// A file without a name, made when it is needed.
struct ScratchFile {
    folder: Option<PathBuf>,
    file: OnceLock<Option<File>>,
    len: AtomicU64,
}

impl Claims {
    /// No claims yet; what does not fit into memory goes into `folder`, or into the system's for what is large.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub(crate) fn new(folder: Option<PathBuf>) -> Result<Self> {
        Self::with_room(folder, RECENT_MAX)
    }

    fn with_room(folder: Option<PathBuf>, recent_max: usize) -> Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        let scratch = ScratchFile { folder, file: OnceLock::new(), len: AtomicU64::new(0) };
        Ok(Self { key: Aes128::new(&key.into()), shards: Default::default(), recent_max, scratch })
    }

    /// Whether the caller is the first, and must store the blob.
    pub(crate) fn claim(&self, kind: BlobKind, id: &BlobId) -> bool {
        let claim = self.name(kind, id);
        let shard = &self.shards[(claim >> (u128::BITS - SHARD_BITS)) as usize];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in = |run: &Run| run.may_have(claim) && self.scratch.has(run, claim).unwrap_or(false);
        if shard.recent.contains(&claim) || shard.runs.iter().any(is_in) {
            return false;
        }
        shard.recent.insert(claim);
        if shard.recent.len() >= self.recent_max {
            let mut claims: Vec<u128> = shard.recent.drain().collect();
            claims.sort_unstable();
            shard.runs.extend(self.scratch.keep(&claims));
        }
        true
    }

    /// A pseudo-random function of what a blob is called: CBC-MAC over two blocks, which is one for this one length.
    fn name(&self, kind: BlobKind, id: &BlobId) -> u128 {
        let mut block = [0; 16];
        let (first, second) = id.0.split_at(16);
        for (byte, plain) in block.iter_mut().zip(first) {
            // A tree and data of equal bytes are two blobs.
            *byte = if kind == BlobKind::Tree { !plain } else { *plain };
        }
        let mut block = block.into();
        self.key.encrypt_block(&mut block);
        block.iter_mut().zip(second).for_each(|(byte, plain)| *byte ^= plain);
        self.key.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }
}

impl Run {
    fn may_have(&self, claim: u128) -> bool {
        bits(claim).iter().all(|bit| self.filter[bit / 64] & (1 << (bit % 64)) != 0)
    }
}

/// The bits of a filter that a claim sets: it is random enough to be its own four hashes.
fn bits(claim: u128) -> [usize; 4] {
    [0, 24, 48, 72].map(|shift| (claim >> shift) as usize % (FILTER_WORDS * 64))
}

impl ScratchFile {
    /// A run of sorted `claims`; nothing where the file takes none.
    fn keep(&self, claims: &[u128]) -> Option<Run> {
        let file = self.file.get_or_init(|| self.make().ok()).as_ref()?;
        let bytes: Vec<u8> = claims.iter().flat_map(|claim| claim.to_be_bytes()).collect();
        let offset = self.len.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        file.write_all_at(&bytes, offset).ok()?;
        let mut filter = Box::new([0u64; FILTER_WORDS]);
        claims.iter().flat_map(|claim| bits(*claim)).for_each(|bit| filter[bit / 64] |= 1 << (bit % 64));
        Some(Run { filter, offset, count: claims.len() as u64 })
    }

    fn make(&self) -> io::Result<File> {
        match &self.folder {
            Some(folder) => tempfile::tempfile_in(folder),
            // Not /tmp: where that is memory, nothing would be won.
            None => tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile()),
        }
    }

    /// Whether a run has a claim, which is looked for where it must be if claims lie evenly, as random numbers do.
    fn has(&self, run: &Run, claim: u128) -> io::Result<bool> {
        let Some(Some(file)) = self.file.get() else { return Ok(false) };
        let share = (claim << SHARD_BITS >> 64) as u64;
        let expected = ((u128::from(share) * u128::from(run.count)) >> 64) as u64;
        let mut around = AROUND;
        loop {
            let (from, to) = (expected.saturating_sub(around), (expected + around).min(run.count));
            let mut bytes = vec![0; ((to - from) * CLAIM_LEN) as usize];
            file.read_exact_at(&mut bytes, run.offset + from * CLAIM_LEN)?;
            let found: Vec<u128> =
                bytes.as_chunks().0.iter().map(|bytes| u128::from_be_bytes(*bytes)).collect();
            let begins_before = from == 0 || found.first().is_some_and(|first| *first <= claim);
            let ends_behind = to == run.count || found.last().is_some_and(|last| *last >= claim);
            if begins_before && ends_behind {
                return Ok(found.binary_search(&claim).is_ok());
            }
            around *= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::id_of;

    const COUNT: u32 = 40_000;

    fn ids() -> impl Iterator<Item = BlobId> {
        (0..COUNT).map(|number| id_of(&number.to_le_bytes()))
    }

    #[test]
    fn each_blob_is_claimed_once_in_memory_that_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::with_room(Some(folder.path().to_owned()), 100).unwrap();
        for id in ids() {
            assert!(claims.claim(BlobKind::Data, &id));
        }
        let of_shards = |of: fn(&Shard) -> usize| -> usize {
            claims.shards.iter().map(|shard| of(&shard.lock().unwrap())).sum()
        };
        assert!(of_shards(|shard| shard.recent.len()) < 16 * 100);
        assert!(of_shards(|shard| shard.runs.len()) > 300, "most of them are in the file");
        assert!(ids().all(|id| !claims.claim(BlobKind::Data, &id)));
        assert!(ids().take(1000).all(|id| claims.claim(BlobKind::Tree, &id)), "trees are others");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        let filtered = |shard: &Shard| shard.runs.iter().map(|run| usize::from(run.may_have(7))).sum();
        assert!(of_shards(filtered) < 20, "filters keep most of the others out");
    }

    #[test]
    fn full_runs_find_their_claims_too() {
        let claims = Claims::new(None).unwrap();
        let many = (0..300_000u32).map(|number| id_of(&number.to_le_bytes()));
        assert!(many.clone().all(|id| claims.claim(BlobKind::Data, &id)));
        assert!(claims.shards.iter().all(|shard| !shard.lock().unwrap().runs.is_empty()));
        assert!(many.step_by(7).all(|id| !claims.claim(BlobKind::Data, &id)));
    }

    #[test]
    fn without_a_file_claims_are_forgotten_and_blobs_stored_again() {
        let claims = Claims::with_room(Some("/proc/no/folder".into()), 100).unwrap();
        assert!(ids().all(|id| claims.claim(BlobKind::Data, &id)));
        let again = ids().filter(|id| claims.claim(BlobKind::Data, id)).count();
        assert!(again > COUNT as usize - 16 * 100);
    }

    #[test]
    fn two_runs_of_a_program_call_a_blob_by_two_names() {
        let [one, other] = [(); 2].map(|()| Claims::new(None).unwrap());
        let id = id_of(b"a blob");
        assert_eq!(one.name(BlobKind::Data, &id), one.name(BlobKind::Data, &id));
        assert_ne!(one.name(BlobKind::Data, &id), other.name(BlobKind::Data, &id));
    }
}
