//! Directories: walk and read them for a backup, write them back at a restore. Those of this machine are here; `remote`
//! has others behind the same boundary.
//!
//! Blocking, Linux, without unsafe code. Names are bytes. Nothing is followed that was not asked for: every path
//! below a root is opened relative to a directory that is already open, and symbolic links in between are refused.

pub mod relative;
pub mod error;
mod time;
mod beneath;
mod xattr;
pub mod owner;
pub mod metadata;
pub mod exclude;
mod listing;
pub mod root;
pub mod walk;
mod transfer;
pub mod read;
pub mod origin;
pub mod compare;
pub mod losses;
mod apply;
mod recent;
pub mod directories;
pub mod partial;
mod site;
pub mod write;
mod remove;
pub mod target;
pub mod space;
pub mod here;
pub mod conformance;
