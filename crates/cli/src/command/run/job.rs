//! One run of one source: where it goes, who else may be at it, the backup, and what is forgotten afterwards.

use std::sync::Arc;

use config::configuration::{Far, Source, Tenant, What};
use daemon::timetable::Job;
use engine::{catalog, forget, stats};
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::set_mark::SetMark;
use repo::Repository;
use repo::budget::Budget;
use repo::lease::Lease;

use super::super::backup::create::{self, Failure, Names};
use super::super::sources::{Configured, is_of};
use super::done::{Done, Ended};
use super::export::Exporting;
use super::hosts::{Hosts, host};
use crate::arguments::{Create, FarArguments, Global, ServerArgs, What as WhatArgument};
use crate::around::{Around, Ending};
use crate::configured::{self, Limits};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::target::Target;
use crate::wire_arguments::Destination;
use crate::{password, place};

/// What every run needs.
pub(super) struct Runner<'a> {
    pub(super) global: &'a Global,
    pub(super) sources: &'a [Configured<'a>],
    pub(super) environment: &'a Environment,
    pub(super) face: &'a Face,
    pub(super) cancel: CancelToken,
    /// Tenants at one time.
    pub(super) places: usize,
    pub(super) hosts: &'a Hosts,
}

impl Runner<'_> {
    /// Carry out one run. Nothing of it stops the others. One of a set is marked so; whoever runs the set keeps others away.
    pub(super) fn carry_out(&self, job: Job, set: Option<&SetMark>) -> Ended {
        let one = self.sources[job.entry];
        let face = self.face.about(&one.name());
        let (tenant, source) = one.parts();
        let variables = vec![("MAINSTAY_TENANT", tenant.to_owned()), ("MAINSTAY_SOURCE", source.to_owned())];
        let mut around = Around::new(one.source.hooks.as_ref().map(|hooks| &hooks.value), variables, &face);
        let (mut repositories, mut lease, mut skipped) = (vec![], None, None);
        let done = self.environment_of(one.tenant, one.source, &face).and_then(|environment| {
            let targets = self.targets(one.tenant, one.source, &environment, &face)?;
            let order = order(one.tenant, one.source, set, &environment)?;
            let host = host(&one.source.what.value);
            let at_host_max = one.source.per_host.as_ref().map(|max| max.value);
            let mut turn = None;
            let begin = |place: &create::Place| {
                repositories.push(Arc::clone(&place.repository));
                if repositories.len() > 1 {
                    return Ok(());
                }
                refuse_beyond_limit(one.tenant, &place.repository)?;
                // Who waits for somebody in its repository keeps nobody from the host.
                let mut begin_at_host = || {
                    turn = Some(self.hosts.wait(&host, at_host_max, &self.cancel)?);
                    around.before(&self.cancel)
                };
                if set.is_some() {
                    return begin_at_host();
                }
                skipped = self.reason_to_skip(
                    one.tenant,
                    one.source,
                    job,
                    &place.repository,
                    &mut lease,
                    &environment,
                )?;
                match &skipped {
                    Some(reason) => Err(CliError::new(Kind::Refused, reason.clone())),
                    None => begin_at_host(),
                }
            };
            let names = Names::of(&order)?;
            let made = create::back_up((&order, names), &targets, &environment, &face, &self.cancel, begin)?;
            let failures = made.failures.iter().map(words).collect();
            drop(turn);
            let behind = self.behind(one, &made.records, &repositories, &environment, &face);
            Ok(Done::Made { records: made.records, failures, behind })
        });
        drop(lease);
        let mut done = match (done, skipped) {
            (_, Some(reason)) => return Ended { done: Done::Skipped(reason), hooks: vec![] },
            (Ok(done), None) => done,
            (Err(error), None) => Done::Failed(error),
        };
        let ending = Ending { outcome: done.outcome(), reason: done.reason(), backup: done.backup() };
        if let (Some(words), Done::Made { behind, .. }) = (around.behind(&ending), &mut done) {
            behind.push(words);
        }
        Ended { done, hooks: around.runs }
    }

    /// What comes behind a backup: its plain dump, and what the policy gives up. In words what went wrong.
    fn behind(
        &self,
        one: Configured<'_>,
        made: &[BackupRecord],
        repositories: &[Arc<Repository>],
        environment: &Environment,
        face: &Face,
    ) -> Vec<String> {
        let (source, mut words) = (one.source, vec![]);
        let is_database = !matches!(source.what.value, What::Directory(_));
        if let Some(export) = source.export.as_ref().filter(|_| is_database && !made.is_empty()) {
            match Exporting::open(&export.value, environment, face, &self.cancel) {
                Ok(exporting) => words.extend(exporting.all(made, repositories)),
                Err(error) => words.push(format!("export to {}: {}", export.value.to, error.message)),
            }
        }
        if source.retention.is_some() {
            let forgotten = self.forget(one, made, repositories, environment, face);
            words.extend(forgotten.err().map(|error| format!("retention: {}", error.message)));
        }
        words
    }

    /// With the server's password, the tenant's limits, and its share of the memory.
    pub(super) fn environment_of(
        &self,
        tenant: &Tenant,
        source: &Source,
        face: &Face,
    ) -> Result<Environment> {
        let server = password::of_source(source, self.environment)?;
        let Limits { upload, download, .. } = configured::limits(tenant)?;
        let share = self.environment.budget().bytes() / self.places as u64;
        Ok(self.environment.with(server, face, |flags| {
            flags.limit_upload = upload.or(flags.limit_upload);
            flags.limit_download = download.or(flags.limit_download);
            flags.memory = Some(Budget::of(share).unwrap_or(Budget::MIN));
        }))
    }

    /// The tenant's repository and the further ones; that of `-r` alone where it is said.
    pub(super) fn targets(
        &self,
        tenant: &Tenant,
        source: &Source,
        environment: &Environment,
        face: &Face,
    ) -> Result<Vec<Target>> {
        if let Some(url) = &self.global.repository {
            let password = password::current(self.global, environment, face)?;
            return Ok(vec![Target::named(url.clone(), self.global.repository_hot.clone(), password)]);
        }
        let copies = source.copies.value.iter();
        Ok(std::iter::once(&tenant.repository).chain(copies).map(Target::configured).collect())
    }

    /// Why it need not or must not run. Where there is no reason, `lease` keeps other machines away until it is dropped.
    fn reason_to_skip(
        &self,
        tenant: &Tenant,
        source: &Source,
        job: Job,
        repository: &Arc<Repository>,
        lease: &mut Option<Lease>,
        environment: &Environment,
    ) -> Result<Option<String>> {
        let holder = format!("run-{}", tenant.name);
        *lease = Lease::recurring(repository, &holder, &place::identity(environment))?;
        if lease.is_none() {
            return Ok(Some(format!("another mainstay backs {} up at this moment", tenant.name)));
        }
        let is_it = |record: &&BackupRecord| is_of(tenant, source, record) && !record.incomplete;
        let records = catalog::list_readable(repository)?.records;
        let newest = records.iter().filter(is_it).max_by_key(|record| record.created_at);
        Ok(newest
            .filter(|record| record.created_at >= job.slot && record.created_at <= Timestamp::now())
            .map(|record| format!("{} was made meanwhile", record.id)))
    }

    /// What its policy gives up of what was `made`, in every repository. A database of a server may be called as another source is,
    /// whose backups go by another policy.
    fn forget(
        &self,
        one: Configured<'_>,
        made: &[BackupRecord],
        repositories: &[Arc<Repository>],
        environment: &Environment,
        face: &Face,
    ) -> Result<()> {
        let Some(policy) = &one.source.retention else { return Ok(()) };
        for repository in repositories {
            let plan = |now| {
                let mut records = catalog::list(repository)?;
                records.retain(|record| {
                    // A database may have had another name, before another source was called so.
                    let is_made = made.iter().any(|made| match &one.source.what.value {
                        What::Databases(_) => made.database == record.database,
                        _ => made.source == record.source,
                    });
                    is_made && is_of(one.tenant, one.source, record)
                });
                forget::plan(repository, &policy.value, records, now)
            };
            let me = place::identity(environment);
            let (_, forgotten) = forget::forget(repository, plan, &me, Timestamp::now(), &self.cancel)?;
            if !forgotten.is_empty() {
                face.note(&format!("{} forgotten in {}", forgotten.len(), repository.store().location()));
            }
        }
        Ok(())
    }
}

fn words(failure: &Failure) -> String {
    let what = if failure.source.is_empty() { &failure.destination } else { &failure.source };
    format!("{what}: {}", failure.error.message)
}

/// A tenant that stores as much as it may gets no further backup.
fn refuse_beyond_limit(tenant: &Tenant, repository: &Repository) -> Result<()> {
    let Some(max) = configured::limits(tenant)?.stored else { return Ok(()) };
    let stored = stats::stored_bytes(repository)?;
    if stored.0 < max.0 {
        return Ok(());
    }
    let message = format!("tenant {} stores {stored} and may store {max}", tenant.name);
    Err(CliError::new(Kind::Refused, message).hint("raise limits.stored, or forget backups and prune"))
}

/// What `backup create` would be asked for.
fn order(
    tenant: &Tenant,
    source: &Source,
    set: Option<&SetMark>,
    environment: &Environment,
) -> Result<Create> {
    let mut what =
        WhatArgument { database: None, all_databases: false, directory: None, cluster: false, source: None };
    let server = ServerArgs {
        pg_bin_dir: environment.get("MAINSTAY_PG_BIN_DIR").map(Into::into),
        ..ServerArgs::default()
    };
    match &source.what.value {
        What::Database(database) => what.database = Some(database.clone()),
        What::Databases(server) => {
            what.database = Some(server.clone());
            what.all_databases = true;
        }
        What::Directory(directory) => what.directory = Some(directory.into()),
        What::Cluster(address) => {
            what.cluster = true;
            what.database = Some(address.clone());
        }
    }
    let seconds = |span: jiff::SignedDuration| span.unsigned_abs().as_secs();
    let others = tenant.sources.iter().map(|other| other.name.clone());
    Ok(Create {
        tenant: tenant.name.to_string(),
        what,
        name: Some(source.name.to_string()),
        destination: Destination::default(),
        allow_same_disk: false,
        label: String::new(),
        hold: false,
        compression: source.compression.as_ref().map(|level| level.value),
        server,
        no_owner: source.no_owner.value,
        no_acl: source.no_acl.value,
        lock_wait_timeout: source.lock_wait_timeout.as_ref().map(|span| seconds(span.value)),
        exclude: source.exclude.value.clone(),
        exclude_caches: false,
        one_file_system: false,
        full: false,
        spread_checkpoint: source.spread_checkpoint.value,
        via: None,
        rate_kib_max: source.rate_kib_max.as_ref().map(|rate| rate.value),
        far: far(&source.far),
        set: set.cloned(),
        others: others.filter(|name| *name != source.name).collect(),
    })
}

/// How to get into a directory of another server.
fn far(said: &Far) -> FarArguments {
    FarArguments {
        directory_key: said.key.as_ref().map(|given| given.value.clone()),
        directory_host_key: said.host_key.as_ref().map(|given| given.value.clone()),
        directory_ca_file: said.ca_file.as_ref().map(|given| given.value.clone()),
        directory_pin: said.pin.as_ref().map(|given| given.value.clone()),
        // It is a reference, fetched for each run.
        directory_password_file: None,
    }
}
