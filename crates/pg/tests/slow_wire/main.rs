//! Our own client against real servers: logging in, streams of WAL, base backups.
//!
//! The judges are PostgreSQL's own: what a server lets in, `pg_verifybackup`, and a server that starts on what came.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod setting;
mod logins;
mod wal;
mod backups;
