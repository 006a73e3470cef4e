//! The truth about a dump, kept beside it in the same snapshot: enough to list, verify and restore it with nothing
//! but the repository.
//!
//! Form: `manifest.json` in the root of the snapshot's tree, beside `database.dump` and `globals.json`.

use model::backup::{BackupRecord, decimal};
use model::digest::Digest;
use pg::archive::ArchiveSummary;
use pg::globals::DatabaseFacts;
use pg::server::Extension;
use serde::{Deserialize, Serialize};

/// Name of the dump in the tree.
pub const DUMP_NAME: &str = "database.dump";
/// Name of the manifest in the tree.
pub const MANIFEST_NAME: &str = "manifest.json";
/// Name of the server's globals in the tree.
pub const GLOBALS_NAME: &str = "globals.json";

/// What `manifest.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Of this form: 1.
    pub manifest_version: u32,
    /// The record, as it was at commit.
    pub record: BackupRecord,
    /// SHA-256 of the dump.
    pub sha256: Digest,
    /// Bytes of the dump.
    #[serde(with = "decimal")]
    pub size_bytes: u64,
    /// Version of the server.
    pub server_version: String,
    /// Version of pg_dump.
    pub client_version: String,
    /// Whether owners were left out.
    pub no_owner: bool,
    /// Whether rights were left out.
    pub no_acl: bool,
    /// Whether somebody else made the dump; then nobody vouches for what is in it.
    #[serde(default)]
    pub is_imported: bool,
    /// Extensions with their versions.
    pub extensions: Vec<Extension>,
    /// Encoding, locale, owner and rights of the database, if the server told.
    pub database: Option<DatabaseFacts>,
    /// What pg_dump warned of.
    pub warnings: Vec<String>,
    /// Every entry with its offset and its exact number of rows, and the hash of the content without its time.
    pub archive: ArchiveSummary,
}

/// The form that this build writes.
pub const MANIFEST_VERSION: u32 = 1;
