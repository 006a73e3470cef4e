//! What the three kinds of object storage share before the first request: time limit, trust, and no repeats.

use std::path::Path;
use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};
use store::StoreError;

use crate::address::Address;
use crate::settings::Settings;
use crate::trust;
use crate::web::{Connector, REQUEST_TIMEOUT};

/// Repeating is `store::retry`'s alone.
pub(crate) fn no_retry() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, backoff: BackoffConfig::default() }
}

/// `?timeout=SECONDS` of one request.
pub(crate) fn timeout(address: &Address, settings: &Settings) -> Result<Duration, StoreError> {
    let Some(text) = address.option("timeout", settings) else { return Ok(REQUEST_TIMEOUT) };
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err(address.refused(format!("timeout is 1 to 3600 seconds, not {text:?}"))),
    }
}

/// Our HTTP to the server of `url`.
pub(crate) fn connector(
    address: &Address,
    settings: &Settings,
    url: &str,
    timeout: Duration,
) -> Result<Connector, StoreError> {
    let parsed = reqwest::Url::parse(url).ok();
    let store = parsed.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
    let store = store.ok_or_else(|| address.refused(format!("{url:?} is no endpoint")))?;
    let ca_file = address.option("ca-file", settings).map(Path::new);
    let tls = trust::client_config(ca_file, address.option("pin", settings));
    Ok(Connector { tls: tls.map_err(|error| address.refused(error))?, store, timeout })
}
