//! `mainstay consolidate`: a full backup of a cluster out of a chain of increments, without touching the server.

use std::time::Instant;

use engine::consolidate::{ConsolidatePlan, consolidate, find_made, plan};
use engine::writing::Order;
use engine::{catalog, reading, retired};
use model::backup::BackupRecord;
use model::progress::Progress;
use model::size::ByteSize;
use serde_json::json;

use crate::arguments::{Consolidate, Global};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::warm::Warmer;
use crate::{interrupt, known, place};

pub(crate) fn run(
    global: &Global,
    order: &Consolidate,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    retired::refuse(&repository)?;
    let me = place::identity(environment);
    let _lease = reading::begin(&repository, "consolidate", &me)?;
    let records = catalog::list(&repository)?;
    let record = match order.id.split_once('/') {
        Some((tenant, source)) => {
            known::find_newest(std::slice::from_ref(&repository), tenant, source, face)?.1
        }
        None => catalog::choose(records.clone(), &order.id)?,
    };
    let done_already = |made: &BackupRecord, words: String| {
        let document = json!({ "id": record.id, "madeOf": [], "record": made, "dryRun": order.dry_run });
        face.result(&document, || format!("{words}; nothing was done"));
        Ok(())
    };
    let index = repository.load_index()?;
    let Some(planned) = plan(&repository, &index, &record, &cancel)? else {
        return done_already(&record, format!("{} is a full backup already", record.id));
    };
    if let Some(made) = find_made(&repository, &records, &record)? {
        return done_already(made, format!("{} was consolidated already, as {}", record.id, made.id));
    }
    let warmer = Warmer::of(global, &order.warm_up, environment, &cancel, face)?;
    let need = warmer.look(&repository, &index, &record, &[])?;
    if order.dry_run {
        face.result(&document(&record, &planned, None), || text(&record, &planned, true));
        return Ok(());
    }
    face.note(&text(&record, &planned, false));
    if !warmer.warm(need)? {
        return Ok(());
    }
    let progress = Progress::new();
    let writing = Order {
        tenant: record.tenant.clone(),
        source: record.source.clone(),
        label: order.label.clone().unwrap_or_else(|| format!("consolidated from {}", record.id)),
        hold: order.hold,
        identity: me,
        now: record.created_at,
        level: None,
        cancel,
        progress: progress.clone(),
    };
    let start = Instant::now();
    let line = ProgressLine::start(face, &progress);
    let made = consolidate(&repository, &record, &planned, &writing);
    drop(line);
    let made = made?;
    face.result(&document(&record, &planned, Some(&made)), String::new);
    let seconds = start.elapsed().as_secs_f64();
    face.status(&format!(
        "backup ok id={} bytes={} stored={} seconds={seconds:.2}",
        made.id, made.size_bytes, made.stored_bytes
    ));
    Ok(())
}

fn text(record: &BackupRecord, plan: &ConsolidatePlan, dry_run: bool) -> String {
    let verb = if dry_run { "would make" } else { "make" };
    format!(
        "{verb} a full backup of {}, a chain of {} links\n  files   {}, of which {} are put together from several links\n  \
         read    {}; what the first link has already is not stored again",
        record.id,
        plan.made_of.len(),
        plan.files,
        plan.merged,
        ByteSize(plan.bytes)
    )
}

fn document(record: &BackupRecord, plan: &ConsolidatePlan, made: Option<&BackupRecord>) -> serde_json::Value {
    json!({
        "id": record.id,
        "madeOf": plan.made_of,
        "files": plan.files.to_string(),
        "mergedFiles": plan.merged.to_string(),
        "readBytes": plan.bytes.to_string(),
        "record": made,
        "dryRun": made.is_none(),
    })
}
