//! From an address to a store.

use std::path::{Path, PathBuf};

use crate::local::LocalStore;
use crate::store::{Store, StoreError};

/// Open the place that `url` names: a path, `file:///path`, or `local:path` as restic writes it.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address that this build cannot open.
pub fn open(url: &str) -> Result<Box<dyn Store>, StoreError> {
    local_path(url).map(|path| Box::new(LocalStore::new(path)) as Box<dyn Store>)
}

/// The directory that `url` names.
///
/// # Errors
/// As [`open`].
pub fn local_path(url: &str) -> Result<PathBuf, StoreError> {
    let refused = |reason: String| Err(StoreError::BadUrl { url: url.to_owned(), reason });
    let path = match url.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => path,
        Some(("file", _)) => {
            return refused("file:// needs an absolute path, as in file:///srv/backups".into());
        }
        Some((scheme, _)) => {
            return refused(format!(
                "stores of the kind {scheme:?} are not there yet; use a path or file:///path"
            ));
        }
        None => url.strip_prefix("local:").unwrap_or(url),
    };
    match path.trim_end_matches('/') {
        "" => refused("names no directory".into()),
        path => std::path::absolute(Path::new(path))
            .map_err(|cause| StoreError::BadUrl { url: url.to_owned(), reason: cause.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_name_the_same_place() {
        for url in ["/srv/backups", "/srv/backups/", "file:///srv/backups", "local:/srv/backups"] {
            assert_eq!(local_path(url).unwrap(), Path::new("/srv/backups"), "{url}");
        }
        assert!(local_path("backups").unwrap().is_absolute());
    }

    #[test]
    fn other_addresses_are_refused_by_name() {
        for url in ["", "/", "file://srv", "s3://bucket/p", "sftp://host/p"] {
            assert!(matches!(local_path(url), Err(StoreError::BadUrl { .. })), "{url}");
        }
    }
}
