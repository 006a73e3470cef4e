//! What extends locks: it lists versions, asks for their locks, and sets later ones; it needs no more rights than that.

use std::time::{Duration, SystemTime};

use store::{Key, StoreError};
use tokio::runtime::Runtime;

use crate::address::Address;
use crate::answer::Call;
use crate::settings::Settings;
use crate::signed::Signed;
use crate::{lock, retention, runtime, s3, versions};

/// A bucket below a prefix, and the locks in it.
pub struct Locker {
    signed: Signed,
    /// Empty, or with a `/` at its end.
    prefix: String,
    runtime: &'static Runtime,
}

/// A version of an object; markers are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Of which object.
    pub key: Key,
    /// Which version.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// Whether a later version or a marker stands before it, so that who asks for the object does not get it.
    pub is_hidden: bool,
}

/// A name that nobody sees any more, since a marker stands before all of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Of which object.
    pub key: Key,
    /// Since when, by the store's clock.
    pub since: SystemTime,
}

/// What is to be done about each lock.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Versions whose lock ends too early.
    pub extend: Vec<Stored>,
    /// How many are locked for long enough.
    pub enough: usize,
}

/// Decide: a lock that ends `slack` before the day that is `wanted`, or later, is left alone. None is ever shortened.
pub fn plan_extend(found: Vec<(Stored, Option<SystemTime>)>, wanted: SystemTime, slack: Duration) -> Plan {
    let mut plan = Plan::default();
    for (stored, until) in found {
        match until.is_some_and(|until| until + slack >= wanted) {
            true => plan.enough += 1,
            false => plan.extend.push(stored),
        }
    }
    plan
}

/// What an entry below `prefix` is; `None` for a marker, and for what no locks are for. Some stores list every version
/// before any marker, so that the order does not tell which one is seen.
fn stored(entry: versions::Version, prefix: &str) -> Option<Stored> {
    let key = entry.name.strip_prefix(prefix)?.parse::<Key>().ok().filter(lock::is_for)?;
    (!entry.is_marker).then_some(Stored {
        key,
        version: entry.id,
        size: entry.size,
        is_hidden: !entry.is_latest,
    })
}

/// What a marker below `prefix` hides; `None` where it is no marker, or a later version stands before it.
fn hidden(entry: &versions::Version, prefix: &str) -> Option<Hidden> {
    let key = entry.name.strip_prefix(prefix)?.parse().ok()?;
    (entry.is_marker && entry.is_latest).then_some(Hidden { key, since: entry.modified })
}

impl Locker {
    /// Of the bucket of `url`; nothing is asked yet.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`] where it is no S3, or for settings that cannot be.
    pub fn open(url: &str, settings: &Settings) -> Result<Self, StoreError> {
        let refuse =
            || StoreError::BadUrl { url: url.to_owned(), reason: "locks are for s3:// alone".into() };
        let address = Address::parse(url).transpose()?.filter(|address| address.scheme == "s3");
        let address = address.ok_or_else(refuse)?;
        let bucket = s3::bucket(&address, settings)?;
        let place = bucket.place.clone();
        let call = Call { action: "list", key: "config", place: &place };
        let runtime = runtime::start().map_err(|cause| call.io(cause.kind(), cause.to_string()))?;
        let prefix = if address.prefix.is_empty() { String::new() } else { format!("{}/", address.prefix) };
        Ok(Self { signed: Signed::new(bucket, call)?, prefix, runtime })
    }

    /// Every version below `folder` (`data/`, or a whole key) of what locks are for, of one object the newest first.
    ///
    /// # Errors
    /// What the server says.
    pub fn versions(&self, folder: &str) -> Result<Vec<Stored>, StoreError> {
        let found = self.entries(folder)?;
        Ok(found.into_iter().filter_map(|entry| self::stored(entry, &self.prefix)).collect())
    }

    /// Every name below `folder` that somebody deleted, whatever it is of.
    ///
    /// # Errors
    /// What the server says.
    pub fn hidden(&self, folder: &str) -> Result<Vec<Hidden>, StoreError> {
        let found = self.entries(folder)?;
        Ok(found.iter().filter_map(|entry| self::hidden(entry, &self.prefix)).collect())
    }

    fn entries(&self, folder: &str) -> Result<Vec<versions::Version>, StoreError> {
        let whole = format!("{}{folder}", self.prefix);
        self.runtime.block_on(versions::list(&self.signed, &whole, self.call("list", folder)))
    }

    /// Until when a version is locked.
    ///
    /// # Errors
    /// What the server says.
    pub fn locked_until(&self, stored: &Stored) -> Result<Option<SystemTime>, StoreError> {
        let call = self.call("read", stored.key.as_str());
        let name = format!("{}{}", self.prefix, stored.key);
        self.runtime.block_on(retention::get(&self.signed, &name, &stored.version, call))
    }

    /// Lock a version until a later day than it is.
    ///
    /// # Errors
    /// What the server says; it refuses an earlier one.
    pub fn lock_until(&self, stored: &Stored, until: SystemTime) -> Result<(), StoreError> {
        let call = self.call("write", stored.key.as_str());
        let name = format!("{}{}", self.prefix, stored.key);
        self.runtime.block_on(retention::put(&self.signed, &name, &stored.version, until, false, call))
    }

    /// The address, as people see it.
    pub fn location(&self) -> String {
        self.signed.bucket.place.clone()
    }

    fn call<'a>(&'a self, action: &'static str, key: &'a str) -> Call<'a> {
        Call { action, key, place: &self.signed.bucket.place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_extended_where_it_ends_too_early_and_never_shortened() {
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
        let stored = |name: &str| Stored {
            key: format!("data/{name}").parse().unwrap(),
            version: "v".into(),
            size: 1,
            is_hidden: false,
        };
        let found = |until: &[(&str, Option<u64>)]| {
            until.iter().map(|(name, until)| (stored(name), until.map(day))).collect::<Vec<_>>()
        };
        let all = [
            ("none", None),
            ("past", Some(1)),
            ("earlier", Some(29)),
            ("same", Some(30)),
            ("later", Some(99)),
        ];
        let names = |slack: u64| -> Vec<String> {
            let plan = plan_extend(found(&all), day(30), Duration::from_secs(slack * 86_400));
            assert_eq!(plan.enough + plan.extend.len(), all.len());
            plan.extend.iter().map(|stored| stored.key.name().to_owned()).collect()
        };
        assert_eq!(names(0), ["none", "past", "earlier"]);
        assert_eq!(names(1), ["none", "past"]);
    }

    #[test]
    fn what_a_marker_hides_is_hidden_wherever_the_marker_is_listed() {
        let entry = |name: &str, id: &str, is_marker, is_latest| versions::Version {
            name: format!("p/{name}"),
            id: id.into(),
            modified: SystemTime::UNIX_EPOCH,
            size: 1,
            is_marker,
            is_latest,
        };
        // Versions before markers, and of the second name both are there.
        let listed = [
            entry("data/aa/hidden", "v1", false, false),
            entry("data/aa/again", "v3", false, true),
            entry("data/aa/again", "v2", false, false),
            entry("data/aa/hidden", "v4", true, true),
        ];
        let names: Vec<_> = listed.iter().filter_map(|entry| self::hidden(entry, "p/")).collect();
        assert_eq!(names.iter().map(|hidden| hidden.key.as_str()).collect::<Vec<_>>(), ["data/aa/hidden"]);
        let found: Vec<_> = listed.into_iter().filter_map(|entry| self::stored(entry, "p/")).collect();
        let found: Vec<_> = found.iter().map(|stored| (stored.version.as_str(), stored.is_hidden)).collect();
        assert_eq!(found, [("v1", true), ("v3", false), ("v2", true)]);
    }
}
