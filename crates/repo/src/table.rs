//! The index of a large repository as a sealed, sorted file on this machine; docs/designs/0003-index.md has its form.
//!
//! Invariants: whatever is read from a table was authenticated, with its place; a table is replaced whole, under the
//! hands of nobody who has it open. Errors are [`std::io::Error`]s, of the kind `InvalidData` for damage: they say
//! only that this table is of no use, and whoever asked has the index files to go back to.

pub mod record;
pub mod page;
pub mod roll;
pub mod scratch;
pub mod draft;
pub mod sorted;
pub mod build;
