//! A PostgreSQL server for a moment: for the demo, for drills, for tests.
//!
//! It lives in one temporary directory, listens on 127.0.0.1 and on a socket in that directory, and asks for a random
//! password. PostgreSQL refuses to run as root, so under root it runs as `postgres` or `nobody`. Invariant: server
//! and directory are gone when this value is; nothing else on the machine is touched.

mod error;
mod identity;
mod directory;
mod cluster;
mod restored;
mod requests;

pub use cluster::{Cluster, ClusterOptions, Template};
pub use directory::SUPERUSER;
pub use error::ThrowawayError;
pub use requests::WalRequests;
pub use restored::{RestoredServer, end_left_behind, give_away};
