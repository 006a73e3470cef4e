//! Restore of a whole cluster: the plan, the files, and how to go on from there.

mod archive;
mod choose;
mod plan;
mod table_name;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::restore_cluster::{ClusterOrder, prepare, restore};
use model::backup::BackupRecord;
use model::progress::Progress;
use model::recovery_target::{RecoveryTarget, TargetAction};
use pg::recovery::{Recovery, restore_command};
use repo::Repository;

use super::confirm::confirm;
use super::task::Task;
use crate::arguments::{Global, Restore};
use crate::configured;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use choose::choose;
use plan::{Server, show_plan};

/// Where the original is on this machine.
const BESIDE_THE_ORIGINAL: &str = "restore on another machine, or a backup that was made after the tablespace; or come back to \
    the backup alone, with --target immediate";

pub(super) fn run(task: Task<'_>) -> Result<()> {
    let Task { global, repository, record: newest, order, environment, face, begin } = task;
    if !order.table.is_empty() {
        return tables::run(task);
    }
    let place = refuse_other_flags(newest, order)?;
    let cancel = begin.watch.cancel.clone();
    let index = repository.load_index()?;
    let target = order.recovery.point();
    let chosen = choose(repository, &index, newest, order, face)?;
    let record = &chosen.record;
    if task.warm(&index, record, &[])?.is_none() {
        return Ok(());
    }
    let tell = |words: &str| face.warn(words);
    let progress = Progress::new();
    let mut wanted = ClusterOrder {
        place,
        moves: order.recovery.tablespace.clone(),
        spaces: None,
        databases: order.database.clone(),
        delta: order.delta,
        recovery: recovery(global, repository, record, order, environment, face)?,
        owners: task.owners()?,
        tell: &tell,
        progress: progress.clone(),
        cancel: cancel.clone(),
    };
    let prepared = prepare(repository, &index, record, &wanted)?;
    wanted.recovery.is_partial = !prepared.plan.left_out.is_empty();
    let server = Server::find(prepared.plan.major, order.server.pg_bin_dir.as_deref(), environment)?;
    show_plan(&chosen, &prepared.plan, &wanted, server.as_ref(), order.dry_run, face);
    wanted.recovery = wanted.recovery.to_last_record(prepared.plan.last_record);
    chosen.verify(&target)?;
    prepared.verify_places(&wanted).map_err(|error| with_hint(error.into(), order))?;
    prepared.spare_original(&wanted).map_err(|error| CliError::from(error).hint(BESIDE_THE_ORIGINAL))?;
    if order.dry_run {
        return Ok(());
    }
    if prepared.plan.destinations.iter().any(|destination| destination.is_occupied) {
        confirm(&wanted.place.display().to_string(), "directory", "overwritten", order, &cancel)?;
    }
    begin.of(record)?;
    let start = Instant::now();
    let line = ProgressLine::start(face, &progress);
    let report = restore(repository, &index, &prepared, &wanted);
    drop(line);
    let report = report.map_err(|error| with_hint(error.into(), order))?;
    face.note(&next_steps(&wanted.place, &target, order, server.as_ref()));
    if wanted.recovery.is_partial {
        face.note(&without_others(&prepared.plan.left_out));
    }
    let seconds = start.elapsed().as_secs_f64();
    let to = wanted.place.display().to_string();
    face.status(&format!(
        "restore ok id={} to={to:?} bytes={} seconds={seconds:.2}",
        record.id, report.bytes
    ));
    Ok(())
}

/// The data directory to be.
fn refuse_other_flags(record: &BackupRecord, order: &Restore) -> Result<PathBuf> {
    let is_for_database = order.clean || order.with_roles || order.no_owner || order.no_tablespaces;
    if is_for_database || !order.schema.is_empty() || !order.path.is_empty() {
        return Err(CliError::usage(format!(
            "{} is a cluster; these flags are for other backups",
            record.id
        ))
        .hint("use --to DIR, --target-time TIME, --tablespace OLD=NEW, --delta"));
    }
    order.to.clone().ok_or_else(|| {
        CliError::usage(format!("{} is a cluster, and nobody said where it goes", record.id))
            .hint("name its data directory to be with --to DIR")
    })
}

fn with_hint(error: CliError, order: &Restore) -> CliError {
    match error.kind {
        _ if error.hint.is_some() => error,
        crate::error::Kind::Refused if error.message.contains("the place of tablespace") => {
            error.hint("another cluster may be using it: put it elsewhere with --tablespace OLD=NEW")
        }
        crate::error::Kind::Refused if error.message.ends_with("is not empty") && !order.delta => error.hint(
            "restore elsewhere with --to DIR (a tablespace with --tablespace OLD=NEW), or write over it with --delta",
        ),
        _ => error,
    }
}

/// What the cluster will do when it is started.
fn recovery(
    global: &Global,
    repository: &Repository,
    record: &BackupRecord,
    order: &Restore,
    environment: &Environment,
    face: &Face,
) -> Result<Recovery> {
    let program = std::env::current_exe().map_err(CliError::io("asking for the path of this program"))?;
    let arguments = way_to(global, repository, record, environment, face)?;
    Ok(Recovery {
        target: order.recovery.point(),
        inclusive: order.recovery.inclusive(),
        timeline: order.recovery.target_timeline,
        action: order.recovery.target_action,
        standby: order.recovery.standby,
        restore_command: restore_command(&program, &arguments),
        continue_archiving: order.recovery.continue_archiving,
        // Known when all of the backup was looked at.
        is_partial: false,
    })
}

/// The flags by which the server finds this repository: never the password itself.
fn way_to(
    global: &Global,
    repository: &Repository,
    record: &BackupRecord,
    environment: &Environment,
    face: &Face,
) -> Result<Vec<String>> {
    let absolute = |path: &Path| -> Result<String> {
        let path = std::path::absolute(path).map_err(CliError::io("looking for a file"))?;
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| {
            CliError::usage(format!("{} is not UTF-8, which PostgreSQL's settings are", path.display()))
        })
    };
    let mut arguments = vec![];
    // Where the repository is named, nobody asks the configuration.
    let tenant = match &global.repository {
        None => configured_tenant(global, record)?,
        Some(_) => None,
    };
    if let (Some(tenant), Some(file)) = (tenant, configured::path(global)) {
        arguments.extend(["--config".to_owned(), absolute(&file)?, "--of".to_owned(), tenant]);
        return Ok(arguments);
    }
    arguments.extend(["-r".to_owned(), repository.store().location()]);
    if let Some(hot) = &global.repository_hot {
        arguments.extend(["--repository-hot".to_owned(), hot.clone()]);
    }
    match &global.password_file {
        Some(file) => arguments.extend(["--password-file".to_owned(), absolute(file)?]),
        None if environment.secret("MAINSTAY_PASSWORD").is_some() => face.warn(
            "the restored server needs MAINSTAY_PASSWORD in its environment to fetch WAL; with --password-file FILE it \
             would read it from there",
        ),
        None => {}
    }
    Ok(arguments)
}

/// The configured tenant in whose repository the backup was found.
fn configured_tenant(global: &Global, record: &BackupRecord) -> Result<Option<String>> {
    let configuration = configured::load_if_any(global)?;
    let tenants = configuration.iter().flat_map(|configuration| &configuration.tenants);
    let found = tenants.into_iter().find(|tenant| *tenant.name.as_str() == *record.tenant.as_str());
    Ok(found.map(|tenant| tenant.name.to_string()))
}

/// How to go on.
fn next_steps(place: &Path, target: &RecoveryTarget, order: &Restore, server: Option<&Server>) -> String {
    let pg_ctl = server.map_or_else(|| "pg_ctl".to_owned(), |server| server.program("pg_ctl"));
    let place = place.display();
    let mut text = format!("start it:    {pg_ctl} -D {place} start");
    let ends = match (order.recovery.standby, target, order.recovery.target_action) {
        (true, ..) => {
            format!("it stays a standby until it is promoted:    {pg_ctl} -D {place} promote")
        }
        (_, RecoveryTarget::Latest, _) => {
            "it recovers to the end of the archived WAL, and opens for writing".to_owned()
        }
        (_, _, TargetAction::Pause) => format!(
            "it pauses at {target} and can be read; if that is right, promote it:    {pg_ctl} -D {place} promote"
        ),
        (_, _, TargetAction::Promote) => format!("it recovers to {target}, and opens for writing"),
        (_, _, TargetAction::Shutdown) => format!("it recovers to {target}, and shuts down"),
    };
    text += &format!("\n{ends}");
    if !order.recovery.continue_archiving {
        text += "\nit archives no WAL (archive_mode = off in postgresql.auto.conf), so that it cannot take the place of its original";
    }
    text
}

/// What to do about the databases that are zeros.
fn without_others(left_out: &[String]) -> String {
    let drop = |name: &String| format!("\n    DROP DATABASE \"{}\";", name.replace('"', "\"\""));
    let drops: String = left_out.iter().map(drop).collect();
    format!(
        "the files of all other databases are zeros; when it is open for writing, drop these databases, and let pages count \
         again:{drops}\n    ALTER SYSTEM RESET ignore_invalid_pages;\nits log must tell of no page of another database (docs: \
         how-to/restore-a-cluster)"
    )
}
