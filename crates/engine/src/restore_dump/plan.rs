//! What will be restored into what, decided before anything happens.

use std::sync::Arc;

use model::backup::{BackupKind, BackupRecord};
use model::digest::Digest;
use pg::archive::Hazard;
use pg::client::{Client, Clients};
use pg::connection::Session;
use pg::restore::{Origin, verify_version};
use pg::server::Server;
use pg::version::Version;
use repo::Repository;
use repo::index::Index;

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::foreign_dump;
use crate::manifest::{DUMP_NAME, Manifest};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct RestoreOrder {
    /// Into which database; the dump's own by default.
    pub database: Option<String>,
    /// Drop first what the dump has.
    pub clean: bool,
    /// Only these tables.
    pub tables: Vec<String>,
    /// Only these schemas.
    pub schemas: Vec<String>,
    /// Create missing roles and their memberships, and the settings and rights of the database.
    pub with_roles: bool,
    /// Leave out owners and rights.
    pub no_owner_no_acl: bool,
    /// Loaders at once, for a new database.
    pub jobs: usize,
}

/// How the target is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is not there: load under another name, rename in.
    New,
    /// It is there and empty: one transaction.
    IntoEmpty,
    /// It is there and has things: one transaction, dropping first what the dump has.
    OverExisting,
}

/// What will happen, before anything happens.
pub struct Plan {
    /// The target database.
    pub database: String,
    /// How it is treated.
    pub way: Way,
    /// Bytes of the dump.
    pub size_bytes: u64,
    /// Tables with rows.
    pub tables: usize,
    /// Rows in all of them, as far as they could be counted.
    pub rows: u64,
    /// Version of the target server.
    pub server: Version,
    /// Version of pg_restore.
    pub client: Client,
    /// Loaders at once.
    pub jobs: usize,
    /// Who made the archive.
    pub origin: Origin,
    /// What in an archive of somebody else's deserves a look.
    pub hazards: Vec<Hazard>,
    pub(super) order: RestoreOrder,
    pub(super) manifest: Manifest,
    pub(super) root: Digest,
    pub(super) file: String,
    pub(super) session: Session,
}

impl Plan {
    /// What was dumped without owners is restored without them.
    pub(super) fn no_owner(&self) -> bool {
        self.order.no_owner_no_acl || self.manifest.no_owner
    }
}

/// Look at the backup and at the server, and decide. An archive of somebody else's is read to its end here.
///
/// # Errors
/// [`EngineError::Refused`] for a database that is not empty without `clean`; damage; no fitting pg_restore, or none
/// that may touch an archive of this origin.
pub fn plan(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    clients: &Clients,
    session: &Session,
    order: RestoreOrder,
) -> Result<Plan> {
    let server = Server::open(clients.newest()?, session)?;
    let choose = |archive_version: &str, origin| -> Result<Client> {
        let client = clients.for_restore(format_minor(archive_version), server.version())?;
        verify_version(origin, client.version())?;
        Ok(client.clone())
    };
    let snapshot = catalog::load_snapshot(repository, record)?;
    let (file, origin, manifest, client, hazards) = match record.kind {
        BackupKind::Dump if record.engine.is_known() => {
            let manifest = catalog::load_manifest(repository, index, &snapshot)?;
            // Nobody vouches for what was imported, and its manifest is only what it said itself.
            let origin = if manifest.is_imported { Origin::Foreign } else { Origin::Own };
            let client = choose(&manifest.archive.archive_version, origin)?;
            let hazards = match origin {
                Origin::Own => vec![],
                Origin::Foreign => {
                    foreign_dump::examine(
                        &foreign_dump::find(repository, index, &snapshot.tree, record)?,
                        record,
                    )?
                    .1
                }
            };
            (DUMP_NAME.to_owned(), origin, manifest, client, hazards)
        }
        BackupKind::Directory if order.database.is_some() => {
            let found = foreign_dump::find(repository, index, &snapshot.tree, record)?;
            let client = choose(&found.archive_version, Origin::Foreign)?;
            let (manifest, hazards) = foreign_dump::examine(&found, record)?;
            (found.name, Origin::Foreign, manifest, client, hazards)
        }
        _ => {
            let (id, kind, engine) = (&record.id, record.kind.as_str(), &record.engine.0);
            let reason = format!("{id} is a {kind} made by {engine:?}, not a dump");
            return Err(EngineError::Unsuitable(reason));
        }
    };
    refuse_missing_parts(&manifest, &order)?;
    let database = order.database.clone().unwrap_or_else(|| manifest.record.database.clone());
    let way = way(&server, &database, &order)?;
    if origin == Origin::Foreign && order.with_roles {
        return Err(EngineError::Unsuitable(format!("{} has no roles beside its dump", record.id)));
    }
    Ok(Plan {
        way,
        size_bytes: manifest.size_bytes,
        tables: manifest.archive.tables().count(),
        rows: manifest.archive.tables().filter_map(|table| table.rows).sum(),
        server: server.version(),
        client,
        jobs: if way == Way::New { order.jobs.max(1) } else { 1 },
        origin,
        hazards,
        session: session.with_database(&database)?,
        root: snapshot.tree,
        file,
        database,
        order,
        manifest,
    })
}

fn way(server: &Server, database: &str, order: &RestoreOrder) -> Result<Way> {
    let is_whole = order.tables.is_empty() && order.schemas.is_empty();
    match server.exists(database)? {
        false if is_whole => Ok(Way::New),
        false => Err(EngineError::Refused(format!(
            "database {database:?} does not exist; create it to restore parts of a dump into it"
        ))),
        true if server.is_empty(database)? => Ok(Way::IntoEmpty),
        true if order.clean => Ok(Way::OverExisting),
        true => Err(EngineError::Refused(format!(
            "database {database:?} is not empty: restore into another one with --database, or replace its \
             contents with --clean"
        ))),
    }
}

/// pg_restore calls it a success when nothing matches (pitfall 30).
fn refuse_missing_parts(manifest: &Manifest, order: &RestoreOrder) -> Result<()> {
    let no_table = order.tables.iter().find(|name| !manifest.archive.has_table(name));
    let no_schema = order.schemas.iter().find(|name| !manifest.archive.has_schema(name));
    let missing = no_table.map(|name| ("table", name)).or(no_schema.map(|name| ("schema", name)));
    match missing {
        Some((what, name)) => Err(EngineError::Unsuitable(format!("the dump has no {what} {name:?}"))),
        None => Ok(()),
    }
}

/// The minor number of the archive's format: `1.14` → 14.
pub(crate) fn format_minor(version: &str) -> u8 {
    version.rsplit('.').next().and_then(|minor| minor.parse().ok()).unwrap_or(u8::MAX)
}
