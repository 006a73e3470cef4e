//! Restore a dump into a database: decide first (`plan`), show the plan, then do it (`carry_out`).
//!
//! Invariant: never a half state. A database that is there is changed in one transaction, after every byte of the
//! dump was verified. A new one is loaded under another name, each byte verified on its way, and renamed in when
//! all of it is there; on any failure it is dropped.

mod streams;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use pg::archive::{ArchiveReader, RestorePlan, Section, Toc, plan_restore};
use pg::client::{Client, Clients};
use pg::connection::Session;
use pg::globals::Globals;
use pg::restore::{RestoreOptions, restore_file, restore_stream};
use pg::roles::{database_properties_sql, roles_sql};
use pg::server::Server;
use pg::version::Version;
use repo::index::Index;
use repo::{RepoError, Repository};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::manifest::{DUMP_NAME, GLOBALS_NAME, Manifest};
use crate::stored_file::StoredFile;
use crate::verify::verify_dump;
use streams::{Counted, PartialArchive};

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
    /// Tables with rows, and their rows.
    pub tables: usize,
    /// Rows in all of them.
    pub rows: u64,
    /// Version of the target server.
    pub server: Version,
    /// Version of pg_restore.
    pub client: Client,
    /// Loaders at once.
    pub jobs: usize,
    order: RestoreOrder,
    manifest: Manifest,
    root: Digest,
    session: Session,
}

impl Plan {
    /// What was dumped without owners is restored without them.
    fn no_owner(&self) -> bool {
        self.order.no_owner_no_acl || self.manifest.no_owner
    }
}

/// Look at the backup and at the server, and decide.
///
/// # Errors
/// [`EngineError::Refused`] for a database that is not empty without `clean`; damage; no fitting pg_restore.
pub fn plan(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    clients: &Clients,
    session: &Session,
    order: RestoreOrder,
) -> Result<Plan> {
    if record.kind != BackupKind::Dump || !record.engine.is_known() {
        let reason =
            format!("{} is a {} made by {:?}, not a dump", record.id, record.kind.as_str(), record.engine.0);
        return Err(EngineError::Unsuitable(reason));
    }
    let snapshot = catalog::load_snapshot(repository, record)?;
    let manifest = catalog::load_manifest(repository, index, &snapshot)?;
    refuse_missing_parts(&manifest, &order)?;
    let database = order.database.clone().unwrap_or_else(|| manifest.record.database.clone());
    let server = Server::open(clients.newest()?, session)?;
    let client = clients.for_restore(format_minor(&manifest), server.version())?.clone();
    let way = match server.exists(&database)? {
        false => Way::New,
        true if server.is_empty(&database)? => Way::IntoEmpty,
        true if order.clean => Way::OverExisting,
        true => {
            return Err(EngineError::Refused(format!(
                "database {database:?} is not empty: restore into another one with --database, or replace its \
                 contents with --clean"
            )));
        }
    };
    if way == Way::New && !(order.tables.is_empty() && order.schemas.is_empty()) {
        let reason =
            format!("database {database:?} does not exist; create it to restore parts of a dump into it");
        return Err(EngineError::Refused(reason));
    }
    Ok(Plan {
        way,
        size_bytes: manifest.size_bytes,
        tables: manifest.archive.tables().count(),
        rows: manifest.archive.tables().filter_map(|table| table.rows).sum(),
        server: server.version(),
        client,
        jobs: if way == Way::New { order.jobs.max(1) } else { 1 },
        session: session.with_database(&database)?,
        root: snapshot.tree,
        database,
        order,
        manifest,
    })
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
fn format_minor(manifest: &Manifest) -> u8 {
    let version = &manifest.archive.archive_version;
    version.rsplit('.').next().and_then(|minor| minor.parse().ok()).unwrap_or(u8::MAX)
}

/// Do what the plan says. Returns pg_restore's warnings.
///
/// # Errors
/// Damage to the dump (the database is then untouched), or pg_restore's own words (it is then as before).
pub fn carry_out(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    plan: &Plan,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<String>> {
    let file = StoredFile::open(repository, index, &plan.root, DUMP_NAME)?;
    let server = Server::open(&plan.client, &plan.session)?;
    let globals = match plan.order.with_roles {
        true => Some(load_globals(repository, index, plan)?),
        false => None,
    };
    if plan.way != Way::New {
        verify_dump(repository, index, &plan.root, record, &plan.manifest, progress, cancel)?;
    }
    if let Some(globals) = &globals {
        server.execute(&roles_sql(globals, server.version()))?;
    }
    progress.begin("restoring", plan.size_bytes);
    match plan.way {
        Way::New => load_new(&file, plan, &server, globals.as_ref(), progress, cancel),
        Way::IntoEmpty | Way::OverExisting => load_in_one_transaction(&file, plan, &server, progress, cancel),
    }
}

fn load_globals(repository: &Repository, index: &Index, plan: &Plan) -> Result<Globals> {
    let json = catalog::load_small_file(repository, index, &plan.root, GLOBALS_NAME)?;
    Ok(serde_json::from_slice(&json).map_err(|error| RepoError::damaged(GLOBALS_NAME, error))?)
}

fn load_in_one_transaction(
    file: &StoredFile,
    plan: &Plan,
    server: &Server,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<String>> {
    let mut options = RestoreOptions {
        clean: plan.way == Way::OverExisting,
        single_transaction: true,
        no_owner: plan.no_owner(),
        no_acl: plan.order.no_owner_no_acl,
        tables: plan.order.tables.clone(),
        schemas: plan.order.schemas.clone(),
        ..RestoreOptions::default()
    };
    let list = list_of_schemas(plan, server)?;
    if let Some(list) = &list {
        options.schemas.clear();
        options.list = Some(list.path().to_owned());
    }
    let mut archive = Counted { inside: file.range(0, file.len())?, progress };
    restore_stream(&plan.client, &plan.session, &options, &mut archive, cancel).map_err(source_damage)
}

/// What whole schemas need, with the schemas themselves where the target does not have them.
fn list_of_schemas(plan: &Plan, server: &Server) -> Result<Option<tempfile::NamedTempFile>> {
    let RestoreOrder { schemas, tables, .. } = &plan.order;
    if schemas.is_empty() || !tables.is_empty() {
        return Ok(None);
    }
    let there = server.schemas(&plan.database)?;
    let missing: Vec<_> = schemas.iter().filter(|name| !there.contains(name)).cloned().collect();
    let list = tempfile::NamedTempFile::new().map_err(EngineError::io("making a temporary file"))?;
    let lines = pg::archive::list_of_schemas(&plan.manifest.archive, schemas, &missing);
    std::fs::write(list.path(), lines).map_err(EngineError::io("writing a temporary file"))?;
    Ok(Some(list))
}

/// Load under a name of its own, and rename it in.
fn load_new(
    file: &StoredFile,
    plan: &Plan,
    server: &Server,
    globals: Option<&Globals>,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<String>> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(RepoError::from)?;
    let temporary = format!("mainstay_restore_{:08x}", u32::from_ne_bytes(random));
    server.create_database(&temporary, plan.manifest.database.as_ref())?;
    let loaded = load_into(&temporary, file, plan, progress, cancel).and_then(|warnings| {
        if let (Some(globals), Some(facts)) = (globals, &plan.manifest.database) {
            server.execute(&database_properties_sql(globals, facts, &temporary))?;
        }
        // Somebody may have made one of that name meanwhile: the server then refuses, and theirs stays.
        server.rename_database(&temporary, &plan.database)?;
        Ok(warnings)
    });
    if loaded.is_err() {
        // The first error is the one to tell; a database that cannot be dropped is named by its prefix.
        drop(server.drop_database(&temporary));
    }
    loaded
}

fn load_into(
    temporary: &str,
    file: &StoredFile,
    plan: &Plan,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<String>> {
    let session = plan.session.with_database(temporary)?;
    let toc = read_toc(file, plan)?;
    let steps = plan_restore(&plan.manifest.archive);
    let skeleton = tempfile::NamedTempFile::new().map_err(EngineError::io("making a temporary file"))?;
    std::fs::write(skeleton.path(), toc.without_data())
        .map_err(EngineError::io("writing a temporary file"))?;
    let part = |section| RestoreOptions {
        section,
        no_owner: plan.no_owner(),
        no_acl: plan.order.no_owner_no_acl,
        jobs: plan.jobs as u32,
        ..RestoreOptions::default()
    };
    let pre_data = RestoreOptions { jobs: 1, ..part(Some(Section::PreData)) };
    let mut warnings = restore_file(&plan.client, &session, &pre_data, skeleton.path(), cancel)?;
    load_tables(&toc, &steps, file, plan, &session, progress, cancel)?;
    load_rest(&toc, &steps, file, plan, &session, progress, cancel)?;
    if steps.has_post_data {
        warnings.extend(restore_file(
            &plan.client,
            &session,
            &part(Some(Section::PostData)),
            skeleton.path(),
            cancel,
        )?);
    }
    Ok(warnings)
}

fn read_toc(file: &StoredFile, plan: &Plan) -> Result<Toc> {
    let mut archive = ArchiveReader::new();
    let mut head = file.range(0, plan.manifest.archive.toc_length)?;
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

/// An error of a stored stream is damage, in the repository's words.
fn damage(error: std::io::Error) -> EngineError {
    match error.downcast::<RepoError>() {
        Ok(error) => error.into(),
        Err(cause) => EngineError::Io { what: "reading the dump".to_owned(), cause },
    }
}

/// Bytes of rows that are worth a pg_restore of their own; smaller tables share one.
const BATCH_LEN: u64 = 16 << 20;

/// The rows of all tables, `plan.jobs` loaders at a time, the largest first.
fn load_tables(
    toc: &Toc,
    steps: &RestorePlan,
    file: &StoredFile,
    plan: &Plan,
    session: &Session,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let batches = steps.batches(BATCH_LEN);
    let next = AtomicUsize::new(0);
    let options = RestoreOptions { section: Some(Section::Data), ..RestoreOptions::default() };
    let work = || -> Result<()> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ids: Vec<u32> = batch.iter().map(|table| table.dump_id).collect();
            let mut archive = PartialArchive::new(toc.tables_head(&ids)?, batch, file, progress);
            let restored = restore_stream(&plan.client, session, &options, &mut archive, cancel);
            if restored.is_err() {
                next.store(batches.len(), Ordering::Relaxed);
            }
            restored.map_err(source_damage)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..plan.jobs.min(batches.len())).map(|_| scope.spawn(work)).collect();
        let stopped = || Err(EngineError::Unsuitable("a loading thread stopped unexpectedly".to_owned()));
        let ends: Vec<_> =
            loaders.into_iter().map(|loader| loader.join().unwrap_or_else(|_| stopped())).collect();
        ends.into_iter().collect()
    })
}

/// Large objects and sequence values, in the order of the archive.
fn load_rest(
    toc: &Toc,
    steps: &RestorePlan,
    file: &StoredFile,
    plan: &Plan,
    session: &Session,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    if !steps.has_rest {
        return Ok(());
    }
    let mut archive = PartialArchive::new(toc.rest_head(), &steps.rest_blocks, file, progress);
    let options = RestoreOptions {
        section: Some(Section::Data),
        no_owner: plan.no_owner(),
        no_acl: plan.order.no_owner_no_acl,
        ..RestoreOptions::default()
    };
    restore_stream(&plan.client, session, &options, &mut archive, cancel).map_err(source_damage)?;
    Ok(())
}

fn source_damage(error: pg::restore::RestoreError) -> EngineError {
    match error {
        pg::restore::RestoreError::Source(cause) => damage(cause),
        error => error.into(),
    }
}
