//! From an address to a store, whatever its kind; addresses of this machine fall through to `store::open`.

use store::{Store, StoreError};

use crate::settings::Settings;
use crate::sftp::{self, SftpStore};

/// Open the place that `url` names.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address that this build cannot open.
pub fn open(url: &str, settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    if let Some(address) = sftp::Address::parse(url) {
        let address = address.map_err(|reason| StoreError::BadUrl { url: url.to_owned(), reason })?;
        return Ok(Box::new(SftpStore::open(address, settings)?));
    }
    store::open::open(url)
}
