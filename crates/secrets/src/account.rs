//! The service account that Kubernetes gives to a pod.

use std::path::Path;

use model::secret::Secret;
use zeroize::Zeroizing;

use crate::keeper_error::KeeperError;

/// Where the kubelet puts it: `token`, `ca.crt`.
pub(crate) const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Its token, as it is now: it is replaced long before it ends.
pub(crate) fn token(file: &Path) -> Result<Secret, KeeperError> {
    let unreadable = |cause| KeeperError::Account { path: file.to_owned(), cause };
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(unreadable)?);
    Ok(Secret::new(text.trim()))
}
