//! The agent: keeps a repository open for a while, so that a segment costs neither key derivation nor another start, and
//! works ahead of the server.
//!
//! `push` and `fetch` start it where none listens. It is a convenience and never needed: who gets no answer from it does the
//! work without it, and what it did not say is durable is not. It serves one user, and one way to open one repository:
//! where it listens is named by both.

pub(super) mod message;
pub(super) mod room;
pub(super) mod client;
mod ahead;
mod desk;
pub(super) mod serve;
