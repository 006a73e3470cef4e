//! `backup import`: dumps that others made become backups, each with the time at which it was made, and in the order of
//! these: retention goes by the order in which backups came, and one that came before an older one never takes its place.

use std::fs::File;
use std::path::Path;

use engine::import_dump::{import_dump, same_already};
use engine::writing::Order;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::name::{BadName, SourceName, TenantName};
use model::progress::Progress;
use repo::Repository;
use serde_json::json;
use std::sync::Arc;

use super::create::default_target;
use crate::arguments::{Global, Import};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

/// How names tell the time, the longest first: `app-20261120T144005Z.dump`, `app-20261120-144005.dump`, `app_2026-11-20.dump`.
const FORMS: [(&str, &str); 6] = [
    ("########T######", "%Y%m%dT%H%M%S"),
    ("########-######", "%Y%m%d-%H%M%S"),
    ("########_######", "%Y%m%d_%H%M%S"),
    ("####-##-##_######", "%Y-%m-%d_%H%M%S"),
    ("####-##-##", "%Y-%m-%d"),
    ("########", "%Y%m%d"),
];

/// What became of a file.
enum Imported {
    Made(BackupRecord),
    /// The same bytes are there already.
    There(BackupRecord),
    Planned(Timestamp),
    Failed(CliError),
}

pub(crate) fn run(global: &Global, order: &Import, environment: &Environment, face: &Face) -> Result<()> {
    let bad = |error: BadName| CliError::usage(error.to_string());
    let tenant: TenantName = order.tenant.parse().map_err(bad)?;
    let source = order.name.as_deref().map(str::parse::<SourceName>).transpose().map_err(bad)?;
    let target = default_target(global, tenant.as_str(), environment, face)?;
    let cancel = interrupt::watch()?;
    let repository = target.open(environment, face)?;
    let importing = Importing { order, tenant, source, repository, environment, face, cancel };
    let mut files: Vec<_> = order.files.iter().map(|file| (file, importing.found(file))).collect();
    // Those that cannot be read come first: that is soon said.
    files.sort_by_key(|(_, found)| found.as_ref().ok().map(|found| found.made));
    let done: Vec<_> = files.into_iter().map(|(file, found)| (file, importing.one(file, found))).collect();
    for (file, imported) in &done {
        let file = file.display();
        match imported {
            Imported::There(record) => face.note(&format!("{file}: is here already as {}", record.id)),
            Imported::Planned(time) => face.note(&format!("{file}: made {time:.0}; nothing was done")),
            Imported::Failed(error) => face.status(&format!("import failed file={file}: {}", error.message)),
            Imported::Made(_) => {}
        }
    }
    let records: Vec<_> = done
        .iter()
        .filter_map(|(_, imported)| if let Imported::Made(record) = imported { Some(record) } else { None })
        .collect();
    face.result(&json!({ "records": records }), String::new);
    let count = done.len();
    let mut failed: Vec<_> = done
        .into_iter()
        .filter_map(|(_, imported)| if let Imported::Failed(error) = imported { Some(error) } else { None })
        .collect();
    match failed.len() {
        0 => Ok(()),
        1 if count == 1 => Err(failed.remove(0)),
        bad if bad == count => Err(CliError::new(Kind::Failed, format!("all {bad} imports failed"))),
        bad => Err(CliError::new(Kind::Partial, format!("{bad} of {count} imports failed"))),
    }
}

struct Importing<'a> {
    order: &'a Import,
    tenant: TenantName,
    source: Option<SourceName>,
    repository: Arc<Repository>,
    environment: &'a Environment,
    face: &'a Face,
    cancel: CancelToken,
}

/// A file that can be read.
struct Found {
    /// When it was made.
    made: Timestamp,
    bytes: u64,
}

impl Importing<'_> {
    fn one(&self, path: &Path, found: Result<Found>) -> Imported {
        found.and_then(|found| self.import(path, &found)).unwrap_or_else(Imported::Failed)
    }

    fn found(&self, path: &Path) -> Result<Found> {
        let about = open(path)?.metadata().map_err(CliError::io(&format!("reading {}", path.display())))?;
        let made = match self.order.created_at {
            Some(time) => time,
            None => named_time(path, &self.order.time_zone)
                .or_else(|| Timestamp::try_from(about.modified().ok()?).ok())
                .ok_or_else(|| {
                    CliError::usage(format!("{}: nothing says when it was made", path.display()))
                })?,
        };
        Ok(Found { made, bytes: about.len() })
    }

    fn import(&self, path: &Path, found: &Found) -> Result<Imported> {
        if self.order.dry_run {
            return Ok(Imported::Planned(found.made));
        }
        let open = || open(path);
        let progress = Progress::new();
        let order = Order {
            tenant: self.tenant.clone(),
            source: match &self.source {
                Some(name) => name.clone(),
                None => SourceName::derived_from(&database_of(path, open()?)?),
            },
            label: self.order.label.clone(),
            hold: false,
            identity: place::identity(self.environment),
            now: found.made,
            level: None,
            cancel: self.cancel.clone(),
            progress: progress.clone(),
        };
        if let Some(record) = same_already(&self.repository, &mut open()?, &order)? {
            return Ok(Imported::There(record));
        }
        let line = ProgressLine::start(self.face, &progress);
        let record = import_dump(&self.repository, &mut open()?, found.bytes, &order);
        drop(line);
        let record = record?;
        self.face.status(&format!("backup ok id={} bytes={}", record.id, record.size_bytes));
        Ok(Imported::Made(record))
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::new(Kind::NotFound, format!("{}: {error}", path.display())),
        _ => CliError::io(&format!("reading {}", path.display()))(error),
    })
}

/// The database that was dumped, from the head of the archive.
fn database_of(path: &Path, file: File) -> Result<String> {
    let found = engine::import_dump::database_of(file);
    found.map_err(|error| CliError::from(error).named(&path.display().to_string()))
}

/// The time in a file's name, as clocks in `zone` showed it; `Z` behind it means UTC.
fn named_time(path: &Path, zone: &TimeZone) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?;
    let fits = |form: &str, text: &str| {
        form.bytes()
            .zip(text.bytes())
            .all(|(form, byte)| if form == b'#' { byte.is_ascii_digit() } else { form == byte })
    };
    let find = |(form, format): &(&str, &str)| {
        let starts = (0..name.len().saturating_sub(form.len() - 1)).rev();
        let found = starts.filter_map(|start| Some((start, name.get(start..start + form.len())?)));
        let (start, text) = found.filter(|(_, text)| fits(form, text)).find(|(start, _)| {
            // Not a part of a longer number.
            let digit = |at: Option<u8>| at.is_some_and(|byte| byte.is_ascii_digit());
            !digit(start.checked_sub(1).map(|at| name.as_bytes()[at]))
                && !digit(name.as_bytes().get(start + form.len()).copied())
        })?;
        let is_utc = name[start + form.len()..].starts_with('Z');
        let zone = if is_utc { TimeZone::UTC } else { zone.clone() };
        let civil = match format.contains("%H") {
            true => DateTime::strptime(format, text).ok()?,
            false => {
                jiff::civil::Date::strptime(format, text).ok()?.to_datetime(jiff::civil::Time::midnight())
            }
        };
        zone.to_timestamp(civil).ok()
    };
    FORMS.iter().find_map(find)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_time_in_the_usual_forms() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let table = [
            ("certctl-20261120T144005Z.dump", "2026-11-20T14:40:05Z"),
            ("app-20261120-144005.dump", "2026-11-20T13:40:05Z"),
            ("app_20261120_144005.pgdump", "2026-11-20T13:40:05Z"),
            ("app-2026-11-20_144005.dump", "2026-11-20T13:40:05Z"),
            ("app-2026-11-20.dump", "2026-11-19T23:00:00Z"),
            ("app.20260701.dump", "2026-06-30T22:00:00Z"),
            ("v20240101-app-20261120T144005Z.dump", "2026-11-20T14:40:05Z"),
        ];
        for (name, time) in table {
            assert_eq!(named_time(Path::new(name), &berlin), Some(time.parse().unwrap()), "{name}");
        }
        for name in ["app.dump", "app-20261341-000000.dump", "app-123456789012.dump", ".dump"] {
            assert_eq!(named_time(Path::new(name), &berlin), None, "{name}");
        }
    }
}
