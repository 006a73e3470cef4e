//! WAL of real servers: archived by their archive_command, fetched by their restore_command, judged by what they come back to.

#![expect(clippy::unwrap_used, reason = "a test may end there")]

mod place;
mod server;
mod road;
mod trouble;
mod watched;
mod doctor;
mod configured;
