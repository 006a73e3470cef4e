//! `mainstay copy`: bring backups into another repository, under its own key.

use engine::copy::{CopyReport, copy, missing};
use engine::copy_wal::{WalPlan, WalReport, WalRoad, Which};
use engine::{catalog, expire_wal, reading, warm_up};
use model::backup::BackupRecord;
use model::progress::Progress;
use model::size::ByteSize;
use serde_json::json;

use crate::arguments::{Copy, Global};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
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
    let progress = Progress::new();
    let road = WalRoad { from: &from, to: &to, is_mirror: false, progress: &progress, cancel: &cancel };
    // What leads on from base backups, those that are there included.
    let which = |records: &[BackupRecord]| -> Result<Which> {
        let mut needs = expire_wal::needs_of_records(&from, records)?;
        let theirs = if needs.is_empty() { needs.clone() } else { expire_wal::all_needs(&to)? };
        for (system_id, there) in theirs {
            needs.entry(system_id).and_modify(|needs| needs.extend(there));
        }
        Ok(Which::Of(needs))
    };
    if order.dry_run {
        let wal = if order.no_wal { WalPlan::default() } else { road.plan(&which(&records)?)? };
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
        let wal = if order.no_wal { WalReport::default() } else { road.copy(&which(&records)?)? };
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

/// In words, where there was any.
pub(super) fn describe_wal(wal: &WalReport) -> Option<String> {
    let WalReport { copied, stored_bytes, skipped, compared, gone, .. } = wal;
    let any = copied + skipped + gone > 0;
    let gone = match gone {
        0 => String::new(),
        gone => format!("; {gone} were pruned there, and `mainstay mirror` alone brings them back"),
    };
    any.then(|| {
        format!(
            "\n{copied} files of WAL copied, {skipped} were there already, {compared} compared byte by byte; {} stored{gone}",
            ByteSize(*stored_bytes)
        )
    })
}

/// The first thing that is wrong with it; all else is copied.
pub(super) fn verdict_on_wal(wal: &WalReport) -> Result<()> {
    if let Some(damage) = wal.damage.first() {
        let words = format!("integrity check failed: {damage}");
        return Err(CliError::new(Kind::Damaged, words).hint(
            "everything else is copied; a server that has the segment still can archive it anew once the damaged object is gone",
        ));
    }
    match wal.refused.first() {
        None => Ok(()),
        Some(words) => Err(CliError::new(Kind::Refused, words.clone()).hint(
            "everything else is copied; two clusters must not share a place: copy into another repository, or say with \
             `mainstay wal push --take-over` which one goes on (docs: how-to/archive-wal)",
        )),
    }
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
