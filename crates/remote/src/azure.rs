//! `az://container/prefix`: Azure Blob Storage, the account by `?account=` or `AZURE_STORAGE_ACCOUNT_NAME`.
//!
//! Credentials: the account's key, a shared access signature, a client's secret, a workload's or the machine's
//! identity, by the variables of Azure's own programs.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use store::StoreError;

use crate::address::Address;
use crate::cloud::CloudStore;
use crate::connect::{connector, no_retry, timeout};
use crate::settings::Settings;

/// Variables of Azure's programs, and what they mean to `object_store`.
const PASSED_ON: [(&str, AzureConfigKey); 10] = [
    ("AZURE_STORAGE_ACCOUNT_KEY", AzureConfigKey::AccessKey),
    ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ("AZURE_STORAGE_SAS_TOKEN", AzureConfigKey::SasKey),
    ("AZURE_STORAGE_TOKEN", AzureConfigKey::Token),
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
    ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
    ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
];

/// Open a container.
///
/// # Errors
/// [`StoreError::BadUrl`] for settings that cannot be; nothing is asked of the server yet.
pub(crate) fn open(address: &Address, settings: &Settings) -> Result<CloudStore, StoreError> {
    let account = address
        .option("account", settings)
        .or_else(|| settings.variable("AZURE_STORAGE_ACCOUNT_NAME"))
        .or_else(|| settings.variable("AZURE_STORAGE_ACCOUNT"))
        .ok_or_else(|| address.refused("name the account: ?account=… or AZURE_STORAGE_ACCOUNT_NAME"))?;
    let endpoint = address.option("endpoint", settings);
    let url = endpoint.map_or_else(|| format!("https://{account}.blob.core.windows.net"), str::to_owned);
    let timeout = timeout(address, settings)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(&address.bucket)
        .with_endpoint(url.clone())
        .with_retry(no_retry())
        .with_http_connector(connector(address, settings, &url, timeout)?);
    for (variable, key) in PASSED_ON {
        if let Some(value) = settings.variable(variable) {
            builder = builder.with_config(key, value);
        }
    }
    let inside = builder.build().map_err(|error| address.refused(error.to_string()))?;
    let class = address.option("storage-class", settings).map(str::to_owned);
    let place = address.shown(&[("account", Some(account)), ("endpoint", endpoint)]);
    CloudStore::new(Arc::new(inside), &address.prefix, place, class, timeout)
}
