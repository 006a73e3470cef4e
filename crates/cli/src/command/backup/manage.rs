//! `backup verify`, `hold`, `unhold`, `delete` and `undelete`.

use std::sync::Arc;

use engine::{catalog, delete, reading, verify};
use jiff::Timestamp;
use model::progress::Progress;
use serde_json::json;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::table::table;
use crate::warm::Warmer;
use crate::warm_arguments::WarmUpArguments;
use crate::{interrupt, known, place};

pub(crate) fn verify(
    global: &Global,
    id: &str,
    warm_up: &WarmUpArguments,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let cancel = interrupt::watch()?;
    let (repository, record) = known::find(&known::open_all(global, environment, face)?, id, face)?;
    let lease = reading::begin(&repository, "verify", &place::identity(environment))?;
    let index = Arc::new(repository.load_index()?);
    let warmer = Warmer::of(global, warm_up, environment, &cancel, face)?;
    if !warmer.warm(warmer.look(&repository, &index, &record, &[])?)? {
        return Ok(());
    }
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let verified = verify::verify(&repository, &index, &record, &progress, &cancel);
    drop(line);
    let is_finding = verified.as_ref().err().is_none_or(engine::EngineError::is_damage);
    match lease {
        Some(_) if is_finding => {
            catalog::save_verification(&repository, &record, verified.is_ok(), Timestamp::now())?;
        }
        None if is_finding => face.warn("nothing can be written there: this verification is not remembered"),
        _ => {}
    }
    verified?;
    let record = catalog::find(&repository, record.id.as_str())?;
    face.result(&record, || format!("verified {}: every byte is as it was stored", record.id));
    Ok(())
}

pub(crate) fn hold(
    global: &Global,
    id: &str,
    hold: bool,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let repository = place::open(global, environment, face)?;
    let record = catalog::find(&repository, id)?;
    catalog::set_hold(&repository, &record, hold)?;
    let word = if hold { "on hold" } else { "no longer on hold" };
    face.result(&json!({ "id": record.id, "hold": hold }), || format!("{} is {word}", record.id));
    Ok(())
}

pub(crate) fn delete(
    global: &Global,
    id: &str,
    dry_run: bool,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let repository = place::open(global, environment, face)?;
    let record = catalog::find(&repository, id)?;
    if !dry_run {
        delete::delete(&repository, &record, &place::identity(environment), Timestamp::now())?;
    }
    let word = if dry_run { "would be deleted" } else { "deleted" };
    face.result(&json!({ "id": record.id, "deleted": !dry_run }), || {
        format!("{} {word}; `mainstay backup undelete {}` brings it back for 72 hours", record.id, record.id)
    });
    Ok(())
}

pub(crate) fn undelete(
    global: &Global,
    id: Option<&str>,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let repository = place::open(global, environment, face)?;
    let Some(id) = id else {
        let deleted = delete::list_deleted(&repository)?;
        face.result(&json!({ "deleted": deleted }), || {
            let header = ["ID", "TENANT", "SOURCE", "CREATED", "DELETED"].map(str::to_owned).to_vec();
            let rows = deleted.iter().map(|delete::DeletedBackup { record, deleted_at }| {
                let (created, deleted) = (format!("{:.0}", record.created_at), format!("{deleted_at:.0}"));
                vec![
                    record.id.to_string(),
                    record.tenant.to_string(),
                    record.source.to_string(),
                    created,
                    deleted,
                ]
            });
            table(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
        });
        return Ok(());
    };
    let record = delete::undelete(&repository, id, &place::identity(environment))?;
    face.result(&record, || format!("{} is back", record.id));
    Ok(())
}
