//! The verbs: each file is one, told as a story over the repository, the directories and PostgreSQL.

pub mod error;
pub mod manifest;
pub mod catalog;
pub mod cutter;
pub mod writing;
pub mod reading;
pub mod stored_file;
pub mod stored_tree;
pub mod back_up_dump;
pub mod back_up_files;
pub mod verify;
pub mod export;
pub mod export_files;
pub mod foreign_dump;
pub mod restore_dump;
pub mod restore_files;
pub mod delete;
pub mod forget;
pub mod stats;
pub mod copy;
pub mod catch_up;
pub mod retired;
pub mod mirror;
pub mod repair_snapshots;

pub use error::EngineError;
