//! Where a backup goes: the places that were named, those that can be opened, and copies from one into the others.

use std::sync::Arc;

use engine::catch_up::{Newest, Whose, catch_up, whose};
use engine::copy_wal::{WalReport, WalRoad};
use engine::{catalog, retired};
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::progress::Progress;
use repo::Repository;

use super::Failure;
use crate::arguments::{Create, Global};
use crate::command::copied_wal::verdict_on_wal;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::target::Target;
use crate::wire_arguments::Destination;
use crate::{configured, password, place};

/// Where a run could not bring WAL.
const BRING_LATER: &str = "`mainstay copy --to` brings the WAL that is missing there";

/// What `--dest-hot` says of a place without a hot part.
const NO_HOT: &str = "none";

/// A place that can be opened.
pub(crate) struct Place {
    /// Its address.
    pub(crate) url: String,
    /// The repository there.
    pub(crate) repository: Arc<Repository>,
    /// What it had before this run; nobody asks for it where there is one place.
    before: Newest,
}

/// Those of a run.
pub(super) struct Places {
    /// In the order in which they were named; at least one.
    pub(super) open: Vec<Place>,
    /// What is wrong with the others.
    pub(super) failures: Vec<Failure>,
}

/// A copy in another place.
pub(super) struct Copied {
    pub(super) location: String,
    pub(super) count: usize,
    /// Files of WAL behind base backups.
    pub(super) wal: usize,
}

/// Where flags say that it goes: to each `--dest`, else to the repository of the flags; nothing is assumed (C2).
pub(super) fn named(
    global: &Global,
    order: &Create,
    environment: &Environment,
    face: &Face,
) -> Result<Vec<Target>> {
    let dests = &order.destination.dest;
    let Destination { dest_password_file, dest_hot, .. } = &order.destination;
    for (flag, count) in [("--dest-password-file", dest_password_file.len()), ("--dest-hot", dest_hot.len())]
    {
        if count > dests.len() {
            return Err(CliError::usage(format!("there are more {flag} than --dest")));
        }
    }
    if dests.is_empty() {
        return Ok(vec![default_target(global, &order.tenant, environment, face)?]);
    }
    let target = |(position, dest): (usize, &String)| {
        let url = address(dest, order, environment)?;
        let password = match dest_password_file.get(position) {
            Some(file) => password::from_file(file, face)?,
            None => password::current(global, environment, face)?,
        };
        let hot = dest_hot.get(position).filter(|hot| *hot != NO_HOT);
        Ok(Target::named(url, hot.cloned(), password))
    };
    dests.iter().enumerate().map(target).collect()
}

/// The repository of the flags, else the one of the tenant.
pub(crate) fn default_target(
    global: &Global,
    tenant: &str,
    environment: &Environment,
    face: &Face,
) -> Result<Target> {
    let Some(url) = global.repository.clone() else { return configured(global, tenant) };
    let password = password::current(global, environment, face)?;
    Ok(Target::named(url, global.repository_hot.clone(), password))
}

/// The repository of a tenant that is configured.
fn configured(global: &Global, tenant: &str) -> Result<Target> {
    let configuration = configured::load_if_any(global)?;
    let known = configuration.iter().flat_map(|all| &all.tenants).find(|one| one.name.as_str() == tenant);
    known.map(|one| Target::configured(&one.repository)).ok_or_else(|| {
        CliError::usage("no destination was named")
            .hint("use -r URL, MAINSTAY_REPOSITORY, a configured tenant, or --dest local for development")
    })
}

fn address(dest: &str, order: &Create, environment: &Environment) -> Result<String> {
    match dest {
        "local" => Ok(place::local(environment)),
        "s3" => match &order.destination.s3_bucket {
            Some(bucket) if bucket.starts_with("s3://") => Ok(bucket.clone()),
            Some(bucket) => Ok(format!("s3://{bucket}")),
            None => Err(CliError::usage("--dest s3 needs --s3-bucket BUCKET[/PREFIX]")),
        },
        "gcs" => match &order.destination.gcs_bucket {
            Some(bucket) if bucket.starts_with("gs://") => Ok(bucket.clone()),
            _ => Err(CliError::usage("--dest gcs needs --gcs-bucket gs://BUCKET[/PREFIX]")),
        },
        url => Ok(url.to_owned()),
    }
}

/// Open them all. Of several, one that cannot be opened is a failure and hides no other.
pub(super) fn open(targets: &[Target], environment: &Environment, face: &Face) -> Result<Places> {
    let (mut open, mut failures): (Vec<Place>, Vec<Failure>) = (vec![], vec![]);
    for target in targets {
        let url = &target.url;
        let opened = target.open(environment, face).and_then(|repository| {
            retired::refuse(&repository)?;
            let before = if targets.len() > 1 { Newest::of(&repository)? } else { Newest::default() };
            Ok(Place { url: url.clone(), repository, before })
        });
        match opened {
            Ok(place) => {
                let id = place.repository.config().id;
                if let Some(same) = open.iter().find(|other| other.repository.config().id == id) {
                    return Err(CliError::usage(format!("{} and {url} are one repository", same.url)));
                }
                open.push(place);
            }
            Err(error) => failures.push(Failure::of_place(url, error)),
        }
    }
    // Nowhere to go: the first one says why.
    if open.is_empty() {
        return Err(failures.swap_remove(0).error);
    }
    Ok(Places { open, failures })
}

impl Places {
    /// Copy between them what each missed of these sources: first into the one that got the backup, then from it. Of clusters
    /// also the WAL behind their base backups, which the archiver brings to one place alone.
    pub(super) fn even_out(
        &mut self,
        sources: &[Whose],
        has_wal: bool,
        environment: &Environment,
        cancel: &CancelToken,
        face: &Face,
    ) -> Vec<Copied> {
        let Some((first, others)) = self.open.split_first() else { return vec![] };
        let roads =
            others.iter().map(|other| (other, first)).chain(others.iter().map(|other| (first, other)));
        let mut copied = vec![];
        for (from, to) in roads {
            let progress = Progress::new();
            let line = ProgressLine::start(face, &progress);
            let me = place::identity(environment);
            // Before the base backups: whoever is cut short here does not look as if it were done.
            let wal = has_wal.then(|| bring_wal(from, to, sources, &progress, cancel)).transpose();
            let backups =
                catch_up(&from.repository, &to.repository, &to.before, sources, &me, &progress, cancel);
            drop(line);
            let location = to.repository.store().location();
            let (wal, without_wal) = match wal {
                Ok(wal) => (wal.unwrap_or_default(), None),
                Err(error) => (WalReport::default(), Some(error.hint(BRING_LATER))),
            };
            let (count, without_backups) = match backups {
                Ok(report) => (report.copied.len(), None),
                Err(error) => (0, Some(CliError::from(error))),
            };
            if count > 0 {
                face.note(&format!("copied {count} backups to {location}"));
            }
            if wal.copied > 0 {
                face.note(&format!("copied {} files of WAL to {location}", wal.copied));
            }
            if count + wal.copied > 0 {
                copied.push(Copied { location, count, wal: wal.copied });
            }
            let errors = [without_backups, without_wal, verdict_on_wal(&wal).err()];
            self.failures.extend(errors.into_iter().flatten().map(|error| Failure::of_place(&to.url, error)));
        }
        copied
    }
}

/// What `to` lacks behind its base backups of these sources, and behind those that come to it, and `from` has.
fn bring_wal(
    from: &Place,
    to: &Place,
    sources: &[Whose],
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<WalReport> {
    let clusters = |place: &Place, is_missed: bool| -> Result<Vec<BackupRecord>> {
        let mut records = catalog::list_readable(&place.repository)?.records;
        records.retain(|record| {
            let is_meant = record.kind == BackupKind::Cluster && sources.contains(&whose(record));
            is_meant && to.before.is_missed(record) == is_missed
        });
        Ok(records)
    };
    let road = WalRoad { from: &from.repository, to: &to.repository, is_mirror: false, progress, cancel };
    Ok(road.bring(&clusters(to, false)?, &clusters(from, true)?)?)
}
