//! Tables out of the backup of a cluster: the plan, and the restore into a database that somebody uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::restore_cluster::only_database;
use engine::restore_tables::{TablesOrder, TablesPlan, carry_out, prepare};
use model::backup::BackupRecord;
use model::progress::Progress;
use model::size::ByteSize;
use pg::client::{Client, Clients};
use pg::relations::TableName;
use repo::Repository;
use repo::index::Index;
use serde_json::json;

use super::super::confirm::confirm;
use super::super::task::Task;
use super::choose::{Chosen, choose};
use super::table_name;
use crate::arguments::Restore;
use crate::database;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;

/// Where there is mostly room, and what is there is nobody's for long.
const WORK_DIR: &str = "/var/tmp";

pub(super) fn run(task: Task<'_>) -> Result<()> {
    let Task { repository, record: newest, order, environment, face, begin, .. } = task;
    let into = refuse_other_flags(newest, order)?;
    let (from, tables) = names(order)?;
    // Ending at once would leave a server behind.
    begin.watch.be_patient();
    let cancel = begin.watch.cancel.clone();
    let index = repository.load_index()?;
    let chosen = choose(repository, &index, newest, order, face)?;
    let record = &chosen.record;
    chosen.verify(&order.recovery.point())?;
    if task.warm(&index, record, &[])?.is_none() {
        return Ok(());
    }
    let clients = database::clients(order.server.pg_bin_dir.as_deref(), environment.get("PATH"))?;
    let programs = programs(&clients, chosen.manifest.server_version.major())?;
    let (into, session) = database::target(Some(&into), &order.server, environment, face)?;
    let database = match from {
        Some(database) => database,
        None => only_database(repository, &index, record, &cancel)?,
    };
    let tell = |words: &str| face.warn(words);
    let wanted = TablesOrder {
        database,
        tables,
        target: order.recovery.point(),
        inclusive: order.recovery.inclusive(),
        timeline: order.recovery.target_timeline,
        wal_segments: chosen.ahead.segments,
        programs,
        clients: &clients,
        work_dir: work_dir(order, environment)?,
        session,
        into: into.ok_or_else(|| CliError::usage("--into-database names no database"))?,
        clean: order.clean,
        no_owner_no_acl: order.no_owner,
        no_tablespaces: order.no_tablespaces,
        tell: &tell,
        progress: Progress::new(),
        cancel,
    };
    let plan = prepare(repository, &index, record, &wanted).map_err(|error| with_hint(error.into()))?;
    show_plan(&chosen, &plan, &wanted, order, face);
    plan.verify(&wanted).map_err(|error| with_hint(error.into()))?;
    if order.dry_run {
        return Ok(());
    }
    if !plan.existing.is_empty() {
        let done = format!("changed: {} dropped and restored", listed(&plan.existing));
        confirm(&wanted.into, "database", &done, order, &wanted.cancel)?;
    }
    begin.of(record)?;
    restore(repository, &index, record, &plan, &wanted, face)
}

fn restore(
    repository: &Arc<Repository>,
    index: &Index,
    record: &BackupRecord,
    plan: &TablesPlan,
    wanted: &TablesOrder<'_>,
    face: &Face,
) -> Result<()> {
    let start = Instant::now();
    let line = ProgressLine::start(face, &wanted.progress);
    let report = carry_out(repository, index, record, plan, wanted);
    drop(line);
    let report = report.map_err(|error| with_hint(error.into()))?;
    let seconds = start.elapsed().as_secs_f64();
    face.note(&format!("restored {}", listed(&report.tables)));
    face.status(&format!(
        "restore ok id={} database={:?} tables={} bytes={} seconds={seconds:.2}",
        record.id,
        wanted.into,
        report.tables.len(),
        report.bytes
    ));
    Ok(())
}

/// The database to restore into.
fn refuse_other_flags(record: &BackupRecord, order: &Restore) -> Result<String> {
    let recovery = &order.recovery;
    let is_for_others = order.to.is_some()
        || order.delta
        || order.with_roles
        || order.numeric_owner
        || order.jobs > 1
        || !order.schema.is_empty()
        || !order.path.is_empty()
        || recovery.is_of_a_place();
    if is_for_others {
        let message = "tables out of a cluster take no flags of a place, of schemas or of roles";
        return Err(CliError::usage(message)
            .hint("use --into-database DB, --target-time TIME, --clean, --no-owner, --work-dir DIR"));
    }
    order.into_database.clone().ok_or_else(|| {
        CliError::usage(format!("{} is a cluster, and nobody said where its tables go", record.id)).hint(
            "name a database with --into-database DB; an empty one is a good place to look at them first",
        )
    })
}

/// The tables, and the database that they are in, where that is named.
fn names(order: &Restore) -> Result<(Option<String>, Vec<TableName>)> {
    let mut databases = order.database.clone();
    let mut tables = vec![];
    for text in &order.table {
        let (database, table) = table_name::parse(text)?;
        databases.extend(database);
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    databases.sort();
    databases.dedup();
    match databases.len() {
        0 | 1 => Ok((databases.pop(), tables)),
        _ => Err(CliError::usage(format!("tables of several databases: {}", databases.join(", ")))
            .hint("restore them by one command for each database")),
    }
}

/// A server of that version, with the client programs beside it.
fn programs(clients: &Clients, major: u32) -> Result<Client> {
    let is_it = |client: &&Client| client.version().major() == major && client.program("postgres").is_file();
    clients.all().iter().find(is_it).cloned().ok_or_else(|| {
        CliError::usage(format!(
            "the backup is of PostgreSQL {major}, and no server of that version is installed here to recover it"
        ))
        .hint(format!("install postgresql-{major} (it need not run), or name its programs with --pg-bin-dir DIR"))
    })
}

fn work_dir(order: &Restore, environment: &Environment) -> Result<PathBuf> {
    let from_environment = || environment.get("TMPDIR").filter(|text| !text.is_empty()).map(PathBuf::from);
    let place = order.work_dir.clone().or_else(from_environment).unwrap_or_else(|| WORK_DIR.into());
    let what = format!("looking for {}", place.display());
    std::fs::canonicalize(&place).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            CliError::new(Kind::NotFound, format!("{}: {error}", place.display()))
                .hint("name a directory with room for the cluster with --work-dir DIR")
        }
        _ => CliError::io(&what)(error),
    })
}

fn with_hint(error: CliError) -> CliError {
    let hint = match (error.kind, &error.hint) {
        (_, Some(_)) => return error,
        (Kind::Refused, _) if error.message.ends_with("already") => {
            "restore into an empty database with --into-database and look at it; --clean drops what is there first"
        }
        (Kind::Refused, _) if error.message.contains("has room for") => {
            "name a directory with more room with --work-dir DIR"
        }
        (Kind::Refused, _) if error.message.contains("was made behind this backup") => {
            "name a backup that was made after the tablespace, or restore the whole cluster on another machine"
        }
        (Kind::NotFound, _) if error.message.contains("in the backup") => {
            "a database that was made after this backup is in a later one"
        }
        _ => return error,
    };
    error.hint(hint)
}

fn listed(tables: &[TableName]) -> String {
    tables.iter().map(TableName::to_string).collect::<Vec<_>>().join(", ")
}

fn show_plan(chosen: &Chosen, plan: &TablesPlan, wanted: &TablesOrder<'_>, order: &Restore, face: &Face) {
    let Chosen { record, line, ahead, .. } = chosen;
    let TablesPlan { cluster, existing, .. } = plan;
    let (work_dir, programs) = (wanted.work_dir.display(), wanted.programs.bin_dir());
    if face.is_json() {
        let document = json!({
            "id": record.id,
            "systemId": cluster.system,
            "serverVersion": cluster.major,
            "serverDirectory": programs,
            "database": wanted.database,
            "tables": wanted.tables,
            "intoDatabase": wanted.into,
            "replaces": existing,
            "timeline": line.last(),
            "links": cluster.links,
            "files": cluster.files.to_string(),
            "sizeBytes": cluster.bytes.to_string(),
            "fetchBytes": cluster.stored_bytes.to_string(),
            "leftOut": cluster.left_out,
            "workDirectory": wanted.work_dir,
            "neededBytes": plan.needed().to_string(),
            "freeBytes": plan.room.free.to_string(),
            "target": wanted.target.to_string(),
            "walSegments": ahead.segments.to_string(),
            "walUntil": ahead.end,
            "walGap": ahead.gap.map(|gap| gap.to_string()),
            "dryRun": order.dry_run,
        });
        face.result(&document, String::new);
    } else {
        face.note(&text(chosen, plan, wanted, order, programs));
    }
    if let Some(gap) = ahead.gap {
        face.warn(&format!("the archive lacks {gap}: nothing behind it can be recovered from this backup"));
    }
    if plan.needed() > plan.room.free {
        face.warn(&format!("{work_dir} has too little room"));
    }
}

fn text(
    chosen: &Chosen,
    plan: &TablesPlan,
    wanted: &TablesOrder<'_>,
    order: &Restore,
    programs: &Path,
) -> String {
    let Chosen { record, line, ahead, .. } = chosen;
    let TablesPlan { cluster, existing, server, room, .. } = plan;
    let verb = if order.dry_run { "would restore" } else { "restore" };
    let without = match cluster.left_out.len() {
        0 => String::new(),
        _ => format!(", without {}", cluster.left_out.join(", ")),
    };
    let mut text = format!(
        "{verb} {} of database {:?} from {} of {:.0}\n  into    database {:?}, PostgreSQL {server}\n  server  a throw-away \
         PostgreSQL {} of {}\n  in      {}: {} of {} free\n  data    {} files, at most {} to write, {} to fetch{without}\n  \
         recover to {}, along timeline {}; {} segments of WAL are archived behind the backup",
        listed(&wanted.tables),
        wanted.database,
        record.id,
        record.created_at,
        wanted.into,
        cluster.major,
        programs.display(),
        wanted.work_dir.display(),
        ByteSize(plan.needed()),
        ByteSize(room.free),
        cluster.files,
        ByteSize(cluster.bytes),
        ByteSize(cluster.stored_bytes),
        wanted.target,
        line.last(),
        ahead.segments,
    );
    if !existing.is_empty() {
        text += &format!("\n  EXISTING tables: {}", listed(existing));
    }
    text
}
