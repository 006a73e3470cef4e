//! `backup verify`, `hold`, `unhold`, `delete` and `undelete`.

use std::sync::Arc;

use engine::{catalog, verify};
use jiff::Timestamp;
use model::progress::Progress;
use serde_json::json;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

pub(crate) fn verify(global: &Global, id: &str, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let record = catalog::find(&repository, id)?;
    let index = Arc::new(repository.load_index()?);
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let verified = verify::verify(&repository, &index, &record, &progress, &cancel);
    drop(line);
    let is_finding = verified.as_ref().err().is_none_or(engine::EngineError::is_damage);
    if is_finding {
        catalog::save_verification(&repository, &record, verified.is_ok(), Timestamp::now())?;
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
        repository.delete_snapshot(&record.snapshot.unwrap_or_default(), Timestamp::now())?;
    }
    let word = if dry_run { "would be deleted" } else { "deleted" };
    face.result(&json!({ "id": record.id, "deleted": !dry_run }), || {
        format!("{} {word}; `mainstay backup undelete {}` brings it back for 72 hours", record.id, record.id)
    });
    Ok(())
}

pub(crate) fn undelete(global: &Global, id: &str, environment: &Environment, face: &Face) -> Result<()> {
    let repository = place::open(global, environment, face)?;
    repository.undelete_snapshot(&id.parse().unwrap_or_default())?;
    face.result(&json!({ "id": id, "deleted": false }), || format!("{id} is back"));
    Ok(())
}
