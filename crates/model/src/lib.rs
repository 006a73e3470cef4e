//! The words of mainstay: what a tenant, a source, a backup and a directory entry are.
//!
//! No IO and no threads live here; every other crate speaks in these types.

pub mod cancel;
pub mod progress;
pub mod digest;
pub mod secret;
pub mod size;
pub mod name;
pub mod backup;
pub mod entry;
pub mod retention;
