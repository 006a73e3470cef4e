//! Sealed blobs become packs, packs become objects, objects become index files.
//!
//! Invariant: an index file names only packs whose `put` has returned. Memory: two open packs, and as many on their way
//! as the budget allows; who adds a blob waits while all of them are busy, and so the source waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use model::digest::Digest;
use store::{Bytes, Reads};

use crate::blob::{self, BlobKind, PackedBlob};
use crate::error::{RepoError, Result};
use crate::index::{self, IndexedPack};
use crate::pack;
use crate::repository::{FileKind, Repository};
use crate::threads::be_polite;

/// Bytes at which packs of trees are closed: there are few, and they grow beside all others.
const TREE_PACK_LEN: usize = 4 << 20;
/// A blob must fit behind all others without the buffer growing.
const PACK_RESERVE: usize = 2 << 20;
/// Blobs at which an index file is written: its JSON and the sealed form stand in memory beside everything else.
const INDEX_BLOBS: usize = 16 << 10;
/// What a crash loses at most is what was stored since the last index file.
const INDEX_EVERY: Duration = Duration::from_secs(60);

/// The first error of a pipeline; everybody else stops when there is one.
#[derive(Debug, Default)]
pub struct Failure {
    happened: AtomicBool,
    error: Mutex<Option<RepoError>>,
}

impl Failure {
    /// Keep `error` if it is the first.
    pub fn set(&self, error: RepoError) {
        lock(&self.error).get_or_insert(error);
        self.happened.store(true, Ordering::SeqCst);
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// A stand-in; the true error comes out of `finish`.
    pub fn check(&self) -> Result<()> {
        match self.happened.load(Ordering::Relaxed) {
            true => Err(RepoError::System("the backup stopped because of an earlier error".to_owned())),
            false => Ok(()),
        }
    }

    /// The first error, if there was one.
    pub fn take(&self) -> Option<RepoError> {
        lock(&self.error).take()
    }
}

/// Asked before something is written that others rely on, like an index file: whether who writes is still trusted.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<dyn Fn() -> Result<()> + Send + Sync>>);

impl Guard {
    /// One that asks.
    pub fn new(ask: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// What whoever is asked says; nothing where nobody is.
    pub fn ask(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |ask| ask())
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(if self.0.is_some() { "Guard(some)" } else { "Guard(none)" })
    }
}

#[derive(Default)]
struct OpenPack {
    bytes: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

#[derive(Default)]
struct IndexBatch {
    packs: Vec<IndexedPack>,
    blobs: usize,
    since: Option<Instant>,
}

/// Gathers sealed blobs; shared by all threads of a pipeline.
pub struct Packer {
    data: Mutex<OpenPack>,
    trees: Mutex<OpenPack>,
    full: Sender<Option<OpenPack>>,
    spare: Receiver<Vec<u8>>,
    pack_len: usize,
    failure: Arc<Failure>,
}

/// The threads behind a packer; they end when it says so, or is gone.
pub struct Uploads {
    /// Each gives the packs that it stored.
    threads: Vec<JoinHandle<Vec<Digest>>>,
    batch: Arc<Mutex<IndexBatch>>,
    repository: Arc<Repository>,
    failure: Arc<Failure>,
    guard: Guard,
}

impl Packer {
    /// A packer and the threads that store what it gathers, in packs of this length.
    pub fn start(
        repository: &Arc<Repository>,
        pack_len: usize,
        failure: &Arc<Failure>,
        guard: &Guard,
    ) -> (Self, Uploads) {
        let uploads = repository.budget().uploads(pack_len, repository.store().lanes());
        let (full, to_store) = bounded::<Option<OpenPack>>(0);
        // One is filled while the others are stored.
        let (give_back, spare) = bounded(uploads + 1);
        let batch = Arc::new(Mutex::new(IndexBatch::default()));
        let thread = |_| {
            let (repository, failure, batch) =
                (Arc::clone(repository), Arc::clone(failure), Arc::clone(&batch));
            let (to_store, give_back, guard) = (to_store.clone(), give_back.clone(), guard.clone());
            std::thread::spawn(move || {
                be_polite();
                let mut stored = vec![];
                while let Ok(Some(mut pack)) = to_store.recv() {
                    match store_pack(&repository, &mut pack, &batch, &guard) {
                        Ok(id) => stored.push(id),
                        Err(error) => failure.set(error),
                    }
                    if pack.bytes.capacity() >= pack_len {
                        drop(give_back.try_send(pack.bytes));
                    }
                }
                stored
            })
        };
        let threads = (0..uploads).map(thread).collect();
        let (repository, guard) = (Arc::clone(repository), guard.clone());
        let uploads = Uploads { threads, batch, repository, failure: Arc::clone(failure), guard };
        let (data, trees) = Default::default();
        (Self { data, trees, full, spare, pack_len, failure: Arc::clone(failure) }, uploads)
    }

    /// Put a sealed blob into the open pack of its kind; `blob.offset` is set here.
    ///
    /// # Errors
    /// When the pipeline has failed.
    pub fn add(&self, mut blob: PackedBlob, sealed: &[u8]) -> Result<()> {
        self.failure.check()?;
        let mut open = lock(if blob.kind == BlobKind::Data { &self.data } else { &self.trees });
        blob.offset = open.bytes.len() as u32;
        if blob.kind == BlobKind::Data {
            if open.bytes.capacity() == 0 {
                open.bytes = self.spare.try_recv().unwrap_or_default();
            }
            let missing = (self.pack_len + PACK_RESERVE).saturating_sub(open.bytes.len());
            open.bytes.reserve_exact(missing.max(sealed.len()));
        }
        open.bytes.extend_from_slice(sealed);
        open.blobs.push(blob);
        let len_max =
            if blob.kind == BlobKind::Data { self.pack_len } else { TREE_PACK_LEN.min(self.pack_len) };
        if open.bytes.len() >= len_max || open.blobs.len() >= pack::BLOBS_MAX {
            self.send(std::mem::take(&mut open))?;
        }
        Ok(())
    }

    /// Close the open packs, whatever their length.
    ///
    /// # Errors
    /// When the pipeline has failed.
    pub fn flush(&self) -> Result<()> {
        for open in [&self.data, &self.trees] {
            let pack = std::mem::take(&mut *lock(open));
            if !pack.blobs.is_empty() {
                self.send(pack)?;
            }
        }
        Ok(())
    }

    /// No pack comes any more: the storing threads end.
    pub fn end(&self) {
        // Each takes one word and goes; when nobody is left to take it, all have gone.
        while self.full.send(None).is_ok() {}
    }

    fn send(&self, pack: OpenPack) -> Result<()> {
        // Sent while the lock is held: whoever adds next waits here too, which is the back-pressure.
        self.full.send(Some(pack)).map_err(|_| RepoError::System("the storing threads are gone".to_owned()))
    }
}

impl Uploads {
    /// Wait until everything is stored, and write what no index file names yet. The packer must have ended, or be
    /// dropped, before. Returns the packs that were stored.
    ///
    /// # Errors
    /// The first error of the pipeline.
    pub fn finish(self) -> Result<Vec<Digest>> {
        let mut stored = vec![];
        for thread in self.threads {
            match thread.join() {
                Ok(packs) => stored.extend(packs),
                Err(_) => {
                    let words = "a storing thread stopped unexpectedly";
                    self.failure.set(RepoError::System(words.to_owned()));
                }
            }
        }
        let indexed = write_index(&self.repository, std::mem::take(&mut *lock(&self.batch)), &self.guard);
        // Also after a failure: what is stored need not be sent again by the next run.
        self.failure.take().map_or(indexed, Err).map(|()| stored)
    }
}

fn store_pack(
    repository: &Repository,
    pack: &mut OpenPack,
    batch: &Mutex<IndexBatch>,
    guard: &Guard,
) -> Result<Digest> {
    pack::finish(&mut pack.bytes, &pack.blobs, repository.sealer())?;
    let id = blob::id_of(&pack.bytes);
    let is_of_trees = pack.blobs.first().is_some_and(|blob| blob.kind == BlobKind::Tree);
    let reads = if is_of_trees { Reads::Often } else { Reads::Seldom };
    let content = Bytes::from(std::mem::take(&mut pack.bytes));
    let stored = repository.store().put_pack(&FileKind::Pack.object(&id), &content, reads);
    // Where a connection that broke still has it, it is gone with that.
    if content.is_unique() {
        pack.bytes = content.into();
        pack.bytes.clear();
    }
    match stored {
        Err(error) if !error.is_already_exists() => return Err(error.into()),
        _ => {}
    }
    let full = {
        let mut batch = lock(batch);
        let since = *batch.since.get_or_insert_with(Instant::now);
        batch.blobs += pack.blobs.len();
        batch.packs.push(IndexedPack { id, blobs: std::mem::take(&mut pack.blobs) });
        let is_due = batch.blobs >= INDEX_BLOBS || since.elapsed() >= INDEX_EVERY;
        is_due.then(|| std::mem::take(&mut *batch))
    };
    full.map_or(Ok(()), |batch| write_index(repository, batch, guard)).map(|()| id)
}

fn write_index(repository: &Repository, batch: IndexBatch, guard: &Guard) -> Result<()> {
    if batch.packs.is_empty() {
        return Ok(());
    }
    guard.ask()?;
    repository.save_file(FileKind::Index, &index::encode_file(&batch.packs)).map(|_| ())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
