//! Where a server is and as whom to speak to it: taken from a URI, a `key=value` string or parts.
//!
//! Invariant: the password is a `Secret` apart from everything else and reaches client programs only through a
//! private file. Parameters that carry other secrets are refused, because libpq has no private way in for them.

mod error;
mod uri;
mod conninfo;
mod address;
mod passfile;
mod session;

pub use address::Connection;
pub use error::ConnectionError;
pub use session::{Session, SessionError};
