//! Why a file of SOPS gives no secret.

/// Why not. Never has a value of the file in it.
#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    /// Larger than a file of secrets is.
    #[error("is larger than {0} MiB")]
    TooLarge(u64),
    /// No YAML, JSON or dotenv that we read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// There is no `sops` block, or a part of it is not there.
    #[error("is not encrypted by SOPS: {0} is missing")]
    NotSealed(&'static str),
    /// A rule, or a kind of key, that we do not know.
    #[error("{0}: only the sops program can read it, and it is not in PATH")]
    Foreign(String),
    /// Nobody gave an age identity.
    #[error(
        "no age identity: neither SOPS_AGE_KEY, SOPS_AGE_KEY_FILE nor SOPS_AGE_KEY_CMD is set, and there is no {0}"
    )]
    NoIdentity(String),
    /// What should be identities is not.
    #[error("{0} holds no age identity that can be read")]
    BadIdentity(String),
    /// None of the identities is a recipient.
    #[error("none of the {identities} age identities opens it (it is for {recipients} recipients)")]
    NotForUs {
        /// How many were tried.
        identities: usize,
        /// How many the file has.
        recipients: usize,
    },
    /// The seal over all values, or the one over this value, is broken.
    #[error("was changed by somebody without its key: {0}")]
    Tampered(String),
    /// No such value.
    #[error("has no value {0}")]
    NoKey(String),
    /// A list or a mapping is no secret.
    #[error("{0} is no single value")]
    NotOne(String),
    /// In the clear, and nothing says that nobody changed it.
    #[error("{0} is neither encrypted nor under the seal (mac_only_encrypted)")]
    Bare(String),
}
