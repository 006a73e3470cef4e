//! The words of mainstay: what a tenant, a source, a backup and a directory entry are.
//!
//! No IO and no threads live here; every other crate speaks in these types.

pub mod cancel;
pub mod progress;
pub mod digest;
pub mod secret;
pub mod reference;
pub mod lsn;
pub mod wal_name;
pub mod recovery_target;
pub mod span;
pub mod size;
pub mod name;
pub mod backup;
pub mod entry;
pub mod set_mark;
pub mod recovery_window;
pub mod retention;
mod policy_text;
