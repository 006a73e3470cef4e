//! PostgreSQL: its client programs, its dump archives and throw-away servers.
//!
//! mainstay speaks to servers through the programs of a PostgreSQL client directory, so that connection rules are
//! libpq's everywhere; only streams of replication it takes itself (`wire`). Invariants: a password is never in an
//! argument vector or a child's environment; nothing that comes from an archive is fed to psql.

pub mod version;
pub mod page;
pub mod data_directory;
pub mod shared_catalog;
pub mod incremental;
pub mod backup_manifest;
pub mod wal_segment;
pub mod wal_records;
pub mod timeline_history;
pub mod which_cluster;
mod program;
pub mod connection;
pub mod wire;
pub mod replication;
pub mod client;
mod psql;
mod quote;
pub mod base_backup;
pub mod globals;
pub mod roles;
pub mod server;
pub mod relations;
pub mod backup_mode;
pub mod cluster_state;
pub mod wal_summary;
pub mod scratch;
pub mod pending_roles;
pub mod archive;
pub mod dump;
pub mod restore;
pub mod listing;
pub mod control_file;
pub mod backup_label;
pub mod recovery;
pub mod throwaway;

pub use program::ProgramError;
pub use psql::QueryError;
