//! A bucket that gets locked what has to stay: its PUTs carry headers that `object_store` cannot send.
//!
//! Invariant: an object that [`lock::is_for`] names is stored with its lock or not at all.

use std::time::SystemTime;

use reqwest::Method;
use store::{Bytes, Key, Object, Range, Reads, Store, StoreError};
use tokio::runtime::Runtime;

use crate::address::Address;
use crate::answer::Call;
use crate::cloud::{CloudStore, PACKS};
use crate::lock::{self, Term};
use crate::settings::Settings;
use crate::signed::{Request, Signed};
use crate::{runtime, s3};

/// Options of the address that other PUTs carry too, and their headers.
const ENCRYPTION: [(&str, &str); 2] =
    [("sse", "x-amz-server-side-encryption"), ("sse-kms-key", "x-amz-server-side-encryption-aws-kms-key-id")];

/// A bucket below a prefix.
pub(crate) struct LockedStore {
    inside: CloudStore,
    signed: Signed,
    /// Empty, or with a `/` at its end.
    prefix: String,
    term: Term,
    headers: Vec<(&'static str, String)>,
    pack_class: Option<String>,
    runtime: &'static Runtime,
}

/// Open a bucket in which objects are locked for a `term`.
///
/// # Errors
/// [`StoreError::BadUrl`] for settings that cannot be; nothing is asked of the server yet.
pub(crate) fn open(address: &Address, settings: &Settings, term: Term) -> Result<LockedStore, StoreError> {
    let bucket = s3::bucket(address, settings)?;
    let place = bucket.place.clone();
    let call = Call { action: "write", key: "config", place: &place };
    let runtime = runtime::start().map_err(|cause| call.io(cause.kind(), cause.to_string()))?;
    let option = |name| address.option(name, settings).map(str::to_owned);
    let headers = ENCRYPTION.iter().filter_map(|(name, header)| Some((*header, option(name)?)));
    Ok(LockedStore {
        inside: s3::open(address, settings)?,
        signed: Signed::new(bucket, call)?,
        prefix: if address.prefix.is_empty() { String::new() } else { format!("{}/", address.prefix) },
        term,
        headers: headers.collect(),
        pack_class: option("storage-class"),
        runtime,
    })
}

impl LockedStore {
    fn put_locked(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let call = Call { action: "write", key: key.as_str(), place: &self.signed.bucket.place };
        let mut headers = vec![("if-none-match", "*".to_owned())];
        headers.extend(self.term.headers(SystemTime::now()));
        headers.extend(self.headers.iter().cloned());
        let class = self.pack_class.iter().filter(|_| key.as_str().starts_with(PACKS));
        headers.extend(class.map(|class| ("x-amz-storage-class", class.clone())));
        let name = format!("{}{key}", self.prefix);
        let request = Request { method: Method::PUT, name: &name, query: &[], headers: &headers, body };
        self.runtime.block_on(self.signed.ask(request, call)).map(drop)
    }
}

impl Store for LockedStore {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        match lock::is_for(key) {
            true => self.put_locked(key, Bytes::copy_from_slice(content)),
            false => self.inside.put_new(key, content),
        }
    }

    fn put_pack(&self, key: &Key, content: &Bytes, _reads: Reads) -> Result<(), StoreError> {
        self.put_locked(key, content.clone())
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inside.get(key, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.inside.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inside.delete(key)
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }
}
