//! Tokens that keepers gave, in memory for as long as they hold: a run every hour logs in when it must, not every time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::secret::Secret;
use sha2::{Digest, Sha256};

use crate::keeper_error::KeeperError;

/// A token is given up before its end: what it is used for takes time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);
/// Of one that does not hold for long, this part.
const MARGIN_PART: u32 = 4;

/// Whom a token is of: a hash over the keeper, its address and the credentials. Other credentials never get it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Holder([u8; 32]);

impl Holder {
    /// Of `parts`.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// A token as it was given.
pub(crate) struct Token {
    pub(crate) secret: Secret,
    /// From now; zero where it does not end.
    pub(crate) holds_for: Duration,
}

/// The tokens of a process.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<Holder, (Secret, Option<Instant>)>>);

/// What became of a question with a token.
pub(crate) enum Outcome<T> {
    /// Done.
    Done(T),
    /// The token is not, or no longer, good for this; the error if a new one is not either.
    Denied(KeeperError),
}

impl Tokens {
    /// Ask with the token of `holder`, after `login` where there is none. One that was kept and is refused is replaced, once.
    pub(crate) fn with<T>(
        &self,
        holder: Holder,
        login: &dyn Fn() -> Result<Token, KeeperError>,
        ask: &dyn Fn(&Secret) -> Result<Outcome<T>, KeeperError>,
    ) -> Result<T, KeeperError> {
        if let Some(kept) = self.kept(holder) {
            if let Outcome::Done(done) = ask(&kept)? {
                return Ok(done);
            }
            self.lock().remove(&holder);
        }
        let token = login()?;
        let until = (!token.holds_for.is_zero())
            .then(|| Instant::now() + (token.holds_for - MARGIN.min(token.holds_for / MARGIN_PART)));
        self.lock().insert(holder, (token.secret.clone(), until));
        match ask(&token.secret)? {
            Outcome::Done(done) => Ok(done),
            Outcome::Denied(error) => Err(error),
        }
    }

    fn kept(&self, holder: Holder) -> Option<Secret> {
        let mut tokens = self.lock();
        tokens.retain(|_, (_, until)| until.is_none_or(|until| Instant::now() < until));
        tokens.get(&holder).map(|(secret, _)| secret.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Holder, (Secret, Option<Instant>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
