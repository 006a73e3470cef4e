//! Requests to S3 that `object_store` has no call for, signed with its credentials and sent by our HTTP.
//!
//! Invariant: every header and every part of the query is signed, and what comes back is bounded.

use std::io::ErrorKind;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpRequestBody};
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use store::{Bytes, StoreError};

use crate::answer::Call;
use crate::fault::explain;
use crate::s3::Bucket;

/// Bytes of an answer that we read: a page of a listing, a thousand names of 1,024 bytes, escaped.
const ANSWER_MAX: usize = 16 << 20;

/// What to ask.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Of an object, its whole name in the bucket; empty for the bucket itself.
    pub(crate) name: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) body: Bytes,
}

impl<'a> Request<'a> {
    /// Without headers and body.
    pub(crate) fn new(method: Method, name: &'a str, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { method, name, query, headers: &[], body: Bytes::new() }
    }
}

/// What came back of a request that succeeded.
pub(crate) struct Answered {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A bucket that can be asked anything.
pub(crate) struct Signed {
    pub(crate) bucket: Bucket,
    client: HttpClient,
}

impl Signed {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Where the system makes no HTTP client.
    pub(crate) fn new(bucket: Bucket, call: Call<'_>) -> Result<Self, StoreError> {
        let client = bucket.connector.connect(&ClientOptions::default());
        Ok(Self { client: client.map_err(|error| explain(&error, call))?, bucket })
    }

    /// Ask, and wait for the answer's whole body as long as a request may take.
    ///
    /// # Errors
    /// What the server says, for `call`.
    pub(crate) async fn ask(&self, request: Request<'_>, call: Call<'_>) -> Result<Answered, StoreError> {
        let answered = tokio::time::timeout(self.bucket.connector.timeout, self.send(request, call)).await;
        answered.unwrap_or_else(|_| Err(call.io(ErrorKind::TimedOut, "no answer in time")))
    }

    async fn send(&self, request: Request<'_>, call: Call<'_>) -> Result<Answered, StoreError> {
        let credential = self.bucket.inside.credentials().get_credential().await;
        let credential = credential.map_err(|error| explain(&error, call))?;
        let digest = Sha256::digest(&request.body);
        let mut signed = self.unsigned(request, &digest, call)?;
        let signer = AwsAuthorizer::new(&credential, "s3", &self.bucket.region);
        signer.try_authorize(&mut signed, Some(&digest)).map_err(|error| explain(&error, call))?;
        let (head, body) =
            self.client.execute(signed).await.map_err(|error| explain(&error, call))?.into_parts();
        let lost = |_| call.io(ErrorKind::ConnectionAborted, "the answer broke off");
        let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(lost)?.to_bytes();
        Ok(Answered { headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn unsigned(
        &self,
        request: Request<'_>,
        digest: &[u8],
        call: Call<'_>,
    ) -> Result<HttpRequest, StoreError> {
        let Request { method, name, query, headers, body } = request;
        let pairs = query.iter().map(|(name, value)| format!("{}={}", encoded(name, ""), encoded(value, "")));
        let query = pairs.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let uri = format!("{}/{}{mark}{query}", self.bucket.url, encoded(name, "/"));
        // S3 wants to be told twice, where a lock comes with the object.
        let checksum = [
            ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
            ("x-amz-checksum-sha256", STANDARD.encode(digest)),
        ];
        let is_put = method == Method::PUT;
        let checksum = if is_put { &checksum[..] } else { &[] };
        let length = HeaderValue::from(body.len());
        let mut made = HttpRequest::new(HttpRequestBody::from(body));
        // Nobody else says it of a body that is empty.
        made.headers_mut().extend(is_put.then_some((CONTENT_LENGTH, length)));
        *made.method_mut() = method;
        *made.uri_mut() = uri.parse().map_err(|_| call.wrong(format!("{uri:?} is no address")))?;
        for (name, value) in headers.iter().chain(checksum) {
            let value = HeaderValue::from_str(value);
            made.headers_mut().insert(*name, value.map_err(|error| call.wrong(error.to_string()))?);
        }
        Ok(made)
    }
}

/// Percent-encoded as signatures want it: everything but letters, digits, `-._~` and what stands in `kept`.
fn encoded(text: &str, kept: &str) -> String {
    let one = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_are_encoded_as_signatures_want_them() {
        assert_eq!(encoded("pre fix/ä+~", "/"), "pre%20fix/%C3%A4%2B~");
        assert_eq!(encoded("a/b", ""), "a%2Fb");
    }
}
