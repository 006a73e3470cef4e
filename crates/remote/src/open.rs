//! From an address to a store, whatever its kind; addresses of this machine fall through to `store::open`.

use store::{Store, StoreError};

use crate::address::Address;
use crate::lock::Term;
use crate::settings::Settings;
use crate::sftp::{self, SftpStore};
use crate::{azure, gcs, locked, past, s3};

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
    if let Some(at) = address.option("at", settings) {
        return match address.scheme {
            "s3" => Ok(Box::new(past::open(&address, settings, at)?)),
            _ => Err(address.refused("earlier versions are read from s3:// alone")),
        };
    }
    if let Some(term) = Term::of(&address, settings)? {
        return Ok(Box::new(locked::open(&address, settings, term)?));
    }
    match address.scheme {
        "s3" => Ok(Box::new(s3::open(&address, settings)?)),
        "gs" => Ok(Box::new(gcs::open(&address, settings)?)),
        _ => Ok(Box::new(azure::open(&address, settings)?)),
    }
}

/// `url` as it was at a time: the address that reads the versions of then. `None` where that is no address of object
/// storage, which alone may keep some.
pub fn as_it_was(url: &str, at: jiff::Timestamp) -> Option<String> {
    let mark = if url.contains('?') { '&' } else { '?' };
    is_object_storage(url).then(|| format!("{url}{mark}at={at}"))
}

/// Whether `url` names a place as it was at a time.
pub fn is_past(url: &str) -> bool {
    let address = Address::parse(url).and_then(Result::ok);
    address.is_some_and(|address| address.option("at", &Settings::default()).is_some())
}

/// Whether `url` names object storage, which many speak and each with habits of its own.
pub fn is_object_storage(url: &str) -> bool {
    Address::parse(url).is_some()
}
