//! The loading itself: in one transaction into a database that is there, or in pieces into a new one.
//!
//! In pieces, everything has the order of a whole restore: definitions, rows, constraints, rights. What differs is
//! the order of the tables. Tables whose rows are judged by functions of people come last, and those that are refused
//! are tried again as long as others of them get in: their functions may read tables that are not loaded yet
//! (pitfall 29). TimescaleDB has an order of its own, and no pieces.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::cancel::CancelToken;
use model::progress::Progress;
use pg::ProgramError;
use pg::archive::{
    ArchiveEntry, DataBlock, RestorePlan, Section, Toc, list_of, list_of_schemas, list_of_the_end,
    plan_restore,
};
use pg::connection::Session;
use pg::restore::{RestoreError, RestoreOptions, restore_file, restore_stream};
use pg::server::{Extension, Server};
use tempfile::NamedTempFile;

use super::plan::{Plan, RestoreOrder, TIMESCALE, Way, is_timescale};
use super::streams::{Counted, PartialArchive};
use crate::error::{EngineError, Result};
use crate::stored_file::{StoredFile, damage};

/// Bytes of rows that are worth a pg_restore of their own; smaller tables share one.
const BATCH_LEN: u64 = 16 << 20;

/// What a load needs.
pub(super) struct Loading<'a> {
    pub(super) file: &'a StoredFile,
    pub(super) plan: &'a Plan,
    pub(super) server: &'a Server,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a CancelToken,
}

/// Tables for one pg_restore.
struct Batch {
    tables: Vec<DataBlock>,
    /// Whether it may be refused and tried again.
    is_late: bool,
}

impl Loading<'_> {
    /// All of it or nothing, into a database that is there.
    pub(super) fn in_one_transaction(&self) -> Result<Vec<String>> {
        let Self { file, plan, progress, cancel, .. } = self;
        let mut options = RestoreOptions {
            clean: plan.way == Way::OverExisting,
            single_transaction: true,
            tables: plan.order.tables.clone(),
            schemas: plan.order.schemas.clone(),
            ..self.options(None)
        };
        let list = self.list_of_schemas()?;
        if let Some(list) = &list {
            options.schemas.clear();
            options.list = Some(list.path().to_owned());
        }
        let mut archive = Counted { inside: file.range(0, file.len())?, progress };
        restore_stream(&plan.client, &plan.session, &options, &mut archive, cancel).map_err(source_damage)
    }

    /// Into a new database of this name, which nobody else uses.
    pub(super) fn in_pieces(&self, database: &str) -> Result<Vec<String>> {
        let Self { plan, cancel, .. } = self;
        if plan.has_timescale {
            return self.between_calls(database);
        }
        let session = plan.session.with_database(database)?;
        let toc = &plan.toc;
        let mut steps = plan_restore(&plan.manifest.archive);
        let skeleton = temporary(&toc.without_data())?;
        let whole = |options| restore_file(&plan.client, &session, &options, skeleton.path(), cancel);

        let pre_data = RestoreOptions { no_acl: true, ..self.options(Some(Section::PreData)) };
        let mut warnings = whole(pre_data)?;
        let judged = self.server.judged_tables(database)?;
        let late = steps.set_aside(|table| judged.contains(&table.name));
        self.load_tables(toc, batches(&steps, late), &session)?;
        self.load_rest(toc, &steps, &session)?;
        let list = list_of_the_end(&plan.manifest.archive);
        if !list.is_empty() {
            let list = temporary(list.as_bytes())?;
            let (list, jobs) = (Some(list.path().to_owned()), plan.jobs as u32);
            warnings.extend(whole(RestoreOptions { list, jobs, ..self.options(None) })?);
        }
        Ok(warnings)
    }

    /// Into a new database of this name, as TimescaleDB asks for it: the extension, then everything else by one pg_restore
    /// while the extension keeps still (https://docs.timescale.com/self-hosted/latest/backup-and-restore/logical-backup).
    fn between_calls(&self, database: &str) -> Result<Vec<String>> {
        let Self { file, plan, progress, cancel, .. } = self;
        let session = plan.session.with_database(database)?;
        let list = |is_wanted: &dyn Fn(&ArchiveEntry) -> bool| {
            temporary(list_of(&plan.manifest.archive, is_wanted).as_bytes())
        };
        let is_first = |entry: &ArchiveEntry| entry.desc == "SCHEMA" || is_timescale(entry);
        let (first, others) = (list(&is_first)?, list(&|entry: &ArchiveEntry| !is_first(entry))?);
        let skeleton = temporary(&plan.toc.without_data())?;
        let of = |list: &NamedTempFile| RestoreOptions {
            list: Some(list.path().to_owned()),
            ..self.options(None)
        };
        let mut warnings = restore_file(&plan.client, &session, &of(&first), skeleton.path(), cancel)?;
        self.verify_extension(database)?;
        self.call(database, "timescaledb_pre_restore")?;
        let mut archive = Counted { inside: file.range(0, file.len())?, progress };
        let restored = restore_stream(&plan.client, &session, &of(&others), &mut archive, cancel);
        warnings.extend(restored.map_err(source_damage)?);
        self.call(database, "timescaledb_post_restore")?;
        // A database that its workers are connected to cannot be renamed.
        if self.call(database, "stop_background_workers").is_ok() {
            warnings.push(
                "the jobs of TimescaleDB stand still in this database until the server starts again, or its function \
                 start_background_workers() is called"
                    .to_owned(),
            );
        }
        Ok(warnings)
    }

    /// What the extension keeps in tables of its own is read by its own version alone.
    fn verify_extension(&self, database: &str) -> Result<()> {
        let version = |extensions: &[Extension]| {
            let found = extensions.iter().find(|extension| extension.name == TIMESCALE);
            found.map(|extension| extension.version.clone())
        };
        match (version(&self.plan.manifest.extensions), version(&self.server.extensions(database)?)) {
            (Some(of_dump), Some(here)) if of_dump != here => Err(EngineError::Unsuitable(format!(
                "the dump is of TimescaleDB {of_dump}, and this server makes {here}: install {of_dump} there, and update it \
                 after the restore"
            ))),
            _ => Ok(()),
        }
    }

    fn call(&self, database: &str, function: &str) -> Result<()> {
        match self.server.call_in_extension(database, TIMESCALE, function)? {
            Some(call) => Ok(self.server.execute_in(database, &[&call])?),
            None => Err(EngineError::Unsuitable(format!("the server's TimescaleDB has no {function}()"))),
        }
    }

    fn options(&self, section: Option<Section>) -> RestoreOptions {
        RestoreOptions {
            section,
            no_owner: self.plan.no_owner(),
            no_acl: self.plan.order.no_owner_no_acl,
            no_tablespaces: self.plan.no_tablespaces,
            ..RestoreOptions::default()
        }
    }

    /// What whole schemas need, with the schemas themselves where the target does not have them.
    fn list_of_schemas(&self) -> Result<Option<NamedTempFile>> {
        let Self { plan, server, .. } = self;
        let RestoreOrder { schemas, tables, .. } = &plan.order;
        if schemas.is_empty() || !tables.is_empty() {
            return Ok(None);
        }
        let there = server.schemas(&plan.database)?;
        let missing: Vec<_> = schemas.iter().filter(|name| !there.contains(name)).cloned().collect();
        temporary(list_of_schemas(&plan.manifest.archive, schemas, &missing).as_bytes()).map(Some)
    }

    /// The rows of all tables. What is refused and may be is tried again once the others are in, until none is left
    /// or none gets in.
    fn load_tables(&self, toc: &Toc, mut batches: Vec<Batch>, session: &Session) -> Result<()> {
        loop {
            let count = batches.len();
            let refused = self.load_batches(toc, batches, session)?;
            if refused.is_empty() {
                return Ok(());
            }
            let was_useless = refused.len() == count;
            let (again, mut errors): (Vec<_>, Vec<_>) = refused.into_iter().unzip();
            if was_useless {
                return Err(errors.swap_remove(0).into());
            }
            batches = again;
        }
    }

    /// Load the batches, `plan.jobs` at a time; returns the late ones that the server refused.
    fn load_batches(
        &self,
        toc: &Toc,
        batches: Vec<Batch>,
        session: &Session,
    ) -> Result<Vec<(Batch, RestoreError)>> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, RestoreError)>> {
            let mut refused = vec![];
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = batches.get(at) else { return Ok(refused) };
                match self.load_batch(toc, batch, session) {
                    Err(error) if batch.is_late && is_refusal(&error) => refused.push((at, error)),
                    Err(error) => {
                        next.store(batches.len(), Ordering::Relaxed);
                        return Err(source_damage(error));
                    }
                    Ok(()) => {}
                }
            }
        };
        let ends: Vec<_> = std::thread::scope(|scope| {
            let count = self.plan.jobs.min(batches.len());
            let loaders: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let stopped = || Err(EngineError::Unsuitable("a loading thread stopped unexpectedly".to_owned()));
            loaders.into_iter().map(|loader| loader.join().unwrap_or_else(|_| stopped())).collect()
        });
        let mut refused = vec![];
        for end in ends {
            refused.extend(end?);
        }
        let mut errors: std::collections::HashMap<usize, RestoreError> = refused.into_iter().collect();
        let batches = batches.into_iter().enumerate();
        Ok(batches.filter_map(|(at, batch)| Some((batch, errors.remove(&at)?))).collect())
    }

    fn load_batch(&self, toc: &Toc, batch: &Batch, session: &Session) -> Result<(), RestoreError> {
        let ids: Vec<u32> = batch.tables.iter().map(|table| table.dump_id).collect();
        let head = toc.tables_head(&ids).map_err(io::Error::other).map_err(RestoreError::Source)?;
        let mut archive = PartialArchive::new(head, &batch.tables, self.file, self.progress);
        let options = RestoreOptions { section: Some(Section::Data), ..RestoreOptions::default() };
        restore_stream(&self.plan.client, session, &options, &mut archive, self.cancel).map(|_| ())
    }

    /// Large objects and sequence values, in the order of the archive.
    fn load_rest(&self, toc: &Toc, steps: &RestorePlan, session: &Session) -> Result<()> {
        if !steps.has_rest {
            return Ok(());
        }
        let mut archive = PartialArchive::new(toc.rest_head(), &steps.rest_blocks, self.file, self.progress);
        let options = self.options(Some(Section::Data));
        restore_stream(&self.plan.client, session, &options, &mut archive, self.cancel)
            .map_err(source_damage)?;
        Ok(())
    }
}

/// The tables in batches, largest first; those that are judged last, each alone, so that it is loaded or not.
fn batches(steps: &RestorePlan, late: Vec<DataBlock>) -> Vec<Batch> {
    let others = steps.batches(BATCH_LEN).into_iter().map(|tables| Batch { tables, is_late: false });
    others.chain(late.into_iter().map(|table| Batch { tables: vec![table], is_late: true })).collect()
}

/// Whether the server said no, and nothing else went wrong.
fn is_refusal(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Program(ProgramError::Ended { .. }))
}

fn temporary(bytes: &[u8]) -> Result<NamedTempFile> {
    let file = NamedTempFile::new().map_err(EngineError::io("making a temporary file"))?;
    std::fs::write(file.path(), bytes).map_err(EngineError::io("writing a temporary file"))?;
    Ok(file)
}

fn source_damage(error: RestoreError) -> EngineError {
    match error {
        RestoreError::Source(cause) => damage(cause),
        error => error.into(),
    }
}
