//! One store over the three kinds of object storage: blocking calls, exact answers, and no repeats of its own.
//!
//! Every object is one PUT with a condition: absent before. Whoever repeats calls (`store::retry`) has to know that
//! a PUT may have taken effect although its answer was lost; here such a PUT is a transient error and nothing more.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload,
};
use store::{Bytes, Key, Object, Range, Reads, Store, StoreError};
use tokio::runtime::Runtime;

use crate::answer::Call;
use crate::fault::explain;
use crate::runtime;

/// Objects below this folder are packs, which may lie in another storage class than what is read every day.
pub(crate) const PACKS: &str = "data/";

/// Requests at one time, where the memory allows: beyond this nearly every line is full.
const LANES: usize = 16;

/// What each of the three kinds can do.
pub(crate) trait Kind: ObjectStore + PaginatedListStore + MultipartStore {}
impl<T: ObjectStore + PaginatedListStore + MultipartStore> Kind for T {}

/// A bucket or container, below a prefix.
pub(crate) struct CloudStore {
    inside: Arc<dyn Kind>,
    prefix: String,
    place: String,
    /// Storage class of packs.
    pack_class: Option<String>,
    timeout: Duration,
    runtime: &'static Runtime,
}

impl CloudStore {
    /// `place` is what people see; `prefix` is empty or parts joined by `/`.
    ///
    /// # Errors
    /// Where the system gives no threads.
    pub(crate) fn new(
        inside: Arc<dyn Kind>,
        prefix: &str,
        place: String,
        pack_class: Option<String>,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let runtime = runtime::start().map_err(|cause| StoreError::Io {
            action: "read",
            key: "config".into(),
            place: place.clone(),
            cause,
        })?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { inside, prefix, place, pack_class, timeout, runtime })
    }

    fn call<'a>(&'a self, action: &'static str, key: &'a str) -> Call<'a> {
        Call { action, key, place: &self.place }
    }

    fn path(&self, key: &Key, call: Call<'_>) -> Result<Path, StoreError> {
        Path::parse(format!("{}{key}", self.prefix)).map_err(|error| call.wrong(error.to_string()))
    }

    fn attributes(&self, key: &Key) -> Attributes {
        let class = self.pack_class.as_ref().filter(|_| key.as_str().starts_with(PACKS));
        class.map(|class| (Attribute::StorageClass, class.clone())).into_iter().collect()
    }

    /// As [`Store::get`], of one version of the object; of the present one without.
    pub(crate) fn get_version(
        &self,
        key: &Key,
        version: Option<String>,
        range: Range,
        into: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let call = self.call("read", key.as_str());
        let path = self.path(key, call)?;
        into.clear();
        self.wait(call, self.fetch(&path, version, range, call, into))
    }

    async fn fetch(
        &self,
        path: &Path,
        version: Option<String>,
        range: Range,
        call: Call<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let (wanted, options) = match range {
            Range::All => (None, GetOptions { version, ..GetOptions::default() }),
            // HTTP cannot ask for nothing; whether the object is there is still a question.
            Range::Bytes { len: 0, .. } => {
                (Some(0), GetOptions { head: true, version, ..GetOptions::default() })
            }
            Range::Bytes { offset, len } => {
                let end = offset.checked_add(len).ok_or_else(|| call.short())?;
                let range = Some(GetRange::Bounded(offset..end));
                (Some(len), GetOptions { range, version, ..GetOptions::default() })
            }
        };
        let found = self.inside.get_opts(path, options).await.map_err(|error| explain(&error, call))?;
        let announced = found.range.end - found.range.start;
        match wanted {
            Some(0) => return Ok(()),
            Some(wanted) if announced < wanted => return Err(call.short()),
            Some(wanted) if announced > wanted => return Err(call.wrong("more bytes than asked for")),
            _ => {}
        }
        self.receive(found, announced, call, into).await
    }

    async fn receive(
        &self,
        found: GetResult,
        announced: u64,
        call: Call<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        into.reserve(usize::try_from(announced).unwrap_or(0));
        let mut body = found.into_stream();
        while let Some(part) = body.next().await {
            into.extend_from_slice(&part.map_err(|error| explain(&error, call))?);
        }
        match into.len() as u64 == announced {
            true => Ok(()),
            false => Err(call.wrong(format!("{} bytes came, {announced} were announced", into.len()))),
        }
    }

    async fn pages(&self, prefix: &str, call: Call<'_>) -> Result<Vec<Object>, StoreError> {
        // The prefix itself has its slash already; without one, all of the bucket is below.
        let folder = match prefix {
            "" => self.prefix.clone(),
            prefix => format!("{}{prefix}/", self.prefix),
        };
        let (mut found, mut page_token) = (vec![], None);
        loop {
            let options = PaginatedListOptions { page_token: page_token.clone(), ..Default::default() };
            let below = Some(folder.as_str()).filter(|folder| !folder.is_empty());
            let page = self.inside.list_paginated(below, options).await;
            let page = page.map_err(|error| explain(&error, call))?;
            for about in page.result.objects {
                found.extend(self.object(&folder, about, call)?);
            }
            match page.page_token.filter(|token| !token.is_empty()) {
                None => return Ok(found),
                next if next == page_token => return Err(call.wrong("the listing turns in a circle")),
                next => page_token = next,
            }
        }
    }

    /// `None` for a name that no key of ours can have.
    fn object(&self, folder: &str, about: ObjectMeta, call: Call<'_>) -> Result<Option<Object>, StoreError> {
        let name = about.location.as_ref();
        if !name.starts_with(folder) {
            return Err(call.wrong(format!("the listing has {name}, which is elsewhere")));
        }
        let key = name[self.prefix.len()..].parse().ok();
        Ok(key.map(|key| Object { key, size: about.size, modified: about.last_modified.into() }))
    }

    /// An object in parts begins; nobody sees it before [`CloudStore::end_parts`].
    pub(crate) fn begin_parts(&self, key: &Key) -> Result<String, StoreError> {
        let call = self.call("write", key.as_str());
        let path = self.path(key, call)?;
        self.wait(call, async {
            self.inside.create_multipart(&path).await.map_err(|error| explain(&error, call))
        })
    }

    /// One part of it, from 0 on; sent again, it takes the place of what was sent before.
    pub(crate) fn put_part(
        &self,
        key: &Key,
        upload: &String,
        number: usize,
        part: Bytes,
    ) -> Result<PartId, StoreError> {
        let call = self.call("write", key.as_str());
        let path = self.path(key, call)?;
        self.wait(call, async {
            let put = self.inside.put_part(&path, upload, number, PutPayload::from(part)).await;
            put.map_err(|error| explain(&error, call))
        })
    }

    /// All of its parts are there: it is visible.
    pub(crate) fn end_parts(&self, key: &Key, upload: &String, parts: Vec<PartId>) -> Result<(), StoreError> {
        let call = self.call("write", key.as_str());
        let path = self.path(key, call)?;
        self.wait(call, async {
            let done = self.inside.complete_multipart(&path, upload, parts).await;
            done.map(drop).map_err(|error| explain(&error, call))
        })
    }

    /// It is given up, and its parts go.
    pub(crate) fn drop_parts(&self, key: &Key, upload: &String) -> Result<(), StoreError> {
        let call = self.call("delete", key.as_str());
        let path = self.path(key, call)?;
        self.wait(call, async {
            self.inside.abort_multipart(&path, upload).await.map_err(|error| explain(&error, call))
        })
    }

    /// Every object below `folder`; below the prefix itself where that is empty.
    pub(crate) fn everything_below(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let call = self.call("list", folder);
        self.runtime.block_on(self.pages(folder, call))
    }

    /// Wait for `work` on the caller's thread, as long as a request may take at most.
    fn wait<T>(
        &self,
        call: Call<'_>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let late = |_| Err(call.io(std::io::ErrorKind::TimedOut, "no answer in time"));
        self.runtime.block_on(async { tokio::time::timeout(self.timeout, work).await.unwrap_or_else(late) })
    }
}

impl Store for CloudStore {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.put_pack(key, &Bytes::copy_from_slice(content), Reads::Seldom)
    }

    /// No byte of it is copied on its way to TLS, or to the kernel where there is none.
    fn put_pack(&self, key: &Key, content: &Bytes, _reads: Reads) -> Result<(), StoreError> {
        let call = self.call("write", key.as_str());
        let path = self.path(key, call)?;
        let payload = PutPayload::from(content.clone());
        let options =
            PutOptions { mode: PutMode::Create, attributes: self.attributes(key), ..PutOptions::default() };
        self.wait(call, async {
            self.inside.put_opts(&path, payload, options).await.map_err(|error| explain(&error, call))
        })?;
        Ok(())
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.get_version(key, None, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let call = self.call("list", prefix);
        self.runtime.block_on(self.pages(prefix, call))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let call = self.call("delete", key.as_str());
        let path = self.path(key, call)?;
        let deleted =
            self.wait(call, async { self.inside.delete(&path).await.map_err(|error| explain(&error, call)) });
        match deleted {
            Err(error) if error.is_not_found() => Ok(()),
            // Azure is asked by a batch, whose answer for one object has no code of its own: what is gone is gone.
            Err(StoreError::Wrong { .. }) => {
                match self.get(key, Range::Bytes { offset: 0, len: 0 }, &mut vec![]) {
                    Err(error) if error.is_not_found() => Ok(()),
                    _ => deleted,
                }
            }
            _ => deleted,
        }
    }

    fn location(&self) -> String {
        self.place.clone()
    }

    fn lanes(&self) -> usize {
        LANES
    }
}
