//! The locks in a bucket: whether they hold, until when, and until a later day.

use std::time::SystemTime;

use model::cancel::CancelToken;
use model::progress::Progress;
use remote::canary::Canary;
use remote::locker::{Hidden, Locker, Stored};
use repo::threads::map_waiting;
use store::meter::PAGE_LEN;
use store::retry::Retry;

use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};

/// A bucket gets Object Lock when it is made, on most stores.
///
/// # Errors
/// Where it has none.
pub(crate) fn refuse_without(url: &str, environment: &Environment) -> Result<()> {
    match environment.wire().protection(url)?.can_lock {
        Some(false) => Err(CliError::usage(format!("the bucket of {url} was made without Object Lock"))
            .hint("make a bucket with Object Lock, or do without locks (docs: how-to/survive-a-stolen-key)")),
        _ => Ok(()),
    }
}

/// In words: one held.
pub(crate) const HELD: &str =
    "a lock in COMPLIANCE mode held: its object was not deleted, nor its day made earlier";
/// In words: nobody knows.
pub(crate) const UNSEEN: &str = "whether locks hold cannot be seen with these credentials";
/// What to do about that.
pub(crate) const UNSEEN_ADVICE: &str =
    "run `mainstay doctor` once with credentials that may see them (s3:GetObjectRetention), as the locker's";

/// What is known of locks.
pub(crate) enum Known {
    /// The address asks for none.
    NotAsked,
    /// One held.
    Held,
    /// One was put on an object that could not be deleted, and these credentials may not see it.
    Unseen,
}

/// Try it out.
///
/// # Errors
/// Where the bucket cannot lock, or a lock could be broken.
pub(crate) fn verify(url: &str, environment: &Environment) -> Result<Known> {
    let wire = environment.wire();
    if !remote::lock::is_asked(url) {
        return Ok(Known::NotAsked);
    }
    refuse_without(url, environment)?;
    let broken = match wire.canary(url)? {
        None => return Ok(Known::NotAsked),
        Some(Canary::Held) => return Ok(Known::Held),
        Some(Canary::Unseen) => return Ok(Known::Unseen),
        Some(Canary::Unlocked) => "the store takes objects and no locks on them",
        Some(Canary::Shortened) => "a lock in COMPLIANCE mode could be shortened",
        Some(Canary::Deleted) => "a locked object could be deleted",
    };
    Err(CliError::new(Kind::Failed, format!("{broken} in {url}"))
        .hint("do not rely on locks in this store; a second place that this machine cannot delete from is another way"))
}

/// A version, and until when it is locked.
pub(crate) type Asked = (Stored, Option<SystemTime>);

/// What is asked of the bucket, many calls at a time, each tried again where that can help.
pub(crate) struct Locks<'a> {
    locker: Locker,
    retry: Retry,
    progress: &'a Progress,
    cancel: &'a CancelToken,
}

impl<'a> Locks<'a> {
    /// Those in the bucket of `url`; nothing is asked yet.
    ///
    /// # Errors
    /// Where it is no S3.
    pub(crate) fn of(
        url: &str,
        environment: &Environment,
        progress: &'a Progress,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        let wire = environment.wire();
        Ok(Self { locker: wire.locker(url)?, retry: wire.retry(), progress, cancel })
    }

    /// The address, as people see it.
    pub(crate) fn location(&self) -> String {
        self.locker.location()
    }

    /// Every version in `folders`, and how many pages that took.
    pub(crate) fn versions(&self, folders: &[&str]) -> Result<(Vec<Stored>, u64)> {
        let (mut found, mut pages) = (vec![], 0);
        for folder in folders {
            let listed = self.retry.persist(|| self.locker.versions(folder))?;
            pages += (listed.len() as u64).div_ceil(PAGE_LEN).max(1);
            found.extend(listed);
        }
        Ok((found, pages))
    }

    /// Every name in `folder` that somebody deleted, and how many pages that took at least.
    pub(crate) fn hidden(&self, folder: &str) -> Result<(Vec<Hidden>, u64)> {
        let hidden = self.retry.persist(|| self.locker.hidden(folder))?;
        let pages = (hidden.len() as u64).div_ceil(PAGE_LEN).max(1);
        Ok((hidden, pages))
    }

    /// Until when each is locked. One that does not tell keeps no other from being told.
    pub(crate) fn ask_until(&self, stored: &[Stored]) -> Result<Vec<Result<Asked>>> {
        self.progress.begin("asking for locks", 0);
        let ask = |stored: &Stored| self.each(|| Ok((stored.clone(), self.locker.locked_until(stored)?)));
        let asked = map_waiting(stored, ask)?;
        self.cancel.check().map_err(engine::EngineError::from)?;
        Ok(asked)
    }

    /// Lock each of them, as far as that goes: what kept some from being locked. One that is gone meanwhile needs none.
    pub(crate) fn extend(&self, stored: &[Stored], until: SystemTime) -> Result<Vec<CliError>> {
        self.progress.begin("extending locks", 0);
        let lock = |stored: &Stored| match self.locker.lock_until(stored, until) {
            Err(error) if error.is_not_found() => Ok(()),
            done => done,
        };
        let done = map_waiting(stored, |stored| self.each(|| lock(stored)))?;
        self.cancel.check().map_err(engine::EngineError::from)?;
        Ok(done.into_iter().filter_map(Result::err).collect())
    }

    fn each<T>(&self, call: impl FnMut() -> Result<T, store::StoreError>) -> Result<T> {
        self.cancel.check().map_err(engine::EngineError::from)?;
        let done = self.retry.persist(call)?;
        self.progress.item();
        Ok(done)
    }
}
