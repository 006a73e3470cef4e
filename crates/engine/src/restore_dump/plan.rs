//! What will be restored into what, decided before anything happens.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use model::backup::{BackupKind, BackupRecord};
use model::digest::Digest;
use pg::archive::{ArchiveEntry, ArchiveReader, Hazard, Toc};
use pg::client::{Client, Clients};
use pg::connection::Session;
use pg::globals::DatabaseFacts;
use pg::restore::{Origin, verify_version};
use pg::server::{DEFAULT_TABLESPACE, Server};
use pg::version::Version;
use repo::Repository;
use repo::index::Index;

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::foreign_dump;
use crate::manifest::{DUMP_NAME, Manifest};
use crate::stored_file::{StoredFile, damage};

/// An extension with an order of its own (pitfall 29).
pub(super) const TIMESCALE: &str = "timescaledb";

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
    /// Put everything into the database's own tablespace, and a new database into the server's default.
    pub no_tablespaces: bool,
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
    /// Tablespaces that the server does not have, or not for us: what was in them goes into the database's own.
    pub missing_tablespaces: BTreeSet<String>,
    /// Whether the dump's tablespaces are left out.
    pub(super) no_tablespaces: bool,
    /// Whether it goes between the two calls that TimescaleDB asks for.
    pub(super) has_timescale: bool,
    pub(super) order: RestoreOrder,
    pub(super) manifest: Manifest,
    pub(super) toc: Toc,
    pub(super) root: Digest,
    pub(super) file: String,
    pub(super) session: Session,
}

impl Plan {
    /// What was dumped without owners is restored without them.
    pub(super) fn no_owner(&self) -> bool {
        self.order.no_owner_no_acl || self.manifest.no_owner
    }

    /// What the new database is to be like.
    pub(super) fn facts(&self) -> Option<DatabaseFacts> {
        let facts = self.manifest.database.clone()?;
        Some(match self.order.no_tablespaces {
            true => DatabaseFacts { tablespace: DEFAULT_TABLESPACE.to_owned(), ..facts },
            false => facts,
        })
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
    let find_foreign = || foreign_dump::find(repository, index, &snapshot.tree, record);
    let (file, origin, manifest, client, hazards) = match record.kind {
        BackupKind::Dump if record.engine.is_known() => {
            let manifest = catalog::load_manifest(repository, index, &snapshot)?;
            // Nobody vouches for what was imported, and its manifest is only what it said itself.
            let origin = if manifest.is_imported { Origin::Foreign } else { Origin::Own };
            let client = choose(&manifest.archive.archive_version, origin)?;
            let hazards = match origin {
                Origin::Own => vec![],
                Origin::Foreign => foreign_dump::examine(&find_foreign()?, record)?.1,
            };
            (DUMP_NAME.to_owned(), origin, manifest, client, hazards)
        }
        BackupKind::Directory if order.database.is_some() => {
            let found = find_foreign()?;
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
    refuse_no_roles(record, origin, &order)?;
    let database = order.database.clone().unwrap_or_else(|| manifest.record.database.clone());
    let way = way(&server, &database, &order)?;
    let toc = read_toc(&StoredFile::open(repository, index, &snapshot.tree, &file)?, &manifest)?;
    let has_timescale = manifest.archive.entries.iter().any(is_timescale);
    refuse_over_timescale(has_timescale, way, &database)?;
    let (no_tablespaces, missing_tablespaces) = tablespaces(&server, &toc, &manifest, way, &order)?;
    Ok(Plan {
        way,
        size_bytes: manifest.size_bytes,
        tables: manifest.archive.tables().count(),
        rows: manifest.archive.tables().filter_map(|table| table.rows).sum(),
        server: server.version(),
        client,
        jobs: if way == Way::New && !has_timescale { order.jobs.max(1) } else { 1 },
        origin,
        hazards,
        missing_tablespaces,
        no_tablespaces,
        has_timescale,
        session: session.with_database(&database)?,
        root: snapshot.tree,
        file,
        database,
        order,
        manifest,
        toc,
    })
}

/// Whether the dump's tablespaces are left out, and which ones the server does not have, or not for us.
fn tablespaces(
    server: &Server,
    toc: &Toc,
    manifest: &Manifest,
    way: Way,
    order: &RestoreOrder,
) -> Result<(bool, BTreeSet<String>)> {
    if order.no_tablespaces {
        return Ok((true, BTreeSet::new()));
    }
    let of_dump = toc.entries.iter().map(|entry| &entry.tablespace);
    let of_database = manifest.database.iter().map(|facts| &facts.tablespace);
    let is_said = |name: &&String| !name.is_empty() && *name != DEFAULT_TABLESPACE;
    let of_dump: BTreeSet<&String> = of_dump.filter(is_said).collect();
    let of_database = of_database.filter(is_said).filter(|_| way == Way::New);
    let named: BTreeSet<&String> = of_dump.iter().copied().chain(of_database).collect();
    if named.is_empty() {
        return Ok((false, BTreeSet::new()));
    }
    let there = server.tablespaces()?;
    let missing: BTreeSet<String> = named.into_iter().filter(|name| !there.contains(name)).cloned().collect();
    // pg_restore leaves out all of them or none.
    Ok((of_dump.iter().any(|name| missing.contains(*name)), missing))
}

pub(super) fn is_timescale(entry: &ArchiveEntry) -> bool {
    entry.desc == "EXTENSION" && entry.tag == TIMESCALE
}

/// Its calls belong to a whole database which nobody uses meanwhile, and are no part of a transaction. Of one table alone
/// the rows would be missing: they lie in other tables.
fn refuse_over_timescale(has_timescale: bool, way: Way, database: &str) -> Result<()> {
    match has_timescale && way != Way::New {
        true => Err(EngineError::Refused(format!(
            "database {database:?} is there, and a dump with TimescaleDB is restored as a whole into a new database: name \
             another one with --database"
        ))),
        false => Ok(()),
    }
}

/// The dump's own table of contents.
fn read_toc(file: &StoredFile, manifest: &Manifest) -> Result<Toc> {
    let mut archive = ArchiveReader::new();
    let mut head = file.range(0, manifest.archive.toc_length)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = head.read(&mut buffer).map_err(damage)?;
        archive.push(&buffer[..count])?;
        match archive.toc() {
            Some(toc) => return Ok(toc.clone()),
            None if count == 0 => return Err(archive.finish().err().map_or_else(no_toc, EngineError::from)),
            None => {}
        }
    }
}

fn no_toc() -> EngineError {
    EngineError::Unsuitable("the dump has no table of contents".to_owned())
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

/// Beside the archive of somebody else's there are no roles.
fn refuse_no_roles(record: &BackupRecord, origin: Origin, order: &RestoreOrder) -> Result<()> {
    match origin == Origin::Foreign && order.with_roles {
        true => Err(EngineError::Unsuitable(format!("{} has no roles beside its dump", record.id))),
        false => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitfall_29_with_timescaledb_a_whole_dump_goes_into_a_new_database_alone() {
        for (way, is_refused) in [(Way::New, false), (Way::IntoEmpty, true), (Way::OverExisting, true)] {
            assert_eq!(refuse_over_timescale(true, way, "metrics").is_err(), is_refused, "{way:?}");
            assert!(refuse_over_timescale(false, way, "metrics").is_ok());
        }
        let refused = refuse_over_timescale(true, Way::IntoEmpty, "metrics").unwrap_err();
        assert!(refused.to_string().contains("\"metrics\" is there"), "{refused}");
    }
}
