//! From an address to a store, whatever its kind; addresses of this machine fall through to `store::open`.

use store::{Store, StoreError};

use crate::address::Address;
use crate::settings::Settings;
use crate::sftp::{self, SftpStore};
use crate::{azure, gcs, s3};

/// Open the place that `url` names. Object storage is asked nothing yet; a server with SSH is.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address or a setting that cannot be.
pub fn open(url: &str, settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    if let Some(address) = sftp::Address::parse(url) {
        let address = address.map_err(|reason| StoreError::BadUrl { url: url.to_owned(), reason })?;
        return Ok(Box::new(SftpStore::open(address, settings)?));
    }
    let Some(address) = Address::parse(url) else { return store::open::open(url) };
    let address = address?;
    match address.scheme {
        "s3" => Ok(Box::new(s3::open(&address, settings)?)),
        "gs" => Ok(Box::new(gcs::open(&address, settings)?)),
        _ => Ok(Box::new(azure::open(&address, settings)?)),
    }
}

/// Whether `url` names object storage, which many speak and each with habits of its own.
pub fn is_object_storage(url: &str) -> bool {
    Address::parse(url).is_some()
}
