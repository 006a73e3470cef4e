//! Why somebody could not be told.

/// Why nobody was told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// An address that is none.
    #[error("{what} {text:?} is no address: {reason}")]
    Address {
        /// Of whom or what.
        what: &'static str,
        /// As it was written.
        text: String,
        /// Why.
        reason: String,
    },
    /// A file of an authority that cannot be used.
    #[error("certificate {path}: {reason}")]
    Authority {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// What the mail server says.
    #[error("e-mail by {server}: {reason}")]
    Mail {
        /// Which server.
        server: String,
        /// Its words.
        reason: String,
    },
    /// What the web server says. Its address may be a secret; only its host is shown.
    #[error("{host}: {reason}")]
    Web {
        /// Which host.
        host: String,
        /// Its words.
        reason: String,
    },
}
