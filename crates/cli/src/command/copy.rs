//! `mainstay copy`: bring backups into another repository, under its own key.

use engine::copy::{CopyReport, copy};
use engine::{catalog, reading, warm_up};
use model::progress::Progress;
use model::size::ByteSize;
use serde_json::json;

use crate::arguments::{Copy, Global};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::warm::Warmer;
use crate::{interrupt, password, place};

pub(crate) fn run(global: &Global, order: &Copy, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let own = password::current(global, environment, face)?;
    let from = place::open_with(global, &own, environment, face)?;
    let other = match &order.to_password_file {
        Some(file) => password::from_file(file, face)?,
        None => own,
    };
    let to = place::open_at(&order.to, &other, environment, face)?;
    // What is warmed up is not to be pruned meanwhile.
    let me = place::identity(environment);
    let _lease = reading::begin(&from, "copy", &me)?;
    let mut records = catalog::list(&from)?;
    if !order.ids.is_empty() {
        let choose = |id: &String| Ok(catalog::choose(records.clone(), id)?);
        records = order.ids.iter().map(choose).collect::<Result<Vec<_>>>()?;
    }
    let warmer = Warmer::of(global, &order.warm_up, environment, &cancel, face)?;
    if !warmer.warm(warmer.look_at(|| Ok(warm_up::packs_to_copy(&from, &to, &records, &cancel)?))?)? {
        return Ok(());
    }
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let report = copy(&from, &to, &records, &me, &progress, &cancel);
    drop(line);
    show(&report?, face);
    Ok(())
}

fn show(report: &CopyReport, face: &Face) {
    let copied: Vec<_> =
        report.copied.iter().map(|(from, to)| json!({ "from": from.to_hex(), "to": to.to_hex() })).collect();
    let document = json!({
        "copied": copied,
        "skipped": report.skipped,
        "blobs": report.blobs.to_string(),
        "bytes": report.bytes.to_string(),
        "storedBytes": report.stored_bytes.to_string(),
    });
    face.result(&document, || {
        format!(
            "{} backups copied, {} were there already; {} read, {} stored",
            report.copied.len(),
            report.skipped,
            ByteSize(report.bytes),
            ByteSize(report.stored_bytes)
        )
    });
}
