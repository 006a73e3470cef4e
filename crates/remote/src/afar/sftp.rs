//! SFTP, version 3, as far as reading needs it: our own messages, because names are bytes and not text.
//!
//! SSH itself, the login and whom to believe are the same as for stores.

mod rest;
mod attributes;
mod message;
mod session;
mod talk;

pub(super) use talk::dial;
