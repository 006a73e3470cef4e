//! From an address to a store, whatever its kind; addresses of this machine fall through to `store::open`.

use store::{Store, StoreError};

use crate::settings::Settings;

/// Open the place that `url` names.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address that this build cannot open.
pub fn open(url: &str, _settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    store::open::open(url)
}
