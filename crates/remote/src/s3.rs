//! `s3://bucket/prefix`: Amazon S3 and what speaks its language.
//!
//! Credentials are sought where AWS's own programs do: environment, web identity, the shared files, the container's
//! and the machine's metadata service; `?profile=` asks the files first.

use std::sync::Arc;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use store::StoreError;

use crate::address::Address;
use crate::cloud::CloudStore;
use crate::connect::{connector, no_retry, timeout};
use crate::profile::Profile;
use crate::settings::Settings;
use crate::web::Connector;

const REGION_DEFAULT: &str = "us-east-1";

/// Variables that `object_store` knows how to use, by its own names.
const PASSED_ON: [(&str, AmazonS3ConfigKey); 8] = [
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
];

/// A bucket, and how to ask it what no store is asked.
pub(crate) struct Bucket {
    pub(crate) inside: AmazonS3,
    /// Without a slash at the end.
    pub(crate) url: String,
    pub(crate) region: String,
    pub(crate) connector: Connector,
    /// The address that people see.
    pub(crate) place: String,
}

/// Open a bucket.
///
/// # Errors
/// [`StoreError::BadUrl`] for settings that cannot be; nothing is asked of the server yet.
pub(crate) fn open(address: &Address, settings: &Settings) -> Result<CloudStore, StoreError> {
    let Bucket { inside, place, connector, .. } = bucket(address, settings)?;
    let class = address.option("storage-class", settings).map(str::to_owned);
    CloudStore::new(Arc::new(inside), &address.prefix, place, class, connector.timeout)
}

/// The bucket of an address.
///
/// # Errors
/// As [`open`].
pub(crate) fn bucket(address: &Address, settings: &Settings) -> Result<Bucket, StoreError> {
    let profile =
        Profile::read(address.option("profile", settings), settings).map_err(|e| address.refused(e))?;
    let variable = |names: &[&str]| names.iter().find_map(|name| settings.variable(name));
    let endpoint = address
        .option("endpoint", settings)
        .or_else(|| variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]))
        .or_else(|| profile.get("endpoint_url"));
    let region = address
        .option("region", settings)
        .or_else(|| variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
        .or_else(|| profile.get("region"))
        .unwrap_or(REGION_DEFAULT);
    let timeout = timeout(address, settings)?;
    let (url, is_virtual) = bucket_url(address, settings, endpoint, region)?;
    let connector = connector(address, settings, &url, timeout)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&address.bucket)
        .with_region(region)
        .with_endpoint(&url)
        .with_virtual_hosted_style_request(is_virtual)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_disable_bulk_delete(true)
        .with_retry(no_retry())
        .with_http_connector(connector.clone());
    builder = encryption(builder, address, settings);
    builder = credentials(builder, address, settings, &profile);
    let inside = builder.build().map_err(|error| address.refused(error.to_string()))?;
    let place = address.shown(&[("endpoint", endpoint)]);
    let url = if is_virtual { url } else { format!("{url}/{}", address.bucket) };
    Ok(Bucket { inside, url, region: region.to_owned(), connector, place })
}

/// The URL to send to, and whether the bucket is in its host.
fn bucket_url(
    address: &Address,
    settings: &Settings,
    endpoint: Option<&str>,
    region: &str,
) -> Result<(String, bool), StoreError> {
    // A bucket with dots fits under no certificate of AWS; other servers rarely have a name for each bucket.
    let is_path = address.flag("path-style", settings)?;
    let is_virtual = !is_path.unwrap_or(endpoint.is_some() || address.bucket.contains('.'));
    let endpoint = endpoint.map_or_else(|| format!("https://s3.{region}.amazonaws.com"), str::to_owned);
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
    let host = host.trim_end_matches('/');
    if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(['@', '/', '?']) {
        return Err(address.refused(format!("{endpoint:?} is no endpoint; write https://host[:port]")));
    }
    let url = match is_virtual {
        true => format!("{scheme}://{}.{host}", address.bucket),
        false => format!("{scheme}://{host}"),
    };
    Ok((url, is_virtual))
}

/// `?sse=AES256`, or `?sse=aws:kms` with or without `?sse-kms-key=`.
fn encryption(mut builder: AmazonS3Builder, address: &Address, settings: &Settings) -> AmazonS3Builder {
    for (option, key) in [("sse", "aws_server_side_encryption"), ("sse-kms-key", "aws_sse_kms_key_id")] {
        if let (Some(value), Ok(key)) = (address.option(option, settings), key.parse()) {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

fn credentials(
    mut builder: AmazonS3Builder,
    address: &Address,
    settings: &Settings,
    profile: &Profile,
) -> AmazonS3Builder {
    let has_profile = address.option("profile", settings).is_some();
    let of_environment = |name: &str| settings.variable(name).filter(|_| !has_profile);
    let is_environment = of_environment("AWS_ACCESS_KEY_ID").is_some();
    let is_web_identity = of_environment("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
    let pick = |variable: &'static str, key: &'static str| match (is_environment, is_web_identity) {
        (true, _) => of_environment(variable),
        (false, true) => None,
        (false, false) => profile.get(key),
    };
    let keys = [
        ("AWS_ACCESS_KEY_ID", "aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
        ("AWS_SESSION_TOKEN", "aws_session_token", AmazonS3ConfigKey::Token),
    ];
    for (variable, key, to) in keys {
        if let Some(value) = pick(variable, key) {
            builder = builder.with_config(to, value);
        }
    }
    for (key, to) in [
        ("web_identity_token_file", AmazonS3ConfigKey::WebIdentityTokenFile),
        ("role_arn", AmazonS3ConfigKey::RoleArn),
    ] {
        if let Some(value) = profile.get(key).filter(|_| !is_web_identity) {
            builder = builder.with_config(to, value);
        }
    }
    for (variable, to) in PASSED_ON {
        if let Some(value) = of_environment(variable) {
            builder = builder.with_config(to, value);
        }
    }
    builder
}
