//! The write pipeline: bytes in, blob ids out; hashing, compression and sealing run on all cores.
//!
//! A thread with many small pieces takes a [`Hand`] and saves them itself; a thread with one long stream submits
//! chunks, which [`Saver`]'s own threads save while it goes on reading. Invariants: a blob is stored once, also
//! when two threads bring it at one time; [`Saver::finish`] is the only way to a result, and it fails if anything
//! failed. A saver that is dropped is given up: what is stored by then is indexed, so that it is not sent again.
//! Memory: [`QUEUE`] chunks per thread, and what [`crate::packer`] and [`crate::claims`] say.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use model::cancel::CancelToken;

use crate::blob::{BlobId, BlobKind, PLAIN_LEN_MAX, PackedBlob, id_of};
use crate::claims::Claims;
use crate::compression::{Compressor, LEVEL_DEFAULT};
pub use crate::content::Content;
use crate::error::{RepoError, Result};
use crate::index::{Index, Place};
use crate::packer::{Failure, Guard, Packer, Uploads};
use crate::repository::Repository;
use crate::sha256;
use crate::threads::{be_polite, cores};

/// Chunks that wait for each saving thread.
const QUEUE: usize = 4;
/// Chunks that a saving thread hashes together.
const TOGETHER: usize = 3;
/// Buffers that are kept for the next chunk; a longer one would keep the room of the longest chunk for ever.
const SPARE_LEN_MAX: usize = 512 << 10;

/// How to save.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// zstd level.
    pub level: i32,
    /// Saving threads.
    pub threads: usize,
    /// The wish to stop.
    pub cancel: CancelToken,
    /// Whether what was stored may still be relied on: that of the lease under which it is.
    pub guard: Guard,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { level: LEVEL_DEFAULT, threads: cores(), cancel: CancelToken::new(), guard: Guard::default() }
    }
}

/// What a pipeline stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaveStats {
    /// New data blobs.
    pub data_blobs: u64,
    /// New trees.
    pub tree_blobs: u64,
    /// Their plaintext bytes.
    pub added: u64,
    /// Their stored bytes.
    pub stored: u64,
}

/// A running pipeline.
pub struct Saver {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    spare: Receiver<Vec<u8>>,
    threads: Vec<JoinHandle<()>>,
    uploads: Option<Uploads>,
}

struct Shared {
    repository: Arc<Repository>,
    index: Arc<Index>,
    options: SaveOptions,
    claims: Claims,
    /// Packs that the index names and nobody can read, by their numbers.
    unsound: Mutex<HashSet<u32>>,
    has_unsound: AtomicBool,
    packer: Packer,
    failure: Arc<Failure>,
    data_blobs: AtomicU64,
    tree_blobs: AtomicU64,
    added: AtomicU64,
    stored: AtomicU64,
}

struct Job {
    bytes: Vec<u8>,
    name: Option<BlobId>,
    content: Arc<Content>,
    position: usize,
}

impl Saver {
    /// Start a pipeline that stores what `index` does not know.
    ///
    /// # Errors
    /// When zstd gets no memory, or the operating system no random bytes.
    pub fn start(repository: &Arc<Repository>, index: &Arc<Index>, options: SaveOptions) -> Result<Self> {
        let failure = Arc::new(Failure::default());
        let pack_len = repository.budget().pack_len(index.packs());
        let (packer, uploads) = Packer::start(repository, pack_len, &failure, &options.guard);
        let threads = options.threads.max(1);
        let shared = Arc::new(Shared {
            repository: Arc::clone(repository),
            index: Arc::clone(index),
            options,
            claims: Claims::new(repository.cache_folder())?,
            unsound: Mutex::default(),
            has_unsound: AtomicBool::new(false),
            packer,
            failure,
            data_blobs: AtomicU64::new(0),
            tree_blobs: AtomicU64::new(0),
            added: AtomicU64::new(0),
            stored: AtomicU64::new(0),
        });
        let (jobs, work) = bounded::<Job>(threads * QUEUE);
        let (give_back, spare) = bounded(threads * (QUEUE + 2));
        let thread = |_| {
            let (mut hand, work, give_back) = (Hand::new(&shared)?, work.clone(), give_back.clone());
            Ok(std::thread::spawn(move || run_jobs(&mut hand, &work, &give_back)))
        };
        let threads = (0..threads).map(thread).collect::<Result<_>>()?;
        Ok(Self { shared, jobs: Some(jobs), spare, threads, uploads: Some(uploads) })
    }

    /// A hand for a thread that saves by itself.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn hand(&self) -> Result<Hand> {
        Hand::new(&self.shared)
    }

    /// Do not rely on the pack at `place` any more: it turned out to be damaged, so what it holds is stored anew.
    pub fn distrust(&self, place: &Place) {
        lock(&self.shared.unsound).insert(place.pack);
        self.shared.has_unsound.store(true, Ordering::SeqCst);
    }

    /// Whether what is at `place` may be relied on.
    pub fn trusts(&self, place: &Place) -> bool {
        self.shared.trusts(place)
    }

    /// A buffer to fill and submit, used before where possible.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_default()
    }

    /// Save `bytes` as the next piece of `content`, under their `name` where it is known already; waits while all
    /// threads are busy.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn submit(&self, bytes: Vec<u8>, name: Option<BlobId>, content: &Arc<Content>) -> Result<()> {
        self.shared.check()?;
        let job = Job { bytes, name, content: Arc::clone(content), position: content.reserve() };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(RepoError::System("the saving threads are gone".to_owned())) }
    }

    /// Wait until everything is stored and indexed. Hands must be dropped before.
    ///
    /// # Errors
    /// The first error of the pipeline, or [`RepoError::Cancelled`].
    pub fn finish(mut self) -> Result<SaveStats> {
        self.join();
        let flushed = self
            .shared
            .options
            .cancel
            .check()
            .map_err(RepoError::from)
            .and_then(|()| self.shared.packer.flush());
        if Arc::strong_count(&self.shared) > 1 {
            return Err(RepoError::System("a hand still saves".to_owned()));
        }
        let stats = self.shared.stats();
        self.end().and(flushed).map(|()| stats)
    }

    /// Let the saving threads do what they have, and end.
    fn join(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                let error = RepoError::System("a saving thread stopped unexpectedly".to_owned());
                self.shared.failure.set(error);
            }
        }
    }

    /// Let the storing threads end, and index what they stored.
    fn end(&mut self) -> Result<()> {
        let Some(uploads) = self.uploads.take() else { return Ok(()) };
        self.shared.packer.end();
        uploads.finish().map(drop)
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        if self.uploads.is_some() {
            self.shared.failure.set(RepoError::System("the pipeline was given up".to_owned()));
            self.join();
            drop(self.end());
        }
    }
}

fn run_jobs(hand: &mut Hand, work: &Receiver<Job>, give_back: &Sender<Vec<u8>>) {
    be_polite();
    let mut jobs = vec![];
    while let Ok(first) = work.recv() {
        jobs.push(first);
        jobs.extend(work.try_iter().take(TOGETHER - 1));
        name(&mut jobs);
        for Job { mut bytes, name, content, position } in jobs.drain(..) {
            let id = name.unwrap_or_else(|| id_of(&bytes));
            content.fill(position, hand.save_as(BlobKind::Data, id, &bytes).map(|saved| saved.id));
            bytes.clear();
            if bytes.capacity() <= SPARE_LEN_MAX {
                drop(give_back.try_send(bytes));
            }
        }
    }
}

/// Hash together what has no name yet.
fn name(jobs: &mut [Job]) {
    let mut nameless: Vec<_> = jobs.iter_mut().filter(|job| job.name.is_none()).collect();
    let mut names = vec![None; nameless.len()];
    sha256::digests(nameless.iter().map(|job| &job.bytes[..]), |at, name| names[at] = Some(name));
    nameless.iter_mut().zip(names).for_each(|(job, name)| job.name = name);
}

impl Shared {
    fn check(&self) -> Result<()> {
        self.options.cancel.check()?;
        self.failure.check()
    }

    /// Whether a blob is there already, as far as is known.
    fn has(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        Ok(self.index.find(kind, id)?.is_some_and(|place| self.trusts(&place)))
    }

    fn trusts(&self, place: &Place) -> bool {
        !self.has_unsound.load(Ordering::SeqCst) || !lock(&self.unsound).contains(&place.pack)
    }

    fn stats(&self) -> SaveStats {
        SaveStats {
            data_blobs: self.data_blobs.load(Ordering::SeqCst),
            tree_blobs: self.tree_blobs.load(Ordering::SeqCst),
            added: self.added.load(Ordering::SeqCst),
            stored: self.stored.load(Ordering::SeqCst),
        }
    }
}

/// Saves blobs on the thread that holds it, with compressor and buffers of its own.
pub struct Hand {
    shared: Arc<Shared>,
    compressor: Compressor,
    sealed: Vec<u8>,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Its name.
    pub id: BlobId,
    /// Whether it was not there before.
    pub is_new: bool,
}

impl Hand {
    fn new(shared: &Arc<Shared>) -> Result<Self> {
        let compressor = Compressor::new(shared.options.level)?;
        Ok(Self { shared: Arc::clone(shared), compressor, sealed: vec![] })
    }

    /// Save `plain`, unless the repository has it.
    ///
    /// # Errors
    /// When the pipeline has failed or is cancelled.
    pub fn save(&mut self, kind: BlobKind, plain: &[u8]) -> Result<Saved> {
        self.save_as(kind, id_of(plain), plain)
    }

    fn save_as(&mut self, kind: BlobKind, id: BlobId, plain: &[u8]) -> Result<Saved> {
        self.shared.check()?;
        if plain.len() > PLAIN_LEN_MAX {
            return Err(RepoError::TooLong { bytes: plain.len() as u64, bytes_max: PLAIN_LEN_MAX as u64 });
        }
        if self.shared.has(kind, &id)? || !self.shared.claims.claim(kind, &id) {
            return Ok(Saved { id, is_new: false });
        }
        let stored = self.store(kind, id, plain).inspect_err(|error| {
            // Others rely on this blob from now on, so nobody may finish without it.
            self.shared.failure.set(RepoError::System(error.to_string()));
        })?;
        let blobs = if kind == BlobKind::Data { &self.shared.data_blobs } else { &self.shared.tree_blobs };
        blobs.fetch_add(1, Ordering::Relaxed);
        self.shared.added.fetch_add(plain.len() as u64, Ordering::Relaxed);
        self.shared.stored.fetch_add(stored, Ordering::Relaxed);
        Ok(Saved { id, is_new: true })
    }

    fn store(&mut self, kind: BlobKind, id: BlobId, plain: &[u8]) -> Result<u64> {
        let shared = &self.shared;
        let compressed = match shared.repository.config().has_compression() {
            true => self.compressor.shorter(plain),
            false => None,
        };
        self.sealed.clear();
        shared.repository.sealer().seal(compressed.unwrap_or(plain), &mut self.sealed)?;
        let raw_length = compressed.map(|_| plain.len() as u32);
        let length = self.sealed.len() as u32;
        shared.packer.add(PackedBlob { id, kind, offset: 0, length, raw_length }, &self.sealed)?;
        Ok(length.into())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::PACK_LEN;
    use crate::lease::{Identity, Lease};
    use crate::repository::FileKind;
    use crate::testing;

    /// Pieces without any order, so many that a pack is full.
    fn pieces() -> Vec<Vec<u8>> {
        let mut state = 7u64;
        let mut step = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        };
        (0..PACK_LEN / (1 << 20) + 2).map(|_| (0..1 << 20).map(|_| step()).collect()).collect()
    }

    #[test]
    fn what_a_given_up_pipeline_has_stored_is_indexed_and_not_sent_again() {
        let repository = testing::repository();
        let start =
            |index: Index| Saver::start(&repository, &Arc::new(index), SaveOptions::default()).unwrap();
        let pieces = pieces();
        let saver = start(Index::default());
        let content = Content::new();
        pieces.iter().for_each(|piece| saver.submit(piece.clone(), None, &content).unwrap());
        // Every piece is saved, and then the source fails.
        let ids = content.wait().unwrap();
        drop(saver);
        let index = repository.load_index().unwrap();
        let known = ids.iter().filter(|id| index.has(BlobKind::Data, id).unwrap()).count();
        let in_packs = repository.budget().pack_len(0) >> 20;
        assert!((in_packs..pieces.len()).contains(&known), "{known}: all but the open pack");
        let indexed: usize =
            repository.load_index_files().unwrap().iter().map(|(_, packs)| packs.len()).sum();
        assert_eq!(repository.list(FileKind::Pack).unwrap().len(), indexed);
        let saver = start(index);
        let mut hand = saver.hand().unwrap();
        let new = pieces.iter().filter(|piece| hand.save(BlobKind::Data, piece).unwrap().is_new).count();
        assert_eq!(new, pieces.len() - known);
        drop(hand);
        saver.finish().unwrap();
    }

    #[test]
    fn a_hand_that_outlives_its_pipeline_saves_nothing_more_and_blocks_nobody() {
        let repository = testing::repository();
        let index = Arc::new(Index::default());
        let saver = Saver::start(&repository, &index, SaveOptions::default()).unwrap();
        let mut hand = saver.hand().unwrap();
        hand.save(BlobKind::Data, b"one").unwrap();
        drop(saver);
        assert!(hand.save(BlobKind::Data, b"two").is_err());
        let saver = Saver::start(&repository, &index, SaveOptions::default()).unwrap();
        let hand = saver.hand().unwrap();
        assert!(saver.finish().unwrap_err().to_string().contains("a hand still saves"));
        drop(hand);
    }

    /// A sleep between the last pack and its index file; seed 559 of the world found it.
    #[test]
    fn who_was_taken_for_dead_names_no_pack_in_an_index() {
        let repository = testing::repository();
        let me = Identity {
            hostname: "here".into(),
            username: "u".into(),
            uid: 1,
            gid: 1,
            pid: std::process::id(),
        };
        for is_given_up in [false, true] {
            let lease = Lease::shared(&repository, "one", &me).unwrap().unwrap();
            let options = SaveOptions { guard: lease.guard(), ..SaveOptions::default() };
            let saver = Saver::start(&repository, &Arc::default(), options).unwrap();
            let content = Content::new();
            pieces().into_iter().for_each(|piece| saver.submit(piece, None, &content).unwrap());
            content.wait().unwrap();
            // Prune takes the lease of a dead one away before it takes a pack.
            repository.delete_note("lease/one/0").unwrap();
            match is_given_up {
                true => drop(saver),
                false => assert!(matches!(saver.finish(), Err(RepoError::LeaseLost { .. }))),
            }
            assert!(!repository.list(FileKind::Pack).unwrap().is_empty(), "it is stored");
            assert!(repository.list(FileKind::Index).unwrap().is_empty(), "and may be gone the next moment");
        }
    }
}
