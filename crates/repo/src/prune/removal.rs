//! Taking objects away, many at a time.
//!
//! Invariant: nobody begins another one after somebody failed, was asked to stop, or doubts the lease; whatever is
//! left then is found again by the next run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;

use crate::error::{RepoError, Result};
use crate::lease::Lease;
use crate::repository::{FileKind, Repository};

/// Requests at one time: deleting waits for the store, not for our cores.
const AT_ONE_TIME: usize = 16;

/// What deleting needs.
pub struct Removal<'a> {
    /// Where.
    pub repository: &'a Repository,
    /// By what right.
    pub lease: &'a Lease,
    /// How far it is.
    pub progress: &'a Progress,
    /// The wish to stop.
    pub cancel: &'a CancelToken,
}

impl Removal<'_> {
    /// Remove files of one kind; what is not there is fine.
    ///
    /// # Errors
    /// The first thing that failed.
    pub fn remove(&self, kind: FileKind, mut ids: Vec<Digest>) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        // Whoever took us for dead has taken our lease away, and may rely on all of these.
        self.lease.verify_kept()?;
        ids.sort_unstable();
        let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                if has_failed.load(Ordering::SeqCst) {
                    break;
                }
                self.remove_one(kind, id).inspect_err(|_| has_failed.store(true, Ordering::SeqCst))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONE_TIME.min(ids.len())).map(|_| scope.spawn(work)).collect();
            let ended = threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(RepoError::System("a deleting thread stopped".to_owned())))
            });
            // All are joined before the first error is told.
            ended.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn remove_one(&self, kind: FileKind, id: &Digest) -> Result<()> {
        self.cancel.check()?;
        self.lease.check()?;
        self.repository.store().delete(&kind.object(id))?;
        self.progress.item();
        Ok(())
    }
}
