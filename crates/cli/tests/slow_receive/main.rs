//! `mainstay wal receive` on real servers, with everybody killed in turn. PostgreSQL's recovery judges what was received.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod scene;
mod commits;
mod road;
