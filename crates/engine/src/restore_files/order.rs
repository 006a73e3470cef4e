//! What a restore of a directory is asked for, and what it tells.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use files::owner::Owners;
use files::relative::RelativePath;
use model::cancel::CancelToken;
use model::progress::Progress;

use crate::error::EngineError;

/// How to restore.
pub struct RestoreOrder<'a> {
    /// The directory that what was backed up goes into.
    pub place: PathBuf,
    /// Only these paths below the backed-up directory; all if there are none.
    pub only: Vec<RelativePath>,
    /// Write over what is there, and only where it differs.
    pub delta: bool,
    /// Remove what is there and was not backed up.
    pub delete: bool,
    /// Change nothing, and tell what would be done.
    pub dry_run: bool,
    /// Names of users and groups.
    pub owners: Arc<Owners>,
    /// Told of single things, while the restore goes on.
    pub tell: &'a (dyn Fn(&Notice) + Sync),
    /// How far it is.
    pub progress: Progress,
    /// The wish to stop.
    pub cancel: CancelToken,
}

/// One thing that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It was not restored, or not wholly: in words, with its name.
    Problem(String),
    /// Metadata that could not be restored, in words; once for each kind.
    Loss(String),
    /// Something else is there, and is written over.
    Overwrites(RelativePath),
    /// Was not backed up, and is removed.
    Deletes(RelativePath),
}

/// What was done, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files, links and the like that were made anew.
    pub created: u64,
    /// Those that were there with other contents, or as something else.
    pub overwritten: u64,
    /// Those that were there already.
    pub unchanged: u64,
    /// Directories and things that were removed because they were not backed up.
    pub deleted: u64,
    /// Sockets, which mean nothing without the process that made them, and are not made.
    pub sockets: u64,
    /// Bytes of the files that were to be there.
    pub bytes: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Files whose stored bytes are damaged or gone.
    pub damaged: u64,
    /// Other things that could not be restored.
    pub problems: u64,
}

/// The report while many threads write it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) created: AtomicU64,
    pub(super) overwritten: AtomicU64,
    pub(super) unchanged: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) sockets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) problems: AtomicU64,
}

impl Counts {
    pub(super) fn report(&self) -> RestoreReport {
        let value = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        RestoreReport {
            created: value(&self.created),
            overwritten: value(&self.overwritten),
            unchanged: value(&self.unchanged),
            deleted: value(&self.deleted),
            sockets: value(&self.sockets),
            bytes: value(&self.bytes),
            bytes_written: value(&self.bytes_written),
            damaged: value(&self.damaged),
            problems: value(&self.problems),
        }
    }

    /// Something about one path went wrong: told and counted, and the rest goes on, unless it will go wrong for all.
    ///
    /// # Errors
    /// The error itself where going on is of no use.
    pub(super) fn problem(
        &self,
        order: &RestoreOrder<'_>,
        path: &RelativePath,
        error: EngineError,
    ) -> Result<(), EngineError> {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        if error.is_cancelled() {
            return Err(error);
        }
        let words = match &error {
            EngineError::Files(cause) => {
                if matches!(cause.kind(), Some(StorageFull | QuotaExceeded | ReadOnlyFilesystem)) {
                    return Err(error);
                }
                match std::error::Error::source(cause) {
                    Some(source) => format!("{cause}: {source}"),
                    None => cause.to_string(),
                }
            }
            error => format!("{path}: {error}"),
        };
        let counter = if error.is_damage() || is_gone(&error) { &self.damaged } else { &self.problems };
        counter.fetch_add(1, Ordering::SeqCst);
        (order.tell)(&Notice::Problem(words));
        Ok(())
    }
}

/// A pack that the index names and the store does not have.
fn is_gone(error: &EngineError) -> bool {
    matches!(error, EngineError::Repository(repo::RepoError::Store(error)) if error.is_not_found())
}
