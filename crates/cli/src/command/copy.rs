//! `mainstay copy`: bring backups into another repository, under its own key.

use engine::copy::{CopyReport, copy, missing};
use engine::copy_wal::{WalPlan, WalReport, WalRoad, Which};
use engine::{catalog, reading, warm_up};
use model::backup::BackupRecord;
use model::progress::Progress;
use model::size::ByteSize;
use serde_json::json;

use super::copied_wal::{describe_wal, verdict_on_wal};
use crate::arguments::{Copy, Global};
use crate::environment::Environment;
use crate::error::{CliError, Result};
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
    let to = place::open_parts(&order.to, order.to_hot.as_deref(), &other, environment, face)?;
    // What is warmed up is not to be pruned meanwhile.
    let me = place::identity(environment);
    let _lease = reading::begin(&from, "copy", &me)?;
    let mut records = catalog::list(&from)?;
    if !order.ids.is_empty() {
        let choose = |id: &String| Ok(catalog::choose(records.clone(), id)?);
        records = order.ids.iter().map(choose).collect::<Result<Vec<_>>>()?;
    }
    let progress = Progress::new();
    let road = WalRoad { from: &from, to: &to, is_mirror: false, progress: &progress, cancel: &cancel };
    if order.dry_run {
        let wal =
            if order.no_wal { WalPlan::default() } else { road.plan(&Which::behind(&from, &to, &records)?)? };
        show_plan(&missing(&from, &to, records)?, wal, face);
        return Ok(());
    }
    let warmer = Warmer::of(global, &order.warm_up, environment, &cancel, face)?;
    if !warmer.warm(warmer.look_at(|| Ok(warm_up::packs_to_copy(&from, &to, &records, &cancel)?))?)? {
        return Ok(());
    }
    let line = ProgressLine::start(face, &progress);
    let report = copy(&from, &to, &records, &me, &progress, &cancel).map_err(CliError::from);
    let report = report.and_then(|report| {
        let wal = if order.no_wal {
            WalReport::default()
        } else {
            road.copy(&Which::behind(&from, &to, &records)?)?
        };
        Ok((report, wal))
    });
    drop(line);
    let (report, wal) = report?;
    show(&report, &wal, face);
    verdict_on_wal(&wal)
}

/// What a dry run of a mirror or a copy found.
pub(super) fn show_plan(missing: &[BackupRecord], wal: WalPlan, face: &Face) {
    let ids: Vec<_> = missing.iter().map(|record| record.id.to_string()).collect();
    let bytes = missing.iter().map(|record| record.size_bytes).sum();
    let document = json!({ "missing": ids, "sizeBytes": format!("{bytes}"), "wal": wal, "dryRun": true });
    face.result(&document, || {
        let mut lines =
            vec![format!("{} backups would be copied ({} before compression)", ids.len(), ByteSize(bytes))];
        lines.extend(ids.iter().map(|id| format!("  {id}")));
        if wal.files > 0 {
            let WalPlan { files, bytes } = wal;
            lines.push(format!("{files} files of archived WAL would be copied ({})", ByteSize(bytes)));
        }
        lines.join("\n")
    });
}

fn show(report: &CopyReport, wal: &WalReport, face: &Face) {
    let copied: Vec<_> =
        report.copied.iter().map(|(from, to)| json!({ "from": from.to_hex(), "to": to.to_hex() })).collect();
    let document = json!({
        "copied": copied,
        "skipped": report.skipped,
        "blobs": report.blobs.to_string(),
        "bytes": report.bytes.to_string(),
        "storedBytes": report.stored_bytes.to_string(),
        "wal": wal,
        "dryRun": false,
    });
    face.result(&document, || {
        let mut text = format!(
            "{} backups copied, {} were there already; {} read, {} stored",
            report.copied.len(),
            report.skipped,
            ByteSize(report.bytes),
            ByteSize(report.stored_bytes)
        );
        text.extend(describe_wal(wal));
        text
    });
}
