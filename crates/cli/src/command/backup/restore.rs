//! `backup restore`: show the plan, ask where something would be overwritten, then do it.

mod confirm;
mod hooks;
mod task;
mod directory;
mod cluster;
mod set;

use std::sync::Arc;
use std::time::Instant;

use engine::reading;
use engine::restore_dump::{Plan, RestoreOrder, Way, carry_out, plan};
use model::backup::{BackupKind, BackupRecord};
use model::progress::Progress;
use model::size::ByteSize;
use pg::restore::Origin;
use repo::Repository;
use serde_json::json;

use crate::arguments::{Global, Restore};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::interrupt::Watch;
use crate::progress_line::ProgressLine;
use crate::warm::Warmer;
use crate::{database, known, place, warm};
use confirm::confirm;
use task::Task;

pub(crate) fn run(global: &Global, order: &Restore, environment: &Environment, face: &Face) -> Result<()> {
    let tenant = order.id.split_once('/').map(|(tenant, _)| tenant);
    let found = known::open_of(global, tenant, environment, face)
        .and_then(|repositories| find(&repositories, &order.id, face));
    let found = match found {
        // Another's repository, or one that was used once, may have a copy.
        Err(error) if error.kind == Kind::NotFound && tenant.is_some() && global.repository.is_none() => {
            find(&known::open_all(global, environment, face)?, &order.id, face)?
        }
        found => found?,
    };
    let watch = Watch::start()?;
    match found {
        Found::One(repository, record) => one(global, &repository, &record, order, environment, face, &watch),
        Found::Set(found) => {
            let each = |repository: &Arc<Repository>, record: &BackupRecord, order: &Restore, face: &Face| {
                one(global, repository, record, order, environment, face, &watch)
            };
            set::run(global, &found, order, &each, environment, face, &watch)
        }
    }
}

/// What is to be restored.
enum Found {
    One(Arc<Repository>, Box<BackupRecord>),
    Set(set::Found),
}

/// What `id` means: an id, TENANT/SOURCE or TENANT/SET.
fn find(repositories: &[Arc<Repository>], id: &str, face: &Face) -> Result<Found> {
    let (repository, record) = match id.split_once('/') {
        Some((tenant, source)) => match set::find(repositories, tenant, source)? {
            Some(found) => return Ok(Found::Set(found)),
            None => known::find_newest(repositories, tenant, source, face)?,
        },
        None => known::find(repositories, id, face)?,
    };
    Ok(Found::One(repository, Box::new(record)))
}

/// One backup, with the commands around it.
fn one(
    global: &Global,
    repository: &Arc<Repository>,
    record: &BackupRecord,
    order: &Restore,
    environment: &Environment,
    face: &Face,
    watch: &Watch,
) -> Result<()> {
    let subject = hooks::of_backup(global, order, record)?;
    hooks::around(subject, order, environment, face, watch, |begin| {
        restore(Task { global, repository, record, order, environment, face, begin })
    })
}

fn restore(task: Task<'_>) -> Result<()> {
    let Task { repository, record, order, environment, face, .. } = task;
    if record.kind != BackupKind::Cluster {
        refuse_what_is_for_clusters(order)?;
    }
    let _lease = reading::begin(repository, "restore", &place::identity(environment))?;
    if record.kind != BackupKind::Cluster && order.recovery.is_given() {
        let message = format!("{} is a {}; targets are for clusters", record.id, record.kind.as_str());
        return Err(CliError::usage(message));
    }
    match record.kind {
        BackupKind::Directory if !order.database.is_empty() => {
            face.note("reading an archive that mainstay did not write");
            dump(task)
        }
        BackupKind::Dump => dump(task),
        BackupKind::Directory => directory::run(task),
        BackupKind::Cluster => cluster::run(task),
        BackupKind::Wal => {
            Err(CliError::usage(format!("{} is a {}: not there yet", record.id, record.kind.as_str())))
        }
    }
}

/// What means something of a cluster alone.
fn refuse_what_is_for_clusters(order: &Restore) -> Result<()> {
    if order.to.is_some() && !order.database.is_empty() {
        return Err(CliError::usage("--to cannot be used with --database, but for a set or a cluster"));
    }
    if order.into_database.is_some() {
        return Err(CliError::usage("--into-database is for tables out of a cluster")
            .hint("name the database to restore into with --database"));
    }
    match order.database.len() {
        0 | 1 => Ok(()),
        _ => Err(CliError::usage("several databases can be named of a cluster alone")),
    }
}

fn dump(task: Task<'_>) -> Result<()> {
    let Task { global, repository, record, order, environment, face, begin } = task;
    if order.to.is_some() || order.delta || !order.path.is_empty() {
        return Err(CliError::usage(format!(
            "{} is a dump; --to, --path and --delta are for directories",
            record.id
        ))
        .hint("`mainstay backup export` writes the dump itself to a file"));
    }
    let cancel = begin.watch.cancel.clone();
    let clients = database::clients(order.server.pg_bin_dir.as_deref(), environment.get("PATH"))?;
    let named = order.database.first().map(String::as_str);
    let (name, session) = database::target(named, &order.server, environment, face)?;
    let wanted = of_database(name, order);
    let index = Arc::new(repository.load_index()?);
    let warmer = Warmer::of(global, &order.warm_up, environment, &cancel, face)?;
    let need = warmer.look(repository, &index, record, &[])?;
    if order.dry_run && !need.is_warm() {
        let document = json!({ "id": record.id, "packs": warm::to_json(&need), "dryRun": true });
        let more = "what is in the dump can be told when they are warm: it is data, too";
        match face.is_json() {
            true => face.result(&document, String::new),
            false => face.note(&format!("{}\n{more}", warm::describe(&need))),
        }
        return Ok(());
    }
    if !order.dry_run && !warmer.warm(need)? {
        return Ok(());
    }
    let plan = plan(repository, &index, record, &clients, &session, wanted)?;
    show_plan(record, &plan, order, face);
    if order.dry_run {
        return Ok(());
    }
    let done = match (plan.way, plan.origin) {
        (Way::OverExisting, _) => Some("overwritten"),
        (_, Origin::Foreign) => Some("filled by somebody else's archive"),
        _ => None,
    };
    if let Some(done) = done {
        confirm(&plan.database, "database", done, order, &cancel)?;
    }
    begin.of(record)?;
    let progress = Progress::new();
    let start = Instant::now();
    let line = ProgressLine::start(face, &progress);
    let restored = carry_out(repository, &index, record, &plan, &progress, &cancel);
    drop(line);
    let warnings = restored?;
    warnings.iter().for_each(|warning| face.warn(warning));
    let seconds = start.elapsed().as_secs_f64();
    face.status(&format!(
        "restore ok id={} database={:?} bytes={} seconds={seconds:.2}",
        record.id, plan.database, plan.size_bytes
    ));
    Ok(())
}

fn of_database(database: Option<String>, order: &Restore) -> RestoreOrder {
    RestoreOrder {
        database,
        clean: order.clean,
        tables: order.table.clone(),
        schemas: order.schema.clone(),
        with_roles: order.with_roles,
        no_owner_no_acl: order.no_owner,
        no_tablespaces: order.no_tablespaces,
        jobs: order.jobs as usize,
    }
}

fn show_plan(record: &BackupRecord, plan: &Plan, order: &Restore, face: &Face) {
    let way = match plan.way {
        Way::New => "new database, renamed in when complete",
        Way::IntoEmpty => "empty database, in one transaction",
        Way::OverExisting => {
            "EXISTING database: what the dump has is dropped and restored, in one transaction"
        }
    };
    let hazards: Vec<_> =
        plan.hazards.iter().map(|hazard| format!("{} {}", hazard.name, hazard.reason)).collect();
    let document = json!({
        "id": record.id,
        "database": plan.database,
        "target": way,
        "sizeBytes": plan.size_bytes.to_string(),
        "tables": plan.tables,
        "rows": plan.rows.to_string(),
        "serverVersion": plan.server.to_string(),
        "clientVersion": plan.client.version().to_string(),
        "jobs": plan.jobs,
        "foreign": plan.origin == Origin::Foreign,
        "hazards": hazards,
        "missingTablespaces": plan.missing_tablespaces,
        "dryRun": order.dry_run,
    });
    let text = format!(
        "restore {} of {:.0}\n  into   {:?}: {way}\n  data   {}, {} tables, {} rows\n  server PostgreSQL {}, pg_restore {}, {} at a time",
        record.id,
        record.created_at,
        plan.database,
        ByteSize(plan.size_bytes),
        plan.tables,
        plan.rows,
        plan.server,
        plan.client.version(),
        plan.jobs
    );
    if face.is_json() {
        face.result(&document, String::new);
    } else {
        face.note(&text);
    }
    if !plan.missing_tablespaces.is_empty() {
        let missing: Vec<_> = plan.missing_tablespaces.iter().collect();
        face.note(&format!(
            "note: the server has no tablespace {missing:?}, or not for us: what the dump puts into tablespaces goes into the database's own"
        ));
    }
    if plan.origin == Origin::Foreign {
        face.warn(
            "mainstay did not write this archive: whoever wrote it decides what runs in the database, with the \
             rights of the user who restores it",
        );
        hazards.iter().for_each(|hazard| face.warn(hazard));
    }
    if order.jobs as usize > plan.jobs {
        face.note("note: an existing database is restored in one transaction; --jobs speeds up new ones");
    }
}
