//! What a bucket itself does against deletion, as S3 tells it: versions and Object Lock.
//!
//! No store needs it, and a writer need not have the right to ask; so what is not told is unknown, and no error.

use reqwest::Method;
use store::StoreError;

use crate::address::Address;
use crate::answer::Call;
use crate::runtime;
use crate::s3;
use crate::settings::Settings;
use crate::signed::{Request, Signed};

/// What is known; `None`: it was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// What is deleted or overwritten stays as an older version.
    pub keeps_versions: Option<bool>,
    /// Objects can be locked against everybody for a time.
    pub can_lock: Option<bool>,
    /// The bucket itself locks all that is written, in COMPLIANCE mode.
    pub locks_all: bool,
}

/// Whether the bucket of `url` keeps versions at present; `None` where it does not tell, or is no S3.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address or a setting that cannot be.
pub fn keeps_versions(url: &str, settings: &Settings) -> Result<Option<bool>, StoreError> {
    ask(url, settings, async |asked| asked.versions().await)
}

/// What the bucket of `url` does; nothing is known of other stores than S3.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address or a setting that cannot be.
pub fn protection(url: &str, settings: &Settings) -> Result<Protection, StoreError> {
    ask(url, settings, async |asked| {
        let keeps_versions = asked.versions().await;
        let lock = asked.about("object-lock").await;
        Protection {
            locks_all: lock.as_ref().is_ok_and(|answer| answer.contains("<Mode>COMPLIANCE</Mode>")),
            keeps_versions,
            can_lock: match lock {
                Ok(answer) => Some(answer.contains("<ObjectLockEnabled>Enabled</ObjectLockEnabled>")),
                Err(error) => error.is_not_found().then_some(false),
            },
        }
    })
}

/// A bucket that is asked about itself.
struct Asked {
    signed: Signed,
    place: String,
}

impl Asked {
    async fn about(&self, what: &str) -> Result<String, StoreError> {
        let call = Call { action: "read", key: "protection", place: &self.place };
        let answered = self.signed.ask(Request::new(Method::GET, "", &[(what, "")]), call).await;
        answered.map(|answer| answer.body)
    }

    async fn versions(&self) -> Option<bool> {
        let answer = self.about("versioning").await.ok()?;
        Some(answer.contains("<Status>Enabled</Status>"))
    }
}

/// What `questions` learn of the bucket of `url`; of other stores than S3 nothing.
fn ask<T: Default>(
    url: &str,
    settings: &Settings,
    questions: impl AsyncFnOnce(Asked) -> T,
) -> Result<T, StoreError> {
    let Some(address) = Address::parse(url).transpose()?.filter(|address| address.scheme == "s3") else {
        return Ok(T::default());
    };
    let bucket = s3::bucket(&address, settings)?;
    let place = bucket.place.clone();
    let signed = Signed::new(bucket, Call { action: "read", key: "protection", place: &place })?;
    let Ok(runtime) = runtime::start() else { return Ok(T::default()) };
    Ok(runtime.block_on(questions(Asked { signed, place })))
}
