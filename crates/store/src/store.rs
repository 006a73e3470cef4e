//! The boundary to every place that keeps objects.
//!
//! Invariants that each implementation must keep, and that `conformance` proves: an object is there whole or not
//! at all; once `put_new` has returned it survives a crash of the machine; it is never overwritten; a listing is
//! complete or an error.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::SystemTime;

pub use bytes::Bytes;

use crate::key::Key;

/// Which bytes of an object to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// All of them.
    All,
    /// `len` bytes from `offset`; an object that is shorter is an error.
    Bytes {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

/// How often a pack will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Every day: it is of trees.
    Often,
    /// By a restore.
    Seldom,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the clock of the store.
    pub modified: SystemTime,
}

/// Why a store says no, named by what has to be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was found to sign requests with.
    #[error("no credentials: {0}")]
    NoCredentials(String),
    /// The store does not know the name that we use.
    #[error("the store does not know these credentials ({0})")]
    UnknownCredentials(String),
    /// The name is known, the secret is not its own.
    #[error("the secret does not belong to the access key")]
    WrongSecret,
    /// Temporary credentials that are no longer valid.
    #[error("the credentials have expired")]
    Expired,
    /// Known, and without the right to do this.
    #[error("permission denied ({0})")]
    Denied(String),
    /// There is no such bucket or container.
    #[error("there is no such bucket or container")]
    NoBucket,
    /// The bucket is in another region.
    #[error("the bucket is in another region{}", .0.as_deref().map(|region| format!(": {region}")).unwrap_or_default())]
    WrongRegion(Option<String>),
    /// Our clock and the store's are too far apart for signatures.
    #[error("the clocks of this machine and of the store differ too much")]
    Clock,
    /// Who answers cannot prove who it is.
    #[error("the server's identity is not proved: {0}")]
    Untrusted(String),
    /// It lies in an archive class, and can be read some hours after it was asked for.
    #[error("it is in an archive class and not warm")]
    Archived,
    /// A server with SSH shows a host key of which nothing is known.
    #[error("{0}")]
    UnknownHostKey(String),
    /// It shows another host key than it should, or one that was revoked.
    #[error("{0}")]
    WrongHostKey(String),
    /// It takes none of our keys.
    #[error("{0}")]
    NoLogin(String),
    /// It is read as it was, and the past does not change.
    #[error("it is read as it was then, and nothing can be written or deleted there")]
    Past,
    /// It was to be read as it was, and keeps no versions.
    #[error("the bucket keeps no versions, so nobody knows what was in it")]
    NoVersions,
    /// Full, or over a quota.
    #[error("the store is full: {0}")]
    Full(String),
    /// Another no, in the store's own words.
    #[error("{0}")]
    Other(String),
}

/// What went wrong, named by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{key} does not exist in {place}")]
    NotFound {
        /// Which object.
        key: String,
        /// Which store.
        place: String,
    },
    /// `put_new` found an object of that name; it was left alone.
    #[error("{key} already exists in {place}")]
    AlreadyExists {
        /// Which object.
        key: String,
        /// Which store.
        place: String,
    },
    /// The object ends before the range does.
    #[error("{key} in {place} is shorter than expected")]
    Short {
        /// Which object.
        key: String,
        /// Which store.
        place: String,
    },
    /// Anything else: full, read-only, unreachable, broken.
    #[error("{action} {key} in {place}: {cause}")]
    Io {
        /// `write`, `read`, `list` or `delete`.
        action: &'static str,
        /// Which object or prefix.
        key: String,
        /// Which store.
        place: String,
        /// The system's words; their kind tells whether it is worth trying again.
        cause: std::io::Error,
    },
    /// The store understood and said no; trying again changes nothing until somebody does something about it.
    #[error("{action} {key} in {place}: {why}")]
    Refused {
        /// `write`, `read`, `list` or `delete`.
        action: &'static str,
        /// Which object or prefix.
        key: String,
        /// Which store.
        place: String,
        /// What is to be mended.
        why: Refusal,
    },
    /// The store broke its own protocol: other bytes than asked for, a listing without its end.
    #[error("{action} {key} in {place}: wrong answer of the store: {what}")]
    Wrong {
        /// `write`, `read`, `list` or `delete`.
        action: &'static str,
        /// Which object or prefix.
        key: String,
        /// Which store.
        place: String,
        /// How it was wrong.
        what: String,
    },
    /// An address that names no place this build can open.
    #[error("{url:?}: {reason}")]
    BadUrl {
        /// As given.
        url: String,
        /// Why not.
        reason: String,
    },
}

impl StoreError {
    /// Whether the object was simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether an object of that name was there before.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. })
    }

    /// Whether the same call may succeed a little later: the connection broke, nobody answered in time, or the
    /// store asked to be left in peace for a while ([`ErrorKind::ResourceBusy`]). Whether it took effect is open.
    pub fn is_transient(&self) -> bool {
        use ErrorKind::*;
        let Self::Io { cause, .. } = self else { return false };
        matches!(
            cause.kind(),
            ConnectionRefused
                | ConnectionReset
                | ConnectionAborted
                | NotConnected
                | BrokenPipe
                | HostUnreachable
                | NetworkUnreachable
                | NetworkDown
                | TimedOut
                | Interrupted
                | WouldBlock
                | ResourceBusy
        )
    }
}

/// A place that keeps objects.
pub trait Store: Send + Sync {
    /// Keep `content` under `key`, durably, unless an object of that name exists.
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError>;

    /// Replace `into` by the bytes of `range`.
    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError>;

    /// Every object whose key begins with the folder `prefix` (no `/` at its end), in no order.
    /// Any error fails the listing as a whole.
    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError>;

    /// Remove an object; one that is not there is no error.
    fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// The address, without secrets, as people and records see it.
    fn location(&self) -> String;

    /// Requests that are worth having under way at one time: a store far away answers each after tens of milliseconds.
    fn lanes(&self) -> usize {
        2
    }

    /// As [`Store::put_new`], for a pack, whose bytes are shared: a store on a wire sends them without a copy. Only a store of
    /// several tiers, and one that remembers, make a difference of how often it will be read.
    fn put_pack(&self, key: &Key, content: &Bytes, _reads: Reads) -> Result<(), StoreError> {
        self.put_new(key, content)
    }

    /// As [`Store::get`], from a pack that is read [`Reads::Often`]: what lies beside this range will be
    /// wanted too. Only a store that remembers makes a difference.
    fn get_often_read(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.get(key, range, into)
    }

    /// As [`Store::get`], from where it would be lost: no copy answers. Only a store of several tiers makes a difference.
    fn get_original(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.get(key, range, into)
    }

    /// Whether packs of data may lie where reading them takes hours and costs money, while all else is at hand.
    fn has_cold_packs(&self) -> bool {
        false
    }
}

/// Shared and boxed stores are stores, so that wrappers fit around each of them.
macro_rules! passed_on {
    ($pointer:ident) => {
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
                (**self).put_new(key, content)
            }
            fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
                (**self).get(key, range, into)
            }
            fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
                (**self).list(prefix)
            }
            fn delete(&self, key: &Key) -> Result<(), StoreError> {
                (**self).delete(key)
            }
            fn location(&self) -> String {
                (**self).location()
            }
            fn lanes(&self) -> usize {
                (**self).lanes()
            }
            fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
                (**self).put_pack(key, content, reads)
            }
            fn get_often_read(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
                (**self).get_often_read(key, range, into)
            }
            fn get_original(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
                (**self).get_original(key, range, into)
            }
            fn has_cold_packs(&self) -> bool {
                (**self).has_cold_packs()
            }
        }
    };
}

passed_on!(Arc);
passed_on!(Box);

/// The whole object.
pub fn read(store: &dyn Store, key: &Key) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    store.get(key, Range::All, &mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_transient() {
        let error = |kind: ErrorKind| StoreError::Io {
            action: "read",
            key: "config".into(),
            place: "memory".into(),
            cause: kind.into(),
        };
        for kind in [ErrorKind::TimedOut, ErrorKind::ConnectionReset, ErrorKind::ResourceBusy] {
            assert!(error(kind).is_transient(), "{kind}");
        }
        for kind in [ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::Other] {
            assert!(!error(kind).is_transient(), "{kind}");
        }
        assert!(!StoreError::NotFound { key: "config".into(), place: "memory".into() }.is_transient());
    }
}
