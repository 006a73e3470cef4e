//! Telling somebody: an e-mail, a POST of JSON, a sign of life.

mod error;
mod mail;
mod web;

pub use error::NotifyError;
pub use mail::{Login, send};
pub use web::{ping, post};
