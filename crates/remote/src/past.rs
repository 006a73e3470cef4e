//! A bucket as it was: the objects that were there at one time, read from the versions that it keeps.
//!
//! Of each name that version counts which the store had taken last at that time, by the store's clock; where that is a
//! marker, there was no object. Invariant: nothing is ever written or deleted here, and what was not there at that
//! time is not seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;
use reqwest::Method;
use store::{Key, Object, Range, Refusal, Store, StoreError};
use tokio::runtime::Runtime;

use crate::address::Address;
use crate::answer::Call;
use crate::cloud::CloudStore;
use crate::runtime;
use crate::s3;
use crate::settings::Settings;
use crate::signed::{Request, Signed};
use crate::versions::{self, Version};

/// What was in one folder, by name in the bucket.
type Folder = Arc<BTreeMap<String, Version>>;

/// A bucket, below a prefix, at one time.
pub(crate) struct PastStore {
    present: CloudStore,
    signed: Signed,
    /// Empty, or with a `/` at its end.
    prefix: String,
    at: SystemTime,
    place: String,
    runtime: &'static Runtime,
    /// What was listed in this run: the past does not change.
    folders: Mutex<HashMap<String, Folder>>,
    is_versioned: Mutex<bool>,
}

/// Open a bucket as it was `at` a time, in RFC 3339.
///
/// # Errors
/// [`StoreError::BadUrl`] for settings that cannot be; nothing is asked of the server yet.
pub(crate) fn open(address: &Address, settings: &Settings, at: &str) -> Result<PastStore, StoreError> {
    let time: Timestamp = at.parse().map_err(|_| {
        address.refused(format!("at is a time with its zone, as in 2026-11-21T03:00:00Z, not {at:?}"))
    })?;
    let bucket = s3::bucket(address, settings)?;
    let place = format!("{}{}at={time}", bucket.place, if bucket.place.contains('?') { "&" } else { "?" });
    let call = Call { action: "read", key: "config", place: &place };
    let runtime = runtime::start().map_err(|cause| call.io(cause.kind(), cause.to_string()))?;
    Ok(PastStore {
        present: s3::open(address, settings)?,
        signed: Signed::new(bucket, call)?,
        prefix: if address.prefix.is_empty() { String::new() } else { format!("{}/", address.prefix) },
        at: time.into(),
        place,
        runtime,
        folders: Mutex::default(),
        is_versioned: Mutex::default(),
    })
}

/// What was there `at` a time; `entries` of one name stand newest first.
fn as_it_was(entries: Vec<Version>, at: SystemTime) -> BTreeMap<String, Version> {
    let mut last: BTreeMap<String, Version> = BTreeMap::new();
    for entry in entries.into_iter().filter(|entry| entry.modified <= at) {
        // Of those that the store took within one tick of its clock, the first in the list is the newest; some list all
        // versions before all markers, and only say which one is the newest of all.
        let is_newer = |known: &Version| {
            entry.modified > known.modified || (entry.modified == known.modified && entry.is_latest)
        };
        if last.get(&entry.name).is_none_or(is_newer) {
            last.insert(entry.name.clone(), entry);
        }
    }
    last.retain(|_, entry| !entry.is_marker);
    last
}

impl PastStore {
    fn call<'a>(&'a self, action: &'static str, key: &'a str) -> Call<'a> {
        Call { action, key, place: &self.place }
    }

    /// What was below `prefix`, a folder with its `/` or a whole name.
    fn folder(&self, prefix: &str, call: Call<'_>) -> Result<Folder, StoreError> {
        if let Some(known) = self.folders().get(prefix) {
            return Ok(known.clone());
        }
        self.refuse_unversioned(call)?;
        let whole = format!("{}{prefix}", self.prefix);
        let entries = self.runtime.block_on(versions::list(&self.signed, &whole, call))?;
        let folder = Arc::new(as_it_was(entries, self.at));
        self.folders().insert(prefix.to_owned(), folder.clone());
        Ok(folder)
    }

    fn folders(&self) -> std::sync::MutexGuard<'_, HashMap<String, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bucket that never had versions lists its objects as if they were some. One that does not tell is believed.
    fn refuse_unversioned(&self, call: Call<'_>) -> Result<(), StoreError> {
        let mut is_versioned = self.is_versioned.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_versioned {
            return Ok(());
        }
        let asked = Request::new(Method::GET, "", &[("versioning", "")]);
        match self.runtime.block_on(self.signed.ask(asked, call)) {
            Ok(answer) if !answer.body.contains("<Status>") => return Err(call.refused(Refusal::NoVersions)),
            Ok(_) | Err(StoreError::Refused { why: Refusal::Denied(_), .. }) => *is_versioned = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The version of an object that counted.
    fn version(&self, key: &Key, call: Call<'_>) -> Result<String, StoreError> {
        let key = key.as_str();
        let mut parents = key.match_indices('/').map(|(at, _)| &key[..=at]);
        let known = {
            let folders = self.folders();
            parents.clone().find_map(|parent| folders.get(parent).cloned())
        };
        let folder = match known {
            Some(folder) => folder,
            None => self.folder(parents.next_back().unwrap_or(key), call)?,
        };
        let found = folder.get(&format!("{}{key}", self.prefix));
        Ok(found.ok_or_else(|| call.not_found())?.id.clone())
    }
}

impl Store for PastStore {
    fn put_new(&self, key: &Key, _content: &[u8]) -> Result<(), StoreError> {
        Err(self.call("write", key.as_str()).refused(Refusal::Past))
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let call = self.call("read", key.as_str());
        let version = self.version(key, call)?;
        self.present.get_version(key, Some(version), range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let call = self.call("list", prefix);
        let folder = self.folder(&format!("{prefix}/"), call)?;
        let object = |entry: &Version| {
            let key = entry.name[self.prefix.len()..].parse().ok()?;
            Some(Object { key, size: entry.size, modified: entry.modified })
        };
        Ok(folder.values().filter_map(object).collect())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        Err(self.call("delete", key.as_str()).refused(Refusal::Past))
    }

    fn location(&self) -> String {
        self.place.clone()
    }

    fn lanes(&self) -> usize {
        self.present.lanes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn time(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// The version that counts of one name with this history, newest first; `!` is a marker.
    fn counts(history: &[(u64, &str)], at: u64) -> Option<String> {
        let entry = |(second, id): &(u64, &str)| Version {
            name: "config".into(),
            id: (*id).into(),
            modified: time(*second),
            size: 1,
            is_marker: *id == "!",
            is_latest: false,
        };
        let was = as_it_was(history.iter().map(entry).collect(), time(at));
        was.get("config").map(|entry| entry.id.clone())
    }

    #[test]
    fn what_the_store_had_taken_last_counts() {
        let history = [(50, "back"), (40, "!"), (30, "junk"), (20, "first")];
        for (at, expected) in [
            (19, None),
            (20, Some("first")),
            (29, Some("first")),
            (30, Some("junk")),
            (40, None),
            (49, None),
            (50, Some("back")),
            (u64::from(u32::MAX), Some("back")),
        ] {
            assert_eq!(counts(&history, at).as_deref(), expected, "{at}");
        }
    }

    #[test]
    fn within_one_tick_the_order_of_the_listing_decides() {
        assert_eq!(counts(&[(20, "junk"), (20, "first")], 20).as_deref(), Some("junk"));
        assert_eq!(counts(&[(20, "!"), (20, "first")], 20), None);
        assert_eq!(counts(&[(20, "first"), (20, "!")], 20).as_deref(), Some("first"));
        let entry = |id: &str, is_marker, is_latest| Version {
            name: "config".into(),
            id: id.into(),
            modified: time(20),
            size: 1,
            is_marker,
            is_latest,
        };
        let listed = vec![entry("first", false, false), entry("!", true, true)];
        assert!(as_it_was(listed, time(20)).is_empty(), "the newest of all says that it is");
    }
}
