//! `mainstay mirror`: every backup of one repository, and its WAL, into another one, compared, until the first can be given up.

use std::path::Path;

use engine::mirror::{MirrorReport, Road};
use jiff::Timestamp;
use model::progress::Progress;
use model::secret::Secret;
use model::size::ByteSize;
use serde_json::json;

use super::copied_wal::{describe_wal, verdict_on_wal};
use crate::arguments::{Global, Mirror};
use crate::command::copy;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, known, password, place};

pub(crate) fn run(global: &Global, order: &Mirror, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let password = |file: Option<&Path>| -> Result<Secret> {
        file.map_or_else(
            || password::current(global, environment, face),
            |file| password::from_file(file, face),
        )
    };
    let from_password = password(order.from_password_file.as_deref())?;
    let source = place::source(order.from.clone(), global)?;
    let from = place::open_parts(&source, order.from_hot.as_deref(), &from_password, environment, face)?;
    let to_password = password(order.to_password_file.as_deref())?;
    let to = place::open_parts(&order.to, order.to_hot.as_deref(), &to_password, environment, face)?;
    let (me, progress) = (place::identity(environment), Progress::new());
    let road = Road { from: &from, to: &to, identity: &me, progress: &progress, cancel: &cancel };
    if order.dry_run {
        let (missing, wal) = road.plan()?;
        copy::show_plan(&missing, wal, face);
        return Ok(());
    }
    let line = ProgressLine::start(face, &progress);
    let report = road.mirror(order.retire, Timestamp::now());
    drop(line);
    let report = report?;
    if report.is_retired {
        known::forget(&order.from, environment).ok();
        known::remember(&order.to, environment, face);
    }
    show(&report, face);
    match report.damage.first() {
        None => verdict_on_wal(&report.wal),
        Some(damage) => Err(CliError::new(Kind::Damaged, format!("integrity check failed: {damage}")).hint(
            "the other backups are copied; `mainstay repair --dry-run` shows what can be saved of this one",
        )),
    }
}

fn show(report: &MirrorReport, face: &Face) {
    let MirrorReport { copied, wal, verified, is_retired, damage } = report;
    let ids = copied.copied.iter().map(|(from, to)| json!({ "from": from.to_hex(), "to": to.to_hex() }));
    let document = json!({
        "copied": ids.collect::<Vec<_>>(),
        "skipped": copied.skipped,
        "verified": verified,
        "bytes": copied.bytes.to_string(),
        "storedBytes": copied.stored_bytes.to_string(),
        "wal": wal,
        "retired": is_retired,
        "damage": damage,
        "dryRun": false,
    });
    face.result(&document, || {
        let mut text = format!(
            "{} backups copied, {} were there already, {verified} compared byte by byte; {} read, {} stored",
            copied.copied.len(),
            copied.skipped,
            ByteSize(copied.bytes),
            ByteSize(copied.stored_bytes)
        );
        text.extend(describe_wal(wal));
        if *is_retired {
            text +=
                "\nthe old repository is retired: it takes no more backups and no WAL, and nothing in it was deleted";
        }
        text
    });
}
