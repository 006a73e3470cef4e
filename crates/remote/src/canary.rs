//! Does a lock hold? One is put on an object of our own, and what could break it is tried (threat 6).
//!
//! What counts is what is there afterwards, not what the store says to each attempt.

use std::time::{Duration, SystemTime};

use reqwest::Method;
use store::{Bytes, Refusal, StoreError};

use crate::address::Address;
use crate::answer::Call;
use crate::lock::{MODE, Term, day};
use crate::retention::{self, BYPASS};
use crate::settings::Settings;
use crate::signed::{Request, Signed};
use crate::{runtime, s3};

/// How long the canary stays; S3 lets clocks be 15 minutes apart.
const LOCKED_FOR: Duration = Duration::from_secs(3600);

/// What became of the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Its lock held.
    Held,
    /// The store took the object and no lock.
    Unlocked,
    /// Its lock was shortened.
    Shortened,
    /// It was deleted for good.
    Deleted,
    /// It is still there, and these credentials may not see its lock.
    Unseen,
}

/// Try to break a lock in the bucket of `url`; `None` where the address asks for no locks.
///
/// # Errors
/// [`StoreError::BadUrl`]; what the store says where it takes no locked object at all, or does not answer.
pub fn try_canary(url: &str, settings: &Settings) -> Result<Option<Canary>, StoreError> {
    let Some(address) = Address::parse(url).transpose()? else { return Ok(None) };
    if Term::of(&address, settings)?.is_none() {
        return Ok(None);
    }
    let bucket = s3::bucket(&address, settings)?;
    let place = bucket.place.clone();
    let now = SystemTime::now();
    let number = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let key = format!("x/probe/lock-{number}");
    let call = Call { action: "write", key: &key, place: &place };
    let runtime = runtime::start().map_err(|cause| call.io(cause.kind(), cause.to_string()))?;
    let slash = if address.prefix.is_empty() { "" } else { "/" };
    let name = format!("{}{slash}{key}", address.prefix);
    let signed = Signed::new(bucket, call)?;
    runtime.block_on(attempt(&signed, &name, now, call)).map(Some)
}

async fn attempt(signed: &Signed, name: &str, now: SystemTime, call: Call<'_>) -> Result<Canary, StoreError> {
    let until = now + LOCKED_FOR;
    let headers =
        [("x-amz-object-lock-mode", MODE.to_owned()), ("x-amz-object-lock-retain-until-date", day(until))];
    let body = Bytes::from_static(b"this object tells whether locks hold");
    let put = Request { method: Method::PUT, name, query: &[], headers: &headers, body };
    let stored = signed.ask(put, call).await?.headers;
    // A writer need not have the right to list versions.
    let version = stored.get("x-amz-version-id").and_then(|id| id.to_str().ok());
    let version = version.ok_or_else(|| call.wrong("it takes a lock and keeps no versions"))?;
    let reading = Call { action: "read", ..call };
    if look(signed, name, version, until, reading).await? == Canary::Shortened {
        return Ok(Canary::Unlocked);
    }
    // Whether they succeed is seen below.
    retention::put(signed, name, version, now + LOCKED_FOR / 2, true, call).await.ok();
    let bypass = [(BYPASS.0, BYPASS.1.to_owned())];
    let query = [("versionId", version)];
    let delete = Request::new(Method::DELETE, name, &query);
    signed.ask(Request { headers: &bypass, ..delete }, call).await.ok();
    let seen = look(signed, name, version, until, reading).await;
    // Out of sight; credentials that cannot delete leave it there.
    signed.ask(Request::new(Method::DELETE, name, &[]), call).await.ok();
    seen
}

/// What is there. Nothing else has this name, so that who may read objects need not have the right to read versions.
async fn look(
    signed: &Signed,
    name: &str,
    version: &str,
    until: SystemTime,
    call: Call<'_>,
) -> Result<Canary, StoreError> {
    let locked = match retention::shown(signed, name, call).await {
        Err(error) if error.is_not_found() => return Ok(Canary::Deleted),
        // No lock, or not the right to see one.
        Ok(None) => match retention::get(signed, name, version, call).await {
            Err(StoreError::Refused { why: Refusal::Denied(_), .. }) => return Ok(Canary::Unseen),
            told => told.unwrap_or_default(),
        },
        shown => shown?,
    };
    Ok(if locked >= Some(until) { Canary::Held } else { Canary::Shortened })
}
