//! What a bucket itself does against deletion, as S3 tells it: versions and Object Lock.
//!
//! No store needs it, and a writer need not have the right to ask; so what is not told is unknown, and no error.

use object_store::ClientOptions;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};
use store::StoreError;

use http_body_util::{BodyExt, Limited};

use crate::address::Address;
use crate::answer::Answer;
use crate::fault::cause;
use crate::runtime;
use crate::s3::{self, Bucket};
use crate::settings::Settings;

/// Bytes of an answer that we read: both are some lines of XML.
const ANSWER_MAX: usize = 64 << 10;

/// What is known; `None`: it was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// What is deleted or overwritten stays as an older version.
    pub keeps_versions: Option<bool>,
    /// Objects can be locked against everybody for a time.
    pub can_lock: Option<bool>,
}

/// What the bucket of `url` does; nothing is known of other stores than S3.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address or a setting that cannot be.
pub fn protection(url: &str, settings: &Settings) -> Result<Protection, StoreError> {
    let Some(address) = Address::parse(url).transpose()?.filter(|address| address.scheme == "s3") else {
        return Ok(Protection::default());
    };
    let bucket = s3::bucket(&address, settings)?;
    let Ok(runtime) = runtime::start() else { return Ok(Protection::default()) };
    Ok(runtime.block_on(async {
        let versions = ask(&bucket, "versioning").await;
        let lock = ask(&bucket, "object-lock").await;
        Protection {
            keeps_versions: versions.ok().map(|body| body.contains("<Status>Enabled</Status>")),
            can_lock: match lock {
                Ok(body) => Some(body.contains("<ObjectLockEnabled>Enabled</ObjectLockEnabled>")),
                Err(code) => (code == "ObjectLockConfigurationNotFoundError").then_some(false),
            },
        }
    }))
}

/// The bucket's answer to `GET ?what`, or the code of its no; empty where there is none.
async fn ask(bucket: &Bucket, what: &str) -> Result<String, String> {
    let credential = bucket.inside.credentials().get_credential().await.map_err(|_| String::new())?;
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = format!("{}/?{what}=", bucket.url).parse().map_err(|_| String::new())?;
    let signer = AwsAuthorizer::new(&credential, "s3", &bucket.region);
    signer.try_authorize(&mut request, None).map_err(|_| String::new())?;
    let client = bucket.connector.connect(&ClientOptions::default()).map_err(|_| String::new())?;
    let code = |error| cause::<Answer>(&error).map(|answer| answer.code.clone()).unwrap_or_default();
    let body = client.execute(request).await.map_err(code)?.into_body();
    let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|_| String::new())?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}
