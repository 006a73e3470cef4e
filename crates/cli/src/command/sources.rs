//! Configured sources as the commands that work on them see them: which are meant, what is known of them.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use config::configuration::{Configuration, Source, SourceSet, Tenant, What};
use daemon::history::History;
use daemon::timetable::{Entry, delay};
use model::backup::{BackupKind, BackupRecord};
use model::set_mark::SetMark;

use crate::configured::are_configured;
use crate::database::is_left_out;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::target::{self, Target};

/// Where the history is kept as root.
const SYSTEM_STATE: &str = "/var/lib/mainstay";
const FILE: &str = "runs.sqlite";

/// A source and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Configured<'a> {
    pub(super) tenant: &'a Tenant,
    /// Number of the tenant among all.
    pub(super) number: usize,
    pub(super) source: &'a Source,
}

impl Configured<'_> {
    /// Tenant and source.
    pub(super) fn parts(&self) -> (&str, &str) {
        (self.tenant.name.as_str(), self.source.name.as_str())
    }

    /// `TENANT/SOURCE`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.tenant.name, self.source.name)
    }

    /// By how much it begins later than its schedule says; members of a set all by the same.
    pub(super) fn delay(&self) -> jiff::SignedDuration {
        delay_of(self.tenant, self.source)
    }

    /// The last time for which it ran; of a set, that for which all of its members did, so that they stay together.
    fn last(&self, history: &History) -> Result<Option<jiff::Timestamp>> {
        let last = |name: &str| Ok(history.last_slot(self.tenant.name.as_str(), name)?);
        let Some(set) = self.tenant.set_of(&self.source.name) else { return last(self.source.name.as_str()) };
        let all = set.members.iter().map(|member| last(member.as_str())).collect::<Result<Option<Vec<_>>>>();
        Ok(all?.and_then(|all| all.into_iter().min()))
    }

    /// As the timetable knows it.
    pub(super) fn entry(&self, history: &History) -> Result<Entry> {
        Ok(Entry { last: self.last(history)?, ..self.entry_of_new() })
    }

    /// The same where it never ran.
    pub(super) fn entry_of_new(&self) -> Entry {
        let cron = self.source.schedule.value.cron().cloned();
        Entry { tenant: self.number, cron, delay: self.delay(), last: None }
    }
}

/// By how much a source of `tenant` begins later than its schedule says.
pub(super) fn delay_of(tenant: &Tenant, source: &Source) -> jiff::SignedDuration {
    let name = tenant.set_of(&source.name).map_or(&source.name, |set| &set.name);
    delay(&format!("{}/{name}", tenant.name), source.jitter.value)
}

/// Those that `names` mean, TENANT, TENANT/SOURCE or TENANT/SET; all without names.
pub(super) fn chosen<'a>(configuration: &'a Configuration, names: &[String]) -> Result<Vec<Configured<'a>>> {
    let all = configuration.tenants.iter().enumerate().flat_map(|(number, tenant)| {
        tenant.sources.iter().map(move |source| Configured { tenant, number, source })
    });
    let all: Vec<_> = all.collect();
    let is_meant = |name: &String, one: &Configured<'_>| {
        let is_of_set = |set: &SourceSet| *name == format!("{}/{}", one.tenant.name, set.name);
        *name == one.name()
            || name == one.tenant.name.as_str()
            || one.tenant.set_of(&one.source.name).is_some_and(is_of_set)
    };
    for name in names {
        if !all.iter().any(|one| is_meant(name, one)) {
            let sets = configuration.tenants.iter().flat_map(|tenant| {
                tenant.sets.iter().map(move |set| format!("{}/{}", tenant.name, set.name))
            });
            let known: Vec<_> = all.iter().map(Configured::name).chain(sets).collect();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            return Err(CliError::new(Kind::NotFound, format!("no tenant, source or set is called {name}"))
                .hint(are_configured(name, &known)));
        }
    }
    Ok(all
        .into_iter()
        .filter(|one| names.is_empty() || names.iter().any(|name| is_meant(name, one)))
        .collect())
}

/// Whether a backup is one of the tenant's `source`: it bears its name; of all databases of a server, it is a dump that bears
/// the name of no other source, and of a database that is not left out. One of a set says of which member it is.
pub(super) fn is_of(tenant: &Tenant, source: &Source, record: &BackupRecord) -> bool {
    if record.tenant != tenant.name {
        return false;
    }
    let is_left_out = || is_left_out(&source.exclude.value, &record.database);
    if let Some(part) = SetMark::of(record).and_then(|mark| mark.part) {
        return part.member == source.name && !is_left_out();
    }
    let What::Databases(_) = source.what.value else { return record.source == source.name };
    let is_anothers = |other: &Source| other.name != source.name && other.name == record.source;
    record.kind == BackupKind::Dump && !is_left_out() && !tenant.sources.iter().any(is_anothers)
}

/// Each backup with the name of the source whose run made it: one that is configured, or else its own.
fn made_by<'a>(tenant: &'a Tenant, records: &'a [BackupRecord]) -> Vec<(&'a str, &'a BackupRecord)> {
    let source_of = |record: &'a BackupRecord| {
        let known = tenant.sources.iter().find(|source| is_of(tenant, source, record));
        known.map_or(record.source.as_str(), |source| source.name.as_str())
    };
    records.iter().map(|record| (source_of(record), record)).collect()
}

/// The history of this machine. Where its file cannot be had, backups are made all the same.
pub(super) fn history(environment: &Environment, face: &Face) -> Result<History> {
    file(environment).and_then(|file| Ok(History::open(&file)?)).or_else(|error| {
        face.warn(&format!("runs are not remembered: {}", error.message));
        Ok(History::in_memory()?)
    })
}

/// The file of it: in `MAINSTAY_STATE_DIR`, else where this user's programs keep their state.
pub(super) fn file(environment: &Environment) -> Result<PathBuf> {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(absolute("HOME")?.join(".local/state"));
    let folder = match absolute("MAINSTAY_STATE_DIR") {
        Some(folder) => folder,
        None => match absolute("XDG_STATE_HOME").or_else(home) {
            Some(state) => state.join("mainstay"),
            None => PathBuf::from(SYSTEM_STATE),
        },
    };
    let what = format!("making {}", folder.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(CliError::io(&what))?;
    Ok(folder.join(FILE))
}

/// The history, and what it answers about `sources`. Where it cannot be read, one that ends with the process takes its place,
/// and knows what the repositories know.
pub(super) fn remembered<T>(
    sources: &[Configured<'_>],
    environment: &Environment,
    face: &Face,
    ask: impl Fn(&History) -> Result<T>,
) -> Result<(History, T)> {
    let asked = |mut history: History| {
        learn_unknown(sources, &mut history, environment, face)?;
        let answer = ask(&history)?;
        Ok((history, answer))
    };
    asked(history(environment, face)?).or_else(|error: CliError| {
        face.warn(&format!("runs are not remembered, and the repositories are asked: {}", error.message));
        asked(History::in_memory()?)
    })
}

/// Ask the repositories about sources of which this machine knows nothing: where its memory is lost, or another machine
/// made their backups. What cannot be opened now is said when it is to be written.
pub(super) fn learn_unknown(
    sources: &[Configured<'_>],
    history: &mut History,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let mut asked = None;
    for one in sources {
        let (tenant, source) = one.parts();
        if asked == Some(tenant) || history.last_slot(tenant, source)?.is_some() {
            continue;
        }
        asked = Some(tenant);
        match learn(one.tenant, history, environment, face) {
            Ok(_) | Err(Unlearned::Unreadable(_)) => {}
            Err(Unlearned::Forgotten(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Why nothing is learned of a tenant.
pub(super) enum Unlearned {
    /// Nobody can look into its repository.
    Unreadable(CliError),
    /// The history does not take it.
    Forgotten(CliError),
}

/// Learn what the repository of a tenant knows. How many runs are new.
pub(super) fn learn(
    tenant: &Tenant,
    history: &mut History,
    environment: &Environment,
    face: &Face,
) -> Result<usize, Unlearned> {
    let target = Target::configured(&tenant.repository);
    let records = target::readable(&target, environment, face).map_err(Unlearned::Unreadable)?;
    history.learn(made_by(tenant, &records)).map_err(|error| Unlearned::Forgotten(error.into()))
}
