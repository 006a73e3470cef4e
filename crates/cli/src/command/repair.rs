//! `mainstay repair`: make a damaged repository give what it still has, and lose nothing more on the way.

mod hot;

use engine::repair_snapshots::{RepairOptions, RepairedBackup, repair_snapshots};
use jiff::Timestamp;
use model::progress::Progress;
use repo::repair::reindex::{ReindexReport, repair_index};
use repo::repair::salvage::{SalvageReport, repair_packs};
use serde_json::json;

use crate::arguments::{Global, Repair, RepairStep};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

#[derive(Default)]
struct Reports {
    hot: Option<hot::HotReport>,
    index: Option<ReindexReport>,
    packs: Option<SalvageReport>,
    snapshots: Option<Vec<RepairedBackup>>,
}

pub(crate) fn run(global: &Global, order: &Repair, environment: &Environment, face: &Face) -> Result<()> {
    if order.replace && order.step.is_some_and(|step| step != RepairStep::Snapshots) {
        return Err(CliError::usage("--replace belongs to the step `snapshots`"));
    }
    let cancel = interrupt::watch()?;
    let me = place::identity(environment);
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let mut reports = Reports::default();
    let is_pair = global.repository_hot.is_some();
    if order.step == Some(RepairStep::Hot) || (order.step.is_none() && is_pair) {
        reports.hot = hot::run(global, order, environment, face, &progress, &cancel)?;
        if reports.hot.is_none() {
            return Ok(());
        }
    }
    if order.step == Some(RepairStep::Hot) {
        drop(line);
        show(&reports, order, face);
        return verdict_of_hot(&reports);
    }
    let repository = place::open(global, environment, face)?;
    // Reading all packs, where they are cold, is nothing that goes without saying.
    let is_asked = |step| order.step.map_or(!(is_pair && step == RepairStep::Packs), |asked| asked == step);
    if is_asked(RepairStep::Index) {
        reports.index = Some(repair_index(&repository, &me, order.dry_run, &progress, &cancel)?);
    }
    if is_asked(RepairStep::Packs) {
        reports.packs = Some(repair_packs(&repository, &me, order.dry_run, &progress, &cancel)?);
    }
    // Nothing of theirs is lost that lies in packs which nobody could look into.
    let unindexed = reports.index.as_ref().map_or(0, unindexed);
    if is_asked(RepairStep::Snapshots) && unindexed == 0 {
        let options = RepairOptions { dry_run: order.dry_run, replace: order.replace };
        let now = Timestamp::now();
        reports.snapshots = Some(repair_snapshots(&repository, options, &me, now, &progress, &cancel)?);
    }
    drop(line);
    show(&reports, order, face);
    verdict(&reports)
}

/// How the step `hot` ends, where it was asked for alone.
fn verdict_of_hot(reports: &Reports) -> Result<()> {
    match reports.hot.as_ref().map_or(0, hot::HotReport::left) {
        0 => Ok(()),
        left => Err(CliError::new(Kind::Damaged, format!("{left} objects of the cold part are damaged"))
            .hint("`mainstay repair` without a step mends what it can")),
    }
}

/// How the other steps end.
fn verdict(reports: &Reports) -> Result<()> {
    let unindexed = reports.index.as_ref().map_or(0, unindexed);
    if unindexed > 0 {
        let words =
            format!("{unindexed} packs are too cold to say what they hold, and an index file is damaged");
        return Err(CliError::new(Kind::Partial, words)
            .hint("ask the provider to restore the packs that are in no index, then repair again"));
    }
    let unsaved = reports.snapshots.iter().flatten().filter(|backup| backup.is_hopeless).count();
    match unsaved {
        0 => Ok(()),
        count => Err(CliError::new(Kind::Damaged, format!("nothing is left of {count} backups"))
            .hint("delete them with `mainstay backup delete`")),
    }
}

/// Packs of which a damaged index file may have said what they hold, and nothing else can for now.
fn unindexed(report: &ReindexReport) -> usize {
    if report.unreadable_files.is_empty() { 0 } else { report.cold_packs.len() }
}

fn show(reports: &Reports, order: &Repair, face: &Face) {
    let document = json!({
        "dryRun": order.dry_run,
        "hot": reports.hot.as_ref().map(hot::to_json),
        "index": reports.index,
        "packs": reports.packs,
        "snapshots": reports.snapshots,
    });
    face.result(&document, || {
        let mut lines = vec![];
        lines.extend(reports.hot.as_ref().map(|plan| hot::describe(plan, order.dry_run)));
        lines.extend(reports.index.as_ref().map(describe_index));
        lines.extend(reports.packs.as_ref().map(describe_packs));
        lines.extend(reports.snapshots.as_ref().map(|backups| describe_backups(backups, order)));
        if order.dry_run {
            lines.push("nothing was changed (--dry-run)".to_owned());
        }
        lines.join("\n")
    });
}

fn describe_index(report: &ReindexReport) -> String {
    let ReindexReport {
        unreadable_files,
        added_packs,
        healed_packs,
        lost_packs,
        unreadable_packs,
        cold_packs,
    } = report;
    let mut lines = vec![format!(
        "index     {} unreadable files, {} packs found again, {} healed by parity, {} lost",
        unreadable_files.len(),
        added_packs.len(),
        healed_packs.len(),
        lost_packs.len()
    )];
    lines.extend(lost_packs.iter().map(|id| format!("          pack {id} is gone")));
    lines.extend((!cold_packs.is_empty()).then(|| {
        format!("          {} packs are in no index, and too cold to be looked into", cold_packs.len())
    }));
    lines.extend(unreadable_packs.iter().map(|id| format!("          pack {id}: its header does not open")));
    lines.join("\n")
}

fn describe_packs(report: &SalvageReport) -> String {
    let SalvageReport { packs_read, healed_packs, bad_packs, saved_blobs, lost_blobs } = report;
    let mut lines = vec![format!(
        "packs     {packs_read} read, {} healed by parity, {} damaged: {saved_blobs} blobs saved, {lost_blobs} lost",
        healed_packs.len(),
        bad_packs.len()
    )];
    lines.extend(bad_packs.iter().map(|id| format!("          pack {id} is damaged")));
    lines.join("\n")
}

fn describe_backups(backups: &[RepairedBackup], order: &Repair) -> String {
    let mut lines = vec![format!("backups   {} are not whole", backups.len())];
    for backup in backups {
        let fate = match (&backup.repaired, backup.is_hopeless) {
            (Some(repaired), _) if order.replace => format!("replaced by {repaired}"),
            (Some(repaired), _) => format!("saved as {repaired}"),
            (None, true) => "nothing is left of it".to_owned(),
            (None, false) => "can be saved in part".to_owned(),
        };
        lines.push(format!("          {}: {} files touched; {fate}", backup.broken, backup.files));
        lines.extend(backup.paths.iter().map(|path| format!("            {path}")));
    }
    lines.join("\n")
}
