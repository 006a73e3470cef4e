//! PostgreSQL's protocol (PostgreSQL manual, chapter 55), spoken without libpq: for streams that no client program hands on
//! as they come.
//!
//! Blocking, one conversation per connection, the simple query protocol alone; where to go and whom to believe is
//! libpq's parameters, read as libpq reads them. Invariants: a password goes in the clear only over a connection that
//! nobody can read; whatever bytes come, memory is bounded and the answer is a value or an error.

mod error;
mod body;
mod socket;
mod frames;
mod settings;
mod passfile;
mod end_point;
mod trust;
mod connect;
mod login;
mod conversation;

pub use conversation::{Conversation, Rows, Value};
pub use error::{ServerError, WireError};
pub use login::Purpose;

pub(crate) use body::{Body, readable};
pub(crate) use conversation::{Answer, Piece};
