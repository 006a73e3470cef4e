//! The repository: the restic format, version 2, and the machine that writes and reads it.
//!
//! A backup goes through these rooms: [`chunk`] cuts a stream, [`saver`] hashes, compresses and seals on all
//! cores, [`packer`] gathers blobs into packs and stores them, [`index`] says where each blob is, [`tree`] and
//! [`snapshot_file`] give it a name. Becoming visible goes blobs → pack → index → snapshot, never another way.

pub mod error;
pub mod clock;
pub mod threads;
pub mod step_back;
pub mod budget;
pub mod polynomial;
pub mod sha256;
pub mod crypto;
pub mod key_file;
pub mod config;
pub mod chunk;
pub mod blob;
pub mod compression;
pub mod pack;
pub mod index_file;
pub mod table;
pub mod index;
pub mod cache;
pub mod known;
pub mod sealed_file;
pub mod go_quote;
pub mod node;
pub mod tree;
pub mod snapshot_file;
mod broken_packs;
pub mod waiting;
pub mod repository;
pub mod snapshots;
pub mod note;
pub mod wal_object;
pub mod broken;
pub mod marks;
pub mod refresh;
pub mod opener;
mod second_copy;
pub mod reader;
pub mod plain_cache;
pub mod random;
pub mod packer;
mod claims;
pub mod content;
pub mod saver;
pub mod stream;
#[cfg(test)]
mod testing;
mod presence;
pub mod lease;
pub mod adopt;
pub mod keys;
pub mod hot;
pub mod deleted;
pub mod reachable;
pub mod touched;
mod examine;
pub mod check;
pub mod prune;
pub mod parity;
pub mod repair;

pub use blob::{BlobId, BlobKind};
pub use error::RepoError;
pub use repository::Repository;
