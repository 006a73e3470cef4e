//! `wal push`, `wal fetch`, `wal export` on segments whose first page is as PostgreSQL writes it, without a server.

#![expect(clippy::unwrap_used, reason = "a test may end there")]

mod scene;
mod push;
mod fetch;
mod agent;
mod moved;
