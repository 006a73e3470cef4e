//! Why a conversation with a server ended otherwise than it should.
//!
//! What the server says is handed on in its own words, with its SQLSTATE; passwords never come here.

use std::fmt;
use std::io;
use std::path::PathBuf;

use model::cancel::Cancelled;

/// The server's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`; `WARNING` where it goes on.
    pub severity: String,
    /// Five characters that name what happened (PostgreSQL manual, appendix A).
    pub sqlstate: String,
    /// What happened.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What the server would try.
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {} (SQLSTATE {})", self.severity, self.message, self.sqlstate)?;
        for more in [&self.detail, &self.hint].into_iter().flatten() {
            write!(out, "; {more}")?;
        }
        Ok(())
    }
}

/// A conversation could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A parameter of the connection that this client does not follow: to leave it out could be unsafe.
    #[error("parameter {0} is not understood by mainstay's own client")]
    Unsupported(String),
    /// A parameter that is missing, or whose value is none.
    #[error("parameter {name}: {reason}")]
    Parameter {
        /// libpq's name of it.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A file that the connection names.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// Host and port, or the socket.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// TLS was asked for and cannot be had, or the certificate is not believed.
    #[error("TLS with {place}: {reason}")]
    Tls {
        /// Host and port.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The server asks for a password and there is none.
    #[error("the server asks for a password, and none is given")]
    NoPassword,
    /// The server asks for proof in a way that is not spoken here, or not over such a connection.
    #[error("the server asks for {0}")]
    Authentication(&'static str),
    /// The server did not prove that it knows the password, or what it said makes no sense.
    #[error("SCRAM with the server: {0}")]
    Scram(String),
    /// The server refused; the words are its own.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// The server cannot do what is asked.
    #[error("the server is older than {0}")]
    TooOld(&'static str),
    /// The server said something that does not belong there.
    #[error("the server's words make no sense: {0}")]
    Nonsense(String),
    /// The connection ended.
    #[error("the server closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection to the server broke: {0}")]
    Broken(io::Error),
    /// Nothing came for too long.
    #[error("the server was silent for {} seconds", .0.as_secs())]
    Silent(std::time::Duration),
    /// Somebody asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl std::error::Error for ServerError {}

impl WireError {
    pub(crate) fn nonsense(what: impl Into<String>) -> Self {
        Self::Nonsense(what.into())
    }

    /// The SQLSTATE, where the server refused.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.sqlstate),
            _ => None,
        }
    }

    /// Whether the same may go well a little later: the server is away, starts, stops or has no room, and nothing of
    /// ours is wrong.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Closed | Self::Broken(_) | Self::Silent(_) => true,
            // Operator intervention, insufficient resources, connections, and objects that are in use.
            Self::Server(error) => {
                ["57P", "53", "08", "55006"].iter().any(|class| error.sqlstate.starts_with(class))
            }
            _ => false,
        }
    }
}
