//! Variables as another system's `.env` names them, in our words.
//!
//! That system backs a directory behind SFTP up into object storage. `REMOTE_…` say where the repository is,
//! `RUSTIC_ENCRYPTION_PASSWORD` what opens it, and `SFTP_…` where the directory is, which is called `sftp:` here.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// Those that stand for one of ours.
const SAME: [(&str, &str); 3] = [
    ("RUSTIC_ENCRYPTION_PASSWORD", "MAINSTAY_PASSWORD"),
    ("REMOTE_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
    ("REMOTE_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
];

/// What `variables` say in our words.
pub(crate) fn translated(variables: &[(String, String)]) -> Vec<(String, String)> {
    let get = |name: &str| {
        let found = variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    };
    let mut ours: Vec<_> = SAME
        .iter()
        .filter_map(|(theirs, ours)| Some(((*ours).to_owned(), get(theirs)?.to_owned())))
        .collect();
    if let Some(bucket) = get("REMOTE_BUCKET_NAME") {
        let path = get("REMOTE_PATH").unwrap_or_default().trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        let endpoint = get("REMOTE_ENDPOINT").map(|endpoint| match endpoint.contains("://") {
            true => format!("?endpoint={endpoint}"),
            false => format!("?endpoint=https://{endpoint}"),
        });
        let url = format!("s3://{bucket}{slash}{path}{}", endpoint.unwrap_or_default());
        ours.push(("MAINSTAY_REPOSITORY".to_owned(), url));
    }
    ours
}

/// What `--directory` calls the directory of `SFTP_…`.
pub(crate) const DIRECTORY: &str = "sftp:";

/// A directory behind SFTP, as those variables say it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sftp {
    /// Its address: the directory of the login.
    pub(crate) url: String,
    /// The fingerprint of the server's host key.
    pub(crate) pin: Option<String>,
    /// The private key itself.
    pub(crate) key: Option<String>,
}

/// The directory of `SFTP_…`, where there is one; in words what is wrong with it. The key is never said.
pub(crate) fn sftp<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Sftp, String> {
    let host = get("SFTP_HOST").ok_or("sftp: is the directory of SFTP_HOST, which is not set")?;
    let user = get("SFTP_USER").ok_or("SFTP_USER is not set")?;
    let port = get("SFTP_PORT").unwrap_or("22");
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let pin =
        get("SFTP_HOST_PUBKEY").map(|line| fingerprint(line).ok_or("SFTP_HOST_PUBKEY is no public key"));
    // In one line, breaks are written as \\n.
    let key = get("SFTP_USER_PRIVKEY").map(|key| format!("{}\n", key.replace("\\n", "\n").trim_end()));
    Ok(Sftp { url: format!("sftp://{user}@{host}:{port}/."), pin: pin.transpose()?, key })
}

/// Of a public key as `known_hosts` and `.pub` files have it.
fn fingerprint(line: &str) -> Option<String> {
    let key = line.split_whitespace().find(|word| word.starts_with("AAAA"))?;
    let key = STANDARD.decode(key).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u2_the_names_of_the_original_mean_ours() {
        let given = [
            ("REMOTE_ENDPOINT", "s3.example"),
            ("REMOTE_BUCKET_NAME", "acme"),
            ("REMOTE_PATH", "/backup/rustic"),
            ("REMOTE_ACCESS_KEY_ID", "id"),
            ("REMOTE_SECRET_ACCESS_KEY", "secret"),
            ("RUSTIC_ENCRYPTION_PASSWORD", "password"),
            ("SFTP_HOST", "files.example"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let ours = translated(&given);
        let expected = [
            ("MAINSTAY_PASSWORD", "password"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("MAINSTAY_REPOSITORY", "s3://acme/backup/rustic?endpoint=https://s3.example"),
        ];
        assert_eq!(ours, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(translated(&[]).is_empty());
    }
}
