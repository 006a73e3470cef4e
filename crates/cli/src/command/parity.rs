//! `mainstay parity`: store what lost packs can be computed from.

use model::progress::Progress;
use model::size::ByteSize;
use repo::parity::protect::{ParityOptions, ParityReport, protect};
use serde_json::json;

use crate::arguments::{Global, Parity};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

pub(crate) fn run(global: &Global, order: &Parity, environment: &Environment, face: &Face) -> Result<()> {
    let options = ParityOptions { packs: order.packs, shards: order.shards, dry_run: order.dry_run };
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let report = protect(&repository, options, &place::identity(environment), &progress, &cancel);
    drop(line);
    let report = report?;
    face.result(&json!({ "report": report, "dryRun": order.dry_run }), || describe(&report, order.dry_run));
    Ok(())
}

fn describe(report: &ParityReport, dry_run: bool) -> String {
    let ParityReport { protected_packs, added_packs, added_sets, added_bytes, removed_sets } = report;
    let mood = if dry_run { "would be" } else { "are now" };
    format!(
        "{protected_packs} packs were protected; {added_packs} more {mood}, in {added_sets} sets ({}); {removed_sets} \
         sets with gone packs {mood} replaced",
        ByteSize(*added_bytes)
    )
}
