//! PostgreSQL: its client programs, its dump archives and throw-away servers.
//!
//! mainstay speaks to servers only through the programs of a PostgreSQL client directory, so that connection
//! rules are libpq's everywhere. Invariants: a password is never in an argument vector or a child's environment;
//! nothing that comes from an archive is fed to psql.

pub mod version;
mod program;
pub mod connection;
pub mod client;
mod psql;
mod quote;
pub mod globals;
pub mod roles;
pub mod server;
pub mod scratch;
pub mod archive;
pub mod dump;
pub mod restore;
pub mod throwaway;

pub use program::ProgramError;
pub use psql::QueryError;
