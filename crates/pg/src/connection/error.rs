//! Why a connection cannot be. The text that was given is never shown: it may hold a password.

/// Why text is not a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// Neither a URI nor `key=value` pairs.
    #[error("connection string is malformed: {0}")]
    Malformed(&'static str),
    /// A port that is no port.
    #[error("port {0:?} is not a number from 1 to 65535")]
    BadPort(String),
    /// A parameter that could only be handed on where others can read it.
    #[error("parameter {0} carries a secret that cannot be handed to client programs safely")]
    SecretParameter(String),
    /// PostgreSQL knows no such names.
    #[error("{0} contains a NUL byte")]
    Nul(&'static str),
}
