//! Places that keep objects: put-if-absent, ranged get, strict list, delete. Everything else is a wrapper.

pub mod key;
pub mod store;
mod direct;
pub mod local;
pub mod memory;
pub mod faulty;
pub mod archive;
pub mod frozen;
pub mod adapt;
pub mod clock;
mod patience;
pub mod retry;
pub mod bucket;
pub mod limit;
pub mod prefix;
pub mod meter;
pub mod cache;
pub mod tiers;
pub mod probe;
pub mod conformance;
pub mod open;

pub use key::Key;
pub use store::{Bytes, Object, Range, Reads, Refusal, Store, StoreError};
