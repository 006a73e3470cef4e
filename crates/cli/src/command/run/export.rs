//! After a good backup of a database: its plain dump goes to a place of its own, and older ones there go by a policy.
//!
//! In this order, so that nothing there is ever half: pg_restore has read the table of contents and the hash is right, the dump
//! gets its name, what is told of it gets its own; and away the other way round. What goes wrong here never makes the backup
//! itself a bad one.

use std::io::{self, Write};
use std::sync::Arc;

use config::configuration::{Export, ExportRetention};
use config::export_name::ExportName;
use engine::export::export_dump;
use engine::{EngineError, catalog, reading};
use jiff::{SignedDuration, Timestamp};
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::progress::Progress;
use model::retention::{Policy, Received, Verdict, plan_forget};
use pg::client::Clients;
use pg::listing::Listing;
use repo::Repository;
use serde_json::{Value, json};

use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::shelf::Shelf;
use crate::{database, password, place};

/// How far our clock may be from that of the place; beyond it nobody knows how old a dump is.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Where dumps go, and what is needed for it.
pub(super) struct Exporting<'a> {
    export: &'a Export,
    shelf: Shelf,
    clients: Clients,
    environment: Environment,
    face: &'a Face,
    cancel: &'a CancelToken,
}

impl<'a> Exporting<'a> {
    /// With the credentials of the place, above those of `environment`.
    pub(super) fn open(
        export: &'a Export,
        environment: &Environment,
        face: &'a Face,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        let fetched = export.credentials.iter().map(|(name, reference)| {
            Ok((name.clone(), password::referenced(reference, environment)?.expose().to_owned()))
        });
        let environment = environment.with(fetched.collect::<Result<Vec<_>>>()?, face, |_| ());
        let bin_dir = environment.get("MAINSTAY_PG_BIN_DIR").map(std::path::PathBuf::from);
        let clients = database::clients(bin_dir.as_deref(), environment.get("PATH"))?;
        let shelf = Shelf::open(&export.to, &environment)?;
        Ok(Self { export, shelf, clients, environment, face, cancel })
    }

    /// The dumps of `records` and those that were missed before them, and then what has to go. In words what went wrong, one for
    /// each.
    pub(super) fn all(&self, records: &[BackupRecord], repositories: &[Arc<Repository>]) -> Vec<String> {
        let is_dump = |record: &&BackupRecord| record.kind == BackupKind::Dump && !record.incomplete;
        let done = records.iter().filter(is_dump).map(|record| {
            let holds = |one: &&Arc<Repository>| one.store().location() == record.location;
            let repository = repositories.iter().find(holds).or(repositories.first());
            let repository =
                repository.ok_or_else(|| CliError::new(Kind::Failed, "no repository is open"))?;
            for missed in self.missed(record, repository)? {
                self.one(&missed, repository)?;
            }
            self.one(record, repository)?;
            self.drop_older(record)
        });
        let words = |error: CliError| format!("export to {}: {}", self.export.to, error.message);
        done.filter_map(|done: Result<()>| done.err().map(words)).collect()
    }

    /// Good backups before `record` that are newer than the newest dump of their source here, oldest first: a run that was killed,
    /// or a place that was away. A place without any begins with this one.
    fn missed(&self, record: &BackupRecord, repository: &Arc<Repository>) -> Result<Vec<BackupRecord>> {
        let name = &self.export.name;
        let listed = self.shelf.list(&name.folder(record))?;
        // Names have whole seconds.
        let second = |time: Timestamp| time.as_second();
        let times = listed.iter().filter_map(|placed| name.time_in(&placed.name, record)).map(second);
        let this = second(record.created_at);
        let Some(newest) = times.filter(|time| *time < this).max() else { return Ok(vec![]) };
        let of =
            |record: &BackupRecord| (record.tenant.clone(), record.source.clone(), record.database.clone());
        let mut missed = catalog::list_readable(repository)?.records;
        missed.retain(|one| {
            let is_between = newest < second(one.created_at) && second(one.created_at) < this;
            is_between && one.kind == BackupKind::Dump && one.is_good() && of(one) == of(record)
        });
        missed.sort_by_key(|one| one.created_at);
        Ok(missed)
    }

    fn one(&self, record: &BackupRecord, repository: &Arc<Repository>) -> Result<()> {
        let _lease = reading::begin(repository, "export", &place::identity(&self.environment))?;
        let index = Arc::new(repository.load_index()?);
        let client = self.clients.newest().map_err(EngineError::from)?;
        let name = self.export.name.fill(record);
        let bytes = self.shelf.put(&name, record.size_bytes, |out| {
            let mut listing = Listing::start(client, self.cancel).map_err(EngineError::from)?;
            let mut both = Both { out, listing: &mut listing };
            let bytes = export_dump(repository, &index, record, &mut both, &Progress::new(), self.cancel)?;
            listing.finish().map_err(EngineError::from)?;
            Ok(bytes)
        })?;
        let address = self.shelf.address(&name);
        if self.export.has_sidecar {
            let told = serde_json::to_vec_pretty(&sidecar(record, &address)).unwrap_or_default();
            self.shelf.put_small(&ExportName::sidecar(&name), &told)?;
        }
        self.face.note(&format!("export ok id={} bytes={bytes} to={address}", record.id));
        Ok(())
    }

    /// What the policy gives up of the dumps of this source.
    fn drop_older(&self, record: &BackupRecord) -> Result<()> {
        let has_lifecycle = || self.shelf.has_lifecycle();
        match &self.export.retention {
            ExportRetention::All => Ok(()),
            ExportRetention::Lifecycle => {
                if has_lifecycle() == Some(false) {
                    self.face.warn("export: no rule of the bucket deletes anything here, and retention = \"lifecycle\" rests on one");
                }
                Ok(())
            }
            // Whichever is shorter would win, and nobody would know which.
            ExportRetention::Ours(_) if self.export.to.contains("://") && has_lifecycle() == Some(true) => {
                Err(CliError::new(
                    Kind::Refused,
                    "rules of the bucket delete dumps here too, so no dump was deleted by ours; say retention = \"lifecycle\", \
                     or take the rule away",
                ))
            }
            ExportRetention::Ours(policy) => self.forget(record, policy),
        }
    }

    fn forget(&self, record: &BackupRecord, policy: &Policy) -> Result<()> {
        let name = &self.export.name;
        let now = Timestamp::now();
        let mut found = vec![];
        for placed in self.shelf.list(&name.folder(record))? {
            let Some(created_at) = name.time_in(&placed.name, record) else { continue };
            let made = BackupRecord { created_at, hold: false, last_verification: None, ..record.clone() };
            found.push((placed, made));
        }
        // The dump that came last is seconds old.
        let latest = found.iter().map(|(placed, _)| placed.modified).max().unwrap_or(now);
        if latest.duration_since(now).abs() > CLOCKS_APART_MAX {
            let words = format!("it is {now:.0} here and {latest:.0} there, so no older dump is deleted");
            return Err(CliError::new(Kind::Refused, words));
        }
        let received: Vec<_> = found
            .iter()
            .map(|(placed, record)| Received { record, at: placed.modified, is_needed: false })
            .collect();
        let verdicts = plan_forget(policy, &received, now);
        let goes = found.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::Forget);
        let mut count = 0;
        for ((placed, _), _) in goes {
            self.cancel.check().map_err(EngineError::from)?;
            self.shelf.delete(&ExportName::sidecar(&placed.name))?;
            self.shelf.delete(&placed.name)?;
            count += 1;
        }
        if count > 0 {
            self.face.note(&format!("{count} older dumps deleted in {}", self.export.to));
        }
        Ok(())
    }
}

/// What is told of a dump (C4).
fn sidecar(record: &BackupRecord, address: &str) -> Value {
    let mut placed = record.clone();
    placed.found_at(address.to_owned());
    json!({
        "id": placed.id,
        "username": placed.tenant,
        "database": placed.database,
        "created_at": format!("{:.0}", placed.created_at),
        "size_bytes": placed.size_bytes,
        "sha256": placed.sha256.map(|digest| digest.to_hex()).unwrap_or_default(),
        "destination": placed.destination,
        "location": placed.location,
        "engine": placed.engine,
        "relation_count": placed.relation_count,
    })
}

/// Writes to both.
struct Both<'a> {
    out: &'a mut dyn Write,
    listing: &'a mut Listing,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.listing.write_all(bytes)?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
