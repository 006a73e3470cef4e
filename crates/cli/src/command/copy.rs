//! `mainstay copy`: bring backups into another repository, under its own key.

use engine::catalog;
use engine::copy::{CopyReport, copy};
use model::progress::Progress;
use model::size::ByteSize;
use serde_json::json;

use crate::arguments::{Copy, Global};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, password, place};

pub(crate) fn run(global: &Global, order: &Copy, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let own = password::current(global, environment, face)?;
    let from = place::open_at(&place::address(global, environment)?, &own, environment, face)?;
    let other = match &order.to_password_file {
        Some(file) => password::from_file(file, face)?,
        None => own,
    };
    let to = place::open_at(&order.to, &other, environment, face)?;
    let mut records = catalog::list(&from)?;
    if !order.ids.is_empty() {
        let choose = |id: &String| Ok(catalog::choose(records.clone(), id)?);
        records = order.ids.iter().map(choose).collect::<Result<Vec<_>>>()?;
    }
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let report = copy(&from, &to, &records, &place::identity(environment), &progress, &cancel);
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
