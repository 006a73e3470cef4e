//! What every part of a far directory shares: its connections, its patience, and from errors of the wire to those of files.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use files::error::Error;
use files::relative::RelativePath;
use store::retry::Retry;
use store::{Refusal, StoreError};

use super::pool::Pool;
use super::talk::{Talk, is_broken};
use crate::sftp::store_error;

/// A question over which the connection breaks so often is to blame itself: the next one may do.
const BREAKS_MAX: u32 = 5;

/// A directory on a server.
pub(super) struct Far {
    pub(super) pool: Pool,
    pub(super) retry: Retry,
    /// The address, without a password.
    pub(super) name: String,
    /// The directory on the server, absolute, without a slash at its end; empty for the root.
    pub(super) root: Vec<u8>,
}

/// The server's certificate is not believed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotBelieved(pub(super) String);

/// The server wants a password, and nobody gave one.
#[derive(Debug, thiserror::Error)]
#[error("{0} needs a password")]
pub(super) struct NoPassword(pub(super) String);

/// What an error of the wire means.
pub(super) fn explain(action: &'static str, key: &str, place: &str, cause: io::Error) -> StoreError {
    let inner = cause.get_ref();
    let not_believed = inner.and_then(|inner| inner.downcast_ref::<NotBelieved>());
    let no_password = inner.and_then(|inner| inner.downcast_ref::<NoPassword>());
    let why = match (not_believed, no_password) {
        (Some(words), _) => Refusal::Untrusted(words.to_string()),
        (_, Some(words)) => Refusal::NoCredentials(words.to_string()),
        _ => return store_error(action, key, place, cause),
    };
    StoreError::Refused { action, key: key.to_owned(), place: place.to_owned(), why }
}

/// An error of a question.
pub(super) enum Trouble {
    /// About what was asked for.
    This(io::Error),
    /// The server is not to be had any more.
    Lost(StoreError),
}

impl Far {
    /// What is at `path` on the server.
    pub(super) fn at(&self, path: &RelativePath) -> Vec<u8> {
        match (path.is_root(), self.root.is_empty()) {
            (true, true) => b"/".to_vec(),
            (true, false) => self.root.clone(),
            _ => [&self.root[..], b"/", path.as_bytes()].concat(),
        }
    }

    /// What is at `path`, as messages call it.
    pub(super) fn full(&self, path: &RelativePath) -> PathBuf {
        let place = PathBuf::from(&self.name);
        if path.is_root() { place } else { place.join(path.as_path()) }
    }

    /// Ask on some connection, and on others where it breaks; returns the connection, too.
    pub(super) fn begin<T>(
        &self,
        action: &'static str,
        path: &RelativePath,
        mut ask: impl FnMut(&mut dyn Talk) -> io::Result<T>,
    ) -> Result<(T, Box<dyn Talk>), Trouble> {
        let mut breaks = 0;
        let outcome = self.retry.persist(|| {
            let fail = |cause| explain(action, &path.to_string(), &self.name, cause);
            let mut talk = self.pool.borrow().map_err(fail)?;
            match ask(&mut *talk) {
                Ok(answer) => Ok(Ok((answer, talk))),
                Err(error) if is_broken(&error) => {
                    self.pool.give_up(talk);
                    breaks += 1;
                    if breaks < BREAKS_MAX {
                        return Err(StoreError::Io {
                            action,
                            key: path.to_string(),
                            place: self.name.clone(),
                            cause: error,
                        });
                    }
                    Ok(Err(io::Error::other(format!("the connection broke {breaks} times over it: {error}"))))
                }
                Err(error) => {
                    self.pool.give_back(talk);
                    Ok(Err(error))
                }
            }
        });
        outcome.map_err(Trouble::Lost)?.map_err(Trouble::This)
    }

    /// The same, where nothing more is asked of that connection.
    pub(super) fn ask<T>(
        &self,
        action: &'static str,
        path: &RelativePath,
        ask: impl FnMut(&mut dyn Talk) -> io::Result<T>,
    ) -> Result<T, Trouble> {
        let (answer, talk) = self.begin(action, path, ask)?;
        self.pool.give_back(talk);
        Ok(answer)
    }

    /// The error of files for one of the wire.
    pub(super) fn error(&self, action: &'static str, path: &RelativePath, trouble: Trouble) -> Error {
        let full = self.full(path);
        match trouble {
            Trouble::Lost(error) => Error::Lost { place: self.name.clone(), source: io::Error::other(error) },
            Trouble::This(error) => match error.kind() {
                ErrorKind::NotFound => Error::Vanished { path: full },
                ErrorKind::IsADirectory => Error::Replaced { path: full },
                _ => Error::io(action, full, error),
            },
        }
    }
}
