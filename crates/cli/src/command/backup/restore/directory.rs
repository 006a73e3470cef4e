//! Restore of a directory: into a place of its own, or over what is there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use engine::EngineError;
use engine::catalog;
use engine::restore_files::{Notice, RestoreOrder, RestoreReport, original_place, restore_files};
use engine::warm_up::Need;
use files::relative::RelativePath;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use model::size::ByteSize;
use repo::snapshot_file::SnapshotFile;
use serde_json::json;

use super::confirm::confirm;
use super::task::Task;
use crate::arguments::Restore;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::warm;

/// Single paths that a plan names at most in its JSON; all are counted.
const NAMED_MAX: usize = 10_000;

pub(super) fn run(task: Task<'_>) -> Result<()> {
    let Task { repository, record, order, face, begin, .. } = task;
    refuse_database_flags(record, order)?;
    let cancel = begin.watch.cancel.clone();
    let snapshot = catalog::load_snapshot(repository, record)?;
    let index = repository.load_index()?;
    let place = match &order.to {
        Some(to) => to.clone(),
        None => where_it_was(order, original_place(repository, &index, &snapshot)?, &cancel)?,
    };
    let only = order.path.iter().map(|path| below(path, &snapshot)).collect::<Result<Vec<_>>>()?;
    let Some(need) = task.warm(&index, record, &only)? else { return Ok(()) };
    let named = Mutex::new((vec![], vec![]));
    let tell = |notice: &Notice| show(notice, order, face, &named);
    let progress = Progress::new();
    let wanted = RestoreOrder {
        place,
        only,
        delta: order.delta,
        delete: order.delete,
        dry_run: order.dry_run,
        owners: task.owners()?,
        tell: &tell,
        progress: progress.clone(),
        cancel,
    };
    if !order.dry_run {
        refuse_full(&wanted)?;
        begin.of(record)?;
    }
    let start = Instant::now();
    let line = ProgressLine::start(face, &progress);
    let report = restore_files(repository, &index, record, &wanted);
    drop(line);
    let report = report?;
    sum_up(record, &wanted, &report, &need, &named, face);
    if !order.dry_run && report.damaged + report.problems == 0 {
        let seconds = start.elapsed().as_secs_f64();
        let to = wanted.place.display().to_string();
        face.status(&format!(
            "restore ok id={} to={to:?} bytes={} seconds={seconds:.2}",
            record.id, report.bytes
        ));
    }
    end(record, &report)
}

fn refuse_database_flags(record: &BackupRecord, order: &Restore) -> Result<()> {
    let is_about_rights = order.with_roles || order.no_owner || order.no_tablespaces;
    let is_for_database = !order.database.is_empty() || order.clean || is_about_rights;
    if is_for_database || !order.table.is_empty() || !order.schema.is_empty() {
        let message = format!("{} is a directory; these flags are for databases", record.id);
        return Err(CliError::usage(message).hint("use --to DIR, --path, --delta, --delete"));
    }
    Ok(())
}

/// A directory that is not there has nothing in it.
fn is_empty(place: &Path) -> Result<bool> {
    match std::fs::read_dir(place) {
        Ok(mut names) => Ok(names.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(CliError::io(&format!("looking into {}", place.display()))(error)),
    }
}

/// Before any command is run for it.
fn refuse_full(wanted: &RestoreOrder<'_>) -> Result<()> {
    match wanted.delta || is_empty(&wanted.place)? {
        true => Ok(()),
        false => Err(EngineError::Refused(format!("{} is not empty", wanted.place.display())).into()),
    }
}

/// What is there now is only overwritten with `--delta`, and with its name.
fn where_it_was(order: &Restore, place: PathBuf, cancel: &CancelToken) -> Result<PathBuf> {
    let is_empty = is_empty(&place)?;
    if !is_empty && !order.delta {
        let message = format!("{} is not empty", place.display());
        let hint = "restore elsewhere with --to DIR, or write over it with --delta";
        return Err(CliError::new(Kind::Refused, message).hint(hint));
    }
    if !is_empty && !order.dry_run {
        confirm(&place.display().to_string(), "directory", "overwritten", order, cancel)?;
    }
    Ok(place)
}

/// A path as the user has it in mind: below the backed-up directory, or from the root of the file system on.
fn below(path: &Path, snapshot: &SnapshotFile) -> Result<RelativePath> {
    let root = snapshot.paths.first().map_or("/", String::as_str);
    let relative = match path.strip_prefix(root) {
        Ok(relative) => relative,
        Err(_) if path.is_absolute() => {
            return Err(CliError::new(Kind::NotFound, format!("{} is not below {root}", path.display())));
        }
        Err(_) => path,
    };
    RelativePath::parse(relative.as_os_str().as_bytes()).map_err(|error| CliError::usage(error.to_string()))
}

type Named = Mutex<(Vec<String>, Vec<String>)>;

fn show(notice: &Notice, order: &Restore, face: &Face, named: &Named) {
    let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
    let (overwritten, deleted) = &mut *named;
    let (list, word, path) = match notice {
        Notice::Problem(words) | Notice::Loss(words) => return face.warn(words),
        Notice::Overwrites(path) => (overwritten, "overwrite", path),
        Notice::Deletes(path) => (deleted, "delete", path),
    };
    if order.dry_run && !face.is_json() {
        face.note(&format!("would {word} {path}"));
    }
    if list.len() < NAMED_MAX {
        list.push(path.to_string());
    }
}

fn sum_up(
    record: &BackupRecord,
    order: &RestoreOrder<'_>,
    report: &RestoreReport,
    need: &Need,
    named: &Named,
    face: &Face,
) {
    let (overwritten, deleted) = &*named.lock().unwrap_or_else(PoisonError::into_inner);
    let document = json!({
        "id": record.id,
        "place": order.place.display().to_string(),
        "dryRun": order.dry_run,
        "created": report.created,
        "overwritten": report.overwritten,
        "unchanged": report.unchanged,
        "deleted": report.deleted,
        "sizeBytes": report.bytes.to_string(),
        "writtenBytes": report.bytes_written.to_string(),
        "sockets": report.sockets,
        "damaged": report.damaged,
        "problems": report.problems,
        "overwrites": overwritten,
        "deletes": deleted,
        "packs": warm::to_json(need),
    });
    let mut text = format!(
        "{} {} of {:.0}\n  to     {}\n  files  {} new, {} overwritten, {} as they were, {} removed\n  data   {}, {} written",
        if order.dry_run { "would restore" } else { "restored" },
        record.id,
        record.created_at,
        order.place.display(),
        report.created,
        report.overwritten,
        report.unchanged,
        report.deleted,
        ByteSize(report.bytes),
        ByteSize(report.bytes_written),
    );
    if order.dry_run && !need.is_warm() {
        text += &format!("\n{}", warm::describe(need));
    }
    if face.is_json() {
        face.result(&document, String::new);
    } else {
        face.note(&text);
    }
    if report.sockets > 0 {
        face.note(&format!("note: {} sockets are left to the programs that make them", report.sockets));
    }
}

fn end(record: &BackupRecord, report: &RestoreReport) -> Result<()> {
    let RestoreReport { damaged, problems, .. } = report;
    match (damaged, problems) {
        (0, 0) => Ok(()),
        (0, count) => {
            Err(CliError::new(Kind::Partial, format!("{count} parts of {} were not restored", record.id))
                .hint("each is named above; the rest is restored"))
        }
        (count, _) => Err(CliError::new(
            Kind::Damaged,
            format!("integrity check failed: {count} files of {} are damaged in the repository", record.id),
        )
        .hint(
            "each is named above; the rest is restored. `mainstay check --read-data` shows how far it goes",
        )),
    }
}
