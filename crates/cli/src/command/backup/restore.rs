//! `backup restore`: show the plan, ask where something would be overwritten, then do it.

mod confirm;
mod directory;

use std::sync::Arc;
use std::time::Instant;

use engine::restore_dump::{Plan, RestoreOrder, Way, carry_out, plan};
use engine::{catalog, reading};
use model::backup::{BackupKind, BackupRecord};
use model::progress::Progress;
use model::size::ByteSize;
use repo::Repository;
use serde_json::json;

use crate::arguments::{Global, Restore};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{database, interrupt, place};
use confirm::confirm;

pub(crate) fn run(global: &Global, order: &Restore, environment: &Environment, face: &Face) -> Result<()> {
    let repository = place::open(global, environment, face)?;
    let _lease = reading::begin(&repository, "restore", &place::identity(environment))?;
    let record = choose(&repository, &order.id)?;
    match record.kind {
        BackupKind::Dump => dump(&repository, &record, order, environment, face),
        BackupKind::Directory => directory::run(&repository, &record, order, face),
        _ => Err(CliError::usage(format!("{} is a {}: not there yet", record.id, record.kind.as_str()))),
    }
}

/// An id, or the newest good backup of TENANT/SOURCE.
fn choose(repository: &Repository, id: &str) -> Result<BackupRecord> {
    let Some((tenant, source)) = id.split_once('/') else { return Ok(catalog::find(repository, id)?) };
    let is_asked = |record: &BackupRecord| {
        record.tenant.as_str() == tenant && record.source.as_str() == source && !record.incomplete
    };
    let newest = catalog::list(repository)?.into_iter().find(is_asked);
    newest.ok_or_else(|| CliError::new(Kind::NotFound, format!("no complete backup of {id}")))
}

fn dump(
    repository: &Arc<Repository>,
    record: &BackupRecord,
    order: &Restore,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    if order.to.is_some() || order.delta || !order.path.is_empty() {
        return Err(CliError::usage(format!(
            "{} is a dump; --to, --path and --delta are for directories",
            record.id
        ))
        .hint("`mainstay backup export` writes the dump itself to a file"));
    }
    let cancel = interrupt::watch()?;
    let clients = database::clients(order.server.pg_bin_dir.as_deref(), environment)?;
    let (name, session) = target(order, environment, face)?;
    let wanted = RestoreOrder {
        database: name,
        clean: order.clean,
        tables: order.table.clone(),
        schemas: order.schema.clone(),
        with_roles: order.with_roles,
        no_owner_no_acl: order.no_owner,
        jobs: order.jobs as usize,
    };
    let index = Arc::new(repository.load_index()?);
    let plan = plan(repository, &index, record, &clients, &session, wanted)?;
    show_plan(record, &plan, order, face);
    if order.dry_run {
        return Ok(());
    }
    if plan.way == Way::OverExisting {
        confirm(&plan.database, "database", order)?;
    }
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

/// The name of the target database, if one was given, and the way to its server. A URI may stand for both.
fn target(
    order: &Restore,
    environment: &Environment,
    face: &Face,
) -> Result<(Option<String>, pg::connection::Session)> {
    let named = order.database.as_deref();
    let is_uri =
        named.is_some_and(|text| text.starts_with("postgresql://") || text.starts_with("postgres://"));
    let session = database::session(named.filter(|_| is_uri), &order.server, environment, face)?;
    let name = match is_uri {
        true => session.connection().database().map(str::to_owned),
        false => order.database.clone(),
    };
    Ok((name, session))
}

fn show_plan(record: &BackupRecord, plan: &Plan, order: &Restore, face: &Face) {
    let way = match plan.way {
        Way::New => "new database, renamed in when complete",
        Way::IntoEmpty => "empty database, in one transaction",
        Way::OverExisting => {
            "EXISTING database: what the dump has is dropped and restored, in one transaction"
        }
    };
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
    if order.jobs as usize > plan.jobs {
        face.note("note: an existing database is restored in one transaction; --jobs speeds up new ones");
    }
}
