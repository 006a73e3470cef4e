//! Places that keep objects: put-if-absent, ranged get, strict list, delete. Everything else is a wrapper.

pub mod key;
pub mod store;
mod direct;
pub mod local;
pub mod memory;
pub mod faulty;
pub mod clock;
pub mod retry;
pub mod limit;
pub mod prefix;
pub mod meter;
pub mod cache;
pub mod adapt;
pub mod probe;
pub mod conformance;
pub mod open;

pub use key::Key;
pub use store::{Object, Range, Refusal, Store, StoreError};
