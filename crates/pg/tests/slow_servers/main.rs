//! pg against real servers: every installed version, and those that `MAINSTAY_TEST_PG_DIRS` names.
//!
//! pg_dump and pg_restore themselves are the judges.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod rich;
mod archives;
mod dumps;
mod facts;
mod secrets;
mod versions;
mod rooms;
mod control_files;
mod many;
