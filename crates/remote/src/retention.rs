//! The lock of one version of an object: asked for, and set.

use std::time::SystemTime;

use jiff::Timestamp;
use reqwest::Method;
use store::StoreError;

use crate::answer::Call;
use crate::lock::{MODE, day};
use crate::signed::{Request, Signed};

/// Whoever has the right opens a GOVERNANCE lock with it. Against COMPLIANCE it does nothing, where the store is honest.
pub(crate) const BYPASS: (&str, &str) = ("x-amz-bypass-governance-retention", "true");

/// Until when a version stays, whoever wants to delete it; `None` where no lock that holds is on it.
///
/// # Errors
/// What the server says; [`StoreError::Wrong`] for a lock that makes no sense.
pub(crate) async fn get(
    signed: &Signed,
    name: &str,
    version: &str,
    call: Call<'_>,
) -> Result<Option<SystemTime>, StoreError> {
    let query = [("retention", ""), ("versionId", version)];
    let answer = match signed.ask(Request::new(Method::GET, name, &query), call).await {
        // It was stored without one.
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?.body,
    };
    let field = |tag: &str| {
        let (_, rest) = answer.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once('<')?.0)
    };
    if field("Mode") != Some(MODE) {
        return Ok(None);
    }
    let until = field("RetainUntilDate").and_then(|text| text.parse::<Timestamp>().ok());
    until.map(|until| Some(until.into())).ok_or_else(|| call.wrong("a lock without a day"))
}

/// The same of the newest version, as the headers of the object tell it, which more stores know; they keep silent without the right to ask.
///
/// # Errors
/// What the server says.
pub(crate) async fn shown(
    signed: &Signed,
    name: &str,
    call: Call<'_>,
) -> Result<Option<SystemTime>, StoreError> {
    let headers = signed.ask(Request::new(Method::HEAD, name, &[]), call).await?.headers;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let until = header("x-amz-object-lock-retain-until-date").and_then(|text| text.parse::<Timestamp>().ok());
    Ok(until.filter(|_| header("x-amz-object-lock-mode") == Some(MODE)).map(SystemTime::from))
}

/// Lock a version `until` a day. With `bypass`, as somebody tries who wants to break a lock.
///
/// # Errors
/// What the server says: a lock is never shortened.
pub(crate) async fn put(
    signed: &Signed,
    name: &str,
    version: &str,
    until: SystemTime,
    bypass: bool,
    call: Call<'_>,
) -> Result<(), StoreError> {
    let body = format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{MODE}</Mode>\
         <RetainUntilDate>{}</RetainUntilDate></Retention>",
        day(until)
    );
    let query = [("retention", ""), ("versionId", version)];
    let headers = [(BYPASS.0, BYPASS.1.to_owned())];
    let request = Request {
        headers: if bypass { &headers } else { &[] },
        body: body.into(),
        ..Request::new(Method::PUT, name, &query)
    };
    signed.ask(request, call).await.map(drop)
}
