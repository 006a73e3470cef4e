//! The independent observer: says when a backup that should be there is missing, late, incomplete or much smaller.
//!
//! It looks at what there is, in repositories, directories and others' tools, and believes nobody who made it: no history, no
//! exit code, no daemon. [`judge`] decides and is pure; [`told`] remembers what was told; [`notify`] tells.

pub mod judge;
pub mod judge_wal;
pub mod told;
pub mod files;
pub mod pgbackrest;
pub mod message;
pub mod notify;
