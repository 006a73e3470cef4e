//! `mainstay check`: is the repository sound?

use model::progress::Progress;
use model::size::ByteSize;
use repo::Repository;
use repo::check::{CheckOptions, CheckReport, check, remember};
use repo::hot::{Look, plan_hot};
use serde_json::json;
use store::Store;

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
    let lack = match &global.repository_hot {
        Some(hot) => lack_of(&repository, &*place::store(hot, environment)?)?,
        None => None,
    };
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let mut report = check(&repository, CheckOptions { read_percent }, &progress, &cancel)?;
    report.remarks.extend(lack);
    drop(line);
    match remember(&repository, &report) {
        Ok(0) => {}
        Ok(count) => report.remarks.push(format!(
            "{count} packs are noted as broken: no new backup relies on them, so the next ones store again what they \
             need of them, for older ones as well"
        )),
        // Who may only read is told what is wrong, and that is what matters.
        Err(error) if report.broken_packs.is_empty() => face.note(&format!("not noted: {error}")),
        Err(error) => face.warn(&format!(
            "what is broken could not be noted ({error}): until `mainstay repair` new backups rely on it"
        )),
    }
    show(&report, face);
    match report.problems.len() + report.touched_files {
        0 if report.packs_cold + report.wal_cold > 0 => Err(CliError::new(
            Kind::Partial,
            format!(
                "{} packs and {} files of WAL are too cold to be read ({})",
                report.packs_cold,
                report.wal_cold,
                ByteSize(report.bytes_cold)
            ),
        )
        .hint("`mainstay backup verify` warms up what one backup needs")),
        0 => Ok(()),
        count => Err(CliError::new(Kind::Damaged, format!("integrity check failed: {count} problems")).hint(
            "do not prune; `mainstay repair --dry-run` shows what can be saved, and the next backups store \
             again what they need of it",
        )),
    }
}

/// What is missing in the hot part, in words. Files that stand by themselves are read from the cold one meanwhile.
///
/// # Errors
/// Where packs of trees are missing: without them nothing can be examined, and nothing is wrong with the cold part.
fn lack_of(repository: &Repository, hot: &dyn Store) -> Result<Option<String>> {
    // Through both parts it is the cold one that is listed.
    let plan = plan_hot(repository, hot, Look::Listed)?;
    let words = format!("{} objects are missing in the hot part", plan.len());
    match (plan.packs.len(), plan.is_empty()) {
        (0, true) => Ok(None),
        (0, false) => Ok(Some(format!("{words}; `mainstay repair hot` copies them"))),
        (packs, _) => {
            Err(CliError::new(Kind::Damaged, format!("{words}, {packs} of them packs of directories"))
                .hint("`mainstay repair hot` makes them again from the cold part; then check again"))
        }
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
        "packsCold": report.packs_cold,
        "bytesCold": report.bytes_cold.to_string(),
        "walFiles": report.wal_files,
        "walRead": report.wal_read,
        "walCold": report.wal_cold,
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
        let wal = match report.wal_files {
            0 => String::new(),
            files => format!(", {files} files of WAL ({} read)", report.wal_read),
        };
        lines.push(format!(
            "{verdict}: {} snapshots, {} packs, {} blobs{wal}; {read}",
            report.snapshots, report.packs, report.blobs
        ));
        lines.join("\n")
    });
}
