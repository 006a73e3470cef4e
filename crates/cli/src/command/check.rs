//! `mainstay check`: is the repository sound?

use model::progress::Progress;
use model::size::ByteSize;
use repo::check::{CheckOptions, CheckReport, check};
use serde_json::json;

use crate::arguments::{Check, Global};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

/// Touched files that are shown to people at most.
const TOUCHED_SHOWN: usize = 100;

pub(crate) fn run(global: &Global, order: &Check, environment: &Environment, face: &Face) -> Result<()> {
    let read_percent = order.read_data.as_deref().map_or(Ok(0), percent)?;
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let report = check(&repository, CheckOptions { read_percent }, &progress, &cancel)?;
    drop(line);
    show(&report, face);
    match report.problems.len() + report.touched_files {
        0 => Ok(()),
        count => Err(CliError::new(Kind::Damaged, format!("integrity check failed: {count} problems")).hint(
            "do not prune; `mainstay repair --dry-run` shows what can be saved, and backups made after a repair \
             store again what was lost",
        )),
    }
}

/// `10%` or `10`, from 1 to 100.
pub(crate) fn percent(text: &str) -> Result<u8> {
    let number = text.trim_end_matches('%').parse().ok().filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| CliError::usage(format!("{text:?} is no share: give 1% to 100%")))
}

fn show(report: &CheckReport, face: &Face) {
    let touched = report.touched.iter().map(|touched| {
        json!({ "snapshot": touched.snapshot.to_hex(), "path": touched.path, "reason": touched.reason })
    });
    let document = json!({
        "problems": report.problems,
        "touched": touched.collect::<Vec<_>>(),
        "touchedFiles": report.touched_files,
        "remarks": report.remarks,
        "snapshots": report.snapshots,
        "packs": report.packs,
        "blobs": report.blobs,
        "packsRead": report.packs_read,
        "bytesRead": report.bytes_read.to_string(),
    });
    face.result(&document, || {
        let mut lines: Vec<String> =
            report.problems.iter().map(|problem| format!("problem: {problem}")).collect();
        lines.extend(report.touched.iter().take(TOUCHED_SHOWN).map(|touched| {
            format!("problem: snapshot {}: {}: {}", touched.snapshot.short(), touched.path, touched.reason)
        }));
        let unnamed = report.touched_files.saturating_sub(report.touched.len().min(TOUCHED_SHOWN));
        lines.extend(
            (unnamed > 0).then(|| format!("problem: … and {unnamed} more files (--json lists 10,000)")),
        );
        lines.extend(report.remarks.iter().map(|remark| format!("note: {remark}")));
        let read = match report.packs_read {
            0 => "data not read (use --read-data)".to_owned(),
            count => format!("{count} packs read ({})", ByteSize(report.bytes_read)),
        };
        let verdict =
            if report.problems.is_empty() && report.touched_files == 0 { "sound" } else { "DAMAGED" };
        lines.push(format!(
            "{verdict}: {} snapshots, {} packs, {} blobs; {read}",
            report.snapshots, report.packs, report.blobs
        ));
        lines.join("\n")
    });
}
