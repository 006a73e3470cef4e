//! `gs://bucket/prefix`: Google Cloud Storage.
//!
//! Credentials: `GOOGLE_OAUTH_ACCESS_TOKEN`, the file of `GOOGLE_APPLICATION_CREDENTIALS` or
//! `GOOGLE_SERVICE_ACCOUNT` (`GOOGLE_SERVICE_ACCOUNT_KEY` holds its content), gcloud's own file, the machine's service
//! account.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use store::StoreError;

use crate::address::Address;
use crate::cloud::CloudStore;
use crate::connect::{connector, no_retry, timeout};
use crate::settings::Settings;

const ENDPOINT: &str = "https://storage.googleapis.com";

/// Open a bucket.
///
/// # Errors
/// [`StoreError::BadUrl`] for settings that cannot be; nothing is asked of the server yet.
pub(crate) fn open(address: &Address, settings: &Settings) -> Result<CloudStore, StoreError> {
    let endpoint = address.option("endpoint", settings).map(|endpoint| endpoint.trim_end_matches('/'));
    let url = endpoint.unwrap_or(ENDPOINT);
    let timeout = timeout(address, settings)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&address.bucket)
        .with_base_url(url)
        .with_retry(no_retry())
        .with_http_connector(connector(address, settings, url, timeout)?);
    if let Some(token) = settings.variable("GOOGLE_OAUTH_ACCESS_TOKEN") {
        let credential = GcpCredential { bearer: token.to_owned() };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(credential)));
    } else if let Some(key) = settings.variable("GOOGLE_SERVICE_ACCOUNT_KEY") {
        builder = builder.with_service_account_key(key);
    } else if let Some(path) = settings.variable("GOOGLE_SERVICE_ACCOUNT") {
        builder = builder.with_service_account_path(path);
    } else if let Some(path) = settings.variable("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.with_application_credentials(path);
    }
    let inside = builder.build().map_err(|error| address.refused(error.to_string()))?;
    let class = address.option("storage-class", settings).map(str::to_owned);
    CloudStore::new(
        Arc::new(inside),
        &address.prefix,
        address.shown(&[("endpoint", endpoint)]),
        class,
        timeout,
    )
}
