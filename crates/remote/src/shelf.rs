//! A place in a bucket for whole files under names that people choose: dumps beside a repository.
//!
//! A file of any size goes there while it is still made. Invariant: nobody sees it before [`Upload::finish`], and who is killed
//! before leaves parts that no listing of objects shows; a rule of the bucket (AbortIncompleteMultipartUpload) takes them.

use reqwest::Method;
use store::retry::Retry;
use store::{Bytes, Key, Object, Range, Store, StoreError};

use crate::address::Address;
use crate::answer::Call;
use crate::cloud::CloudStore;
use crate::settings::Settings;
use crate::signed::{Request, Signed};
use crate::{azure, gcs, runtime, s3};

/// A file that is no longer than this goes in one request, and where its name is taken, that is refused.
pub const PART_LEN_MIN: usize = 16 << 20;
/// Parts of one object, at most, as S3 has it; with room to spare.
const PARTS_MAX: u64 = 9_000;

/// A prefix in a bucket.
pub struct Shelf {
    store: CloudStore,
    retry: Retry,
    address: Address,
    settings: Settings,
}

impl Shelf {
    /// The one at `url`; `None` where that is no object storage. Nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] for an address or a setting that cannot be.
    pub fn open(url: &str, settings: &Settings, retry: Retry) -> Result<Option<Self>, StoreError> {
        let Some(address) = Address::parse(url).transpose()? else { return Ok(None) };
        let store = match address.scheme {
            "s3" => s3::open(&address, settings)?,
            "gs" => gcs::open(&address, settings)?,
            _ => azure::open(&address, settings)?,
        };
        Ok(Some(Self { store, retry, address, settings: settings.clone() }))
    }

    /// The address, as people see it.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// Begin a file of about `length` bytes.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where the name is taken.
    pub fn begin(&self, key: &Key, length: u64) -> Result<Upload<'_>, StoreError> {
        let taken =
            self.retry.persist(|| self.store.get(key, Range::Bytes { offset: 0, len: 0 }, &mut vec![]));
        match taken {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
            Ok(()) => {
                return Err(Call { action: "write", key: key.as_str(), place: &self.location() }.exists());
            }
        }
        let part_len = usize::try_from(length / PARTS_MAX).unwrap_or(usize::MAX).max(PART_LEN_MIN);
        Ok(Upload { shelf: self, key: key.clone(), part_len, waiting: vec![], upload: None, parts: vec![] })
    }

    /// Write a small file in one request.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where its name is taken by other bytes.
    pub fn put(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        let mut was_tried = false;
        self.retry.persist(|| match self.store.put_new(key, content) {
            // An answer that was lost may have been a yes.
            Err(error) if error.is_already_exists() && was_tried => {
                let mut found = vec![];
                self.store.get(key, Range::All, &mut found)?;
                if found == content { Ok(()) } else { Err(error) }
            }
            done => {
                was_tried = true;
                done
            }
        })
    }

    /// Every file below `folder`; empty: below the shelf.
    ///
    /// # Errors
    /// What the store says.
    pub fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        self.retry.persist(|| self.store.everything_below(folder))
    }

    /// Take a file away.
    ///
    /// # Errors
    /// What the store says.
    pub fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.retry.persist(|| self.store.delete(key))
    }

    /// Whether rules of the bucket delete files of this shelf after a time; `None` where it does not tell.
    pub fn has_lifecycle(&self) -> Option<bool> {
        if self.address.scheme != "s3" {
            return None;
        }
        let bucket = s3::bucket(&self.address, &self.settings).ok()?;
        let place = bucket.place.clone();
        let call = Call { action: "read", key: "lifecycle", place: &place };
        let signed = Signed::new(bucket, call).ok()?;
        let asked = runtime::start()
            .ok()?
            .block_on(signed.ask(Request::new(Method::GET, "", &[("lifecycle", "")]), call));
        match asked {
            Ok(answer) => Some(expires(&answer.body, &self.address.prefix)),
            Err(error) if error.is_not_found() => Some(false),
            Err(_) => None,
        }
    }
}

/// Whether a rule of a lifecycle's XML deletes what is below `prefix`. A rule that asks for tags besides is none for us: we
/// give objects no tags.
fn expires(xml: &str, prefix: &str) -> bool {
    let rules = xml.split("<Rule>").skip(1).filter_map(|rest| rest.split("</Rule>").next());
    rules.into_iter().any(|rule| {
        let is_on = rule.contains("<Status>Enabled</Status>");
        let is_expiration = rule.contains("<Expiration>") && !rule.contains("<Tag>");
        let between = |rest: &str| Some(rest.split_once("<Prefix>")?.1.split_once("</Prefix>")?.0.to_owned());
        let of = between(rule).unwrap_or_default();
        is_on && is_expiration && (prefix.starts_with(&of) || of.starts_with(prefix))
    })
}

/// A file under way.
pub struct Upload<'a> {
    shelf: &'a Shelf,
    key: Key,
    part_len: usize,
    waiting: Vec<u8>,
    /// The store's name for it, once a first part was sent.
    upload: Option<String>,
    parts: Vec<object_store::multipart::PartId>,
}

impl Upload<'_> {
    /// The bytes that come next.
    ///
    /// # Errors
    /// What the store says.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.waiting.len() == self.part_len {
                self.send()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.part_len - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// All is written: it gets its name.
    ///
    /// # Errors
    /// What the store says; then there is no such file.
    pub fn finish(mut self) -> Result<(), StoreError> {
        if self.upload.is_none() {
            return self.shelf.put(&self.key, &self.waiting);
        }
        self.send()?;
        let Some(upload) = self.upload.take() else { return Ok(()) };
        let Self { shelf, key, parts, .. } = &mut self;
        let parts = std::mem::take(parts);
        let ended = shelf.retry.persist(|| shelf.store.end_parts(key, &upload, parts.clone()));
        match ended {
            // Its answer was lost the first time.
            Err(error) if error.is_not_found() => {
                shelf.retry.persist(|| shelf.store.get(key, Range::Bytes { offset: 0, len: 0 }, &mut vec![]))
            }
            ended => ended,
        }
    }

    fn send(&mut self) -> Result<(), StoreError> {
        let (shelf, key) = (self.shelf, self.key.clone());
        let upload = match self.upload.take() {
            Some(upload) => upload,
            None => shelf.retry.persist(|| shelf.store.begin_parts(&key))?,
        };
        let part = Bytes::from(std::mem::take(&mut self.waiting));
        let number = self.parts.len();
        let sent = shelf.retry.persist(|| shelf.store.put_part(&key, &upload, number, part.clone()));
        self.upload = Some(upload);
        self.parts.push(sent?);
        Ok(())
    }
}

impl Drop for Upload<'_> {
    /// What was not finished goes; where the store does not answer, a rule of the bucket takes it.
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.shelf.store.drop_parts(&self.key, &upload).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_deletes_below_the_shelf_is_seen() {
        let rule =
            |inside: &str| format!("<LifecycleConfiguration><Rule>{inside}</Rule></LifecycleConfiguration>");
        let on = "<Status>Enabled</Status><Expiration><Days>400</Days></Expiration>";
        let cases = [
            (format!("<Filter><Prefix>pg/</Prefix></Filter>{on}"), true),
            (format!("<Prefix></Prefix>{on}"), true),
            (on.to_owned(), true),
            (format!("<Filter><Prefix>pg/dumps/acme/</Prefix></Filter>{on}"), true),
            (format!("<Filter><Prefix>logs/</Prefix></Filter>{on}"), false),
            (on.replace("Enabled", "Disabled"), false),
            (format!("<Filter><And><Prefix>pg/</Prefix><Tag><Key>k</Key></Tag></And></Filter>{on}"), false),
            (
                "<Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>"
                    .to_owned(),
                false,
            ),
        ];
        for (inside, is) in cases {
            assert_eq!(expires(&rule(&inside), "pg/dumps"), is, "{inside}");
        }
        assert!(!expires("", "pg"));
    }
}
