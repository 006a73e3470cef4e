//! Requests over HTTP: our TLS, our time limits, and every answer that is no success kept with its code and words.
//!
//! `object_store` keeps only the status; wrong secret, wrong clock and no such bucket would all look alike.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use reqwest::StatusCode;

use crate::answer::Answer;

/// To a connection; a server that is up answers within round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// One whole request. The largest object is 128 MiB, so 3.5 Mbit/s are enough.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Of who gives credentials inside a cloud: next door, or not there at all.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes sent without an answer of the other side's TCP: then nobody is there any more.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// An idle connection is dropped before a server does it, which would cost a request.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Bytes of an error's body that we read.
const ERROR_BODY_MAX: usize = 64 << 10;
/// Bytes of one page of a listing: 1,000 names of 1,024 bytes, escaped, with room to spare.
const PAGE_MAX: usize = 16 << 20;

/// Makes clients that trust `tls` and know which host is the store.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) tls: rustls::ClientConfig,
    /// Host and port; others that requests go to give credentials.
    pub(crate) store: (String, u16),
    /// Of one request.
    pub(crate) timeout: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_MAX)
            .tcp_keepalive(SILENCE_MAX / 3)
            .tcp_user_timeout(SILENCE_MAX)
            .tcp_nodelay(true)
            .http1_only()
            .build()
            .map_err(|source| object_store::Error::Generic { store: "HTTP", source: Box::new(source) })?;
        Ok(HttpClient::new(Service { client, store: self.store.clone(), timeout: self.timeout }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    store: (String, u16),
    timeout: Duration,
}

/// Nobody answered who could give credentials.
#[derive(Debug, thiserror::Error)]
#[error("nothing in the environment or the AWS files, and no answer from the metadata service {0}")]
pub(crate) struct NoMetadata(pub(crate) String);

/// A listing that says there is more and not where.
#[derive(Debug, thiserror::Error)]
#[error("the listing is cut off without a token for its rest")]
pub(crate) struct CutListing;

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let port = request.uri().port_u16().unwrap_or(match request.uri().scheme_str() {
            Some("http") => 80,
            _ => 443,
        });
        let is_store = (&host, port) == (&self.store.0, self.store.1);
        let is_metadata = !is_store && is_metadata_host(&host, request.uri().path());
        let is_listing = is_store && request.uri().query().is_some_and(|query| query.contains("list-type=2"));
        let is_ranged = request.headers().contains_key("range");
        let limit = if is_metadata { METADATA_TIMEOUT } else { self.timeout };
        // Covers the head of the answer; the body's time is the caller's, who reads it.
        let answered = tokio::time::timeout(limit, self.client.call(request)).await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            _ if is_metadata => return Err(HttpError::new(HttpErrorKind::Unknown, NoMetadata(host))),
            Ok(Err(error)) => return Err(error),
            Err(late) => return Err(HttpError::new(HttpErrorKind::Timeout, late)),
        };
        if !response.status().is_success() {
            let mut answer = answer(response).await;
            answer.is_about_credentials = !is_store;
            return Err(HttpError::new(HttpErrorKind::Unknown, answer));
        }
        // rclone names the range that it sends, and calls it the whole; names and lengths are compared in any case.
        if is_ranged && response.headers().contains_key("content-range") {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        if is_listing { whole_page(response).await } else { Ok(response) }
    }
}

/// Where clouds give credentials to the machines and containers inside.
fn is_metadata_host(host: &str, path: &str) -> bool {
    host.starts_with("169.254.") || host == "metadata.google.internal" || path.starts_with("/latest/")
}

async fn answer(response: HttpResponse) -> Answer {
    let (head, body) = response.into_parts();
    let header = |name: &str| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    let body =
        Limited::new(body, ERROR_BODY_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (code, region) = (header("x-ms-error-code"), header("x-amz-bucket-region"));
    let text = String::from_utf8_lossy(&body);
    Answer::read(head.status.as_u16(), code.as_deref(), region.as_deref(), &text)
}

/// The page of a listing, unless it promises more and does not say where.
async fn whole_page(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, PAGE_MAX).collect().await;
    let body: Bytes =
        body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?.to_bytes();
    let has = |tag: &str| memchr::memmem::find(&body, tag.as_bytes()).is_some();
    if has("<IsTruncated>true</IsTruncated>") && !has("<NextContinuationToken>") {
        return Err(HttpError::new(HttpErrorKind::Decode, CutListing));
    }
    Ok(HttpResponse::from_parts(head, HttpResponseBody::from(body)))
}
