//! Archive classes of S3: how near an object is, by its headers, and asking for it, by `RestoreObject`.

use reqwest::Method;
use store::archive::{Archive, Speed, Terms, Warmth};
use store::{Key, Refusal, StoreError};
use tokio::runtime::Runtime;

use crate::address::Address;
use crate::answer::Call;
use crate::runtime;
use crate::s3;
use crate::settings::Settings;
use crate::signed::{Request, Signed};

/// Classes whose objects have to be asked for. `GLACIER_IR` is read at once.
const CLASSES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// The archive class of a bucket.
pub struct S3Archive {
    signed: Signed,
    /// Empty, or ends with a slash.
    prefix: String,
    place: String,
    runtime: &'static Runtime,
}

/// What can be asked of the store at `url`; nothing of other stores than S3. No request is sent yet.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address or a setting that cannot be; where the system gives no threads.
pub fn archive(url: &str, settings: &Settings) -> Result<Option<S3Archive>, StoreError> {
    let Some(address) = Address::parse(url).transpose()?.filter(|address| address.scheme == "s3") else {
        return Ok(None);
    };
    let bucket = s3::bucket(&address, settings)?;
    let place = bucket.place.clone();
    let call = Call { action: "read", key: "data", place: &place };
    let runtime = runtime::start().map_err(|cause| call.io(cause.kind(), cause.to_string()))?;
    let signed = Signed::new(bucket, call)?;
    let prefix = if address.prefix.is_empty() { String::new() } else { format!("{}/", address.prefix) };
    Ok(Some(S3Archive { signed, prefix, place, runtime }))
}

impl S3Archive {
    fn call<'a>(&'a self, key: &'a Key) -> Call<'a> {
        Call { action: "read", key: key.as_str(), place: &self.place }
    }
}

impl Archive for S3Archive {
    fn warmth(&self, key: &Key) -> Result<Warmth, StoreError> {
        let name = format!("{}{key}", self.prefix);
        let request = Request::new(Method::HEAD, &name, &[]);
        let headers = self.runtime.block_on(self.signed.ask(request, self.call(key)))?.headers;
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(warmth(header("x-amz-storage-class"), header("x-amz-restore")))
    }

    fn warm_up(&self, key: &Key, terms: &Terms) -> Result<(), StoreError> {
        let name = format!("{}{key}", self.prefix);
        let request =
            Request { body: order(terms).into(), ..Request::new(Method::POST, &name, &[("restore", "")]) };
        match self.runtime.block_on(self.signed.ask(request, self.call(key))) {
            // On its way; or in no archive class, or not any more.
            Err(error) if error.is_already_exists() => Ok(()),
            Err(StoreError::Refused { why: Refusal::Archived, .. }) => Ok(()),
            asked => asked.map(drop),
        }
    }
}

fn warmth(class: &str, restore: &str) -> Warmth {
    match restore {
        _ if !CLASSES.contains(&class) => Warmth::Warm,
        restore if restore.contains("ongoing-request=\"true\"") => Warmth::Warming,
        restore if restore.contains("ongoing-request=\"false\"") => Warmth::Warm,
        _ => Warmth::Cold,
    }
}

fn order(terms: &Terms) -> String {
    let Terms { days, speed } = terms;
    let tier = match speed {
        Speed::Bulk => "Bulk",
        Speed::Standard => "Standard",
        Speed::Expedited => "Expedited",
    };
    format!(
        "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>{days}</Days>\
         <GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_headers_say() {
        let until = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"";
        for (class, restore, expected) in [
            ("", "", Warmth::Warm),
            ("STANDARD_IA", "", Warmth::Warm),
            ("GLACIER_IR", "", Warmth::Warm),
            ("GLACIER", "", Warmth::Cold),
            ("DEEP_ARCHIVE", "", Warmth::Cold),
            ("GLACIER", "ongoing-request=\"true\"", Warmth::Warming),
            ("DEEP_ARCHIVE", until, Warmth::Warm),
        ] {
            assert_eq!(warmth(class, restore), expected, "{class} {restore}");
        }
    }

    #[test]
    fn other_stores_have_none() {
        for url in ["/srv/backups", "gs://bucket/p", "sftp://h/p"] {
            assert!(archive(url, &Settings::default()).unwrap().is_none(), "{url}");
        }
    }
}
