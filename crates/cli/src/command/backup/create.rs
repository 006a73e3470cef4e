//! `backup create`: one database, all databases of a server, a whole cluster, or a directory.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::back_up_cluster::{ClusterReport, ClusterSource, Waited, back_up_cluster};
use engine::back_up_dump::{DumpSource, back_up_dump};
use engine::back_up_files::{DirectoryReport, DirectorySource, back_up_files};
use engine::catch_up::whose;
use engine::retired;
use engine::writing::{Order, await_turn};
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::name::{BadName, SourceName, TenantName};
use model::progress::Progress;
use pg::client::Clients;
use pg::connection::Session;
use pg::dump::DumpOptions;
use pg::server::Server;
use repo::Repository;
use serde_json::json;

use crate::arguments::{Create, Global, What};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::target::Target;
use crate::wire::Use;
use crate::{database, interrupt, known, place};

/// A source that could not be backed up, or a place that has no copy.
pub(crate) struct Failure {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) error: CliError,
}

impl Failure {
    fn of_place(url: &str, error: CliError) -> Self {
        Self { source: String::new(), destination: url.to_owned(), error }
    }
}

mod waited;
mod same_disk;
mod directory;
mod places;

use directory::Found;
use places::{Copied, Places};
pub(crate) use places::{Place, default_target};

pub(crate) fn run(global: &Global, order: &Create, environment: &Environment, face: &Face) -> Result<()> {
    // Wrong names are said before any password is asked for.
    let names = Names::of(order)?;
    let targets = places::named(global, order, environment, face)?;
    let cancel = interrupt::watch()?;
    let made = back_up((order, names), &targets, environment, face, &cancel, |place| {
        if !order.destination.dest.is_empty() {
            known::remember(&place.url, environment, face);
        }
        Ok(())
    })?;
    show(&made, &environment.wire().use_so_far(), face);
    end(&made.records, &made.failures)
}

/// Names that were looked at.
pub(crate) struct Names {
    tenant: TenantName,
    source: Option<SourceName>,
}

impl Names {
    /// Those of an order.
    pub(crate) fn of(order: &Create) -> Result<Self> {
        let bad = |error: BadName| CliError::usage(error.to_string());
        let source = order.name.as_deref().map(str::parse).transpose().map_err(bad)?;
        Ok(Self { tenant: order.tenant.parse().map_err(bad)?, source })
    }
}

/// What came of it.
pub(crate) struct Made {
    /// Backups, complete or not.
    pub(crate) records: Vec<BackupRecord>,
    copied: Vec<Copied>,
    /// What was not backed up, and places without a copy.
    pub(crate) failures: Vec<Failure>,
    /// Of a cluster: how long its server was waited for.
    waited: Option<Waited>,
}

/// Back up what `order` says into the first of `targets` that takes it, and copy it into the others. `begin` is asked about
/// each place before anything is written.
pub(crate) fn back_up(
    (order, names): (&Create, Names),
    targets: &[Target],
    environment: &Environment,
    face: &Face,
    cancel: &CancelToken,
    mut begin: impl FnMut(&Place) -> Result<()>,
) -> Result<Made> {
    // Programs are asked for their versions while the key is derived: both take their time.
    let (places, clients) = std::thread::scope(|scope| {
        let (bin_dir, path) = (order.server.pg_bin_dir.as_deref(), environment.get("PATH"));
        let find = move || database::clients(bin_dir, path);
        let clients = order.what.directory.is_none().then(|| scope.spawn(find));
        let places = places::open(targets, environment, face);
        let joined = clients.map(|clients| clients.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (places, joined.transpose())
    });
    let (mut places, clients) = (places?, clients?.unwrap_or_default());
    places.open.iter().try_for_each(&mut begin)?;
    let urls: Vec<_> = targets.iter().map(|target| target.url.clone()).collect();
    let creating = Creating { order, names, urls: &urls, environment, face, cancel: cancel.clone() };
    let Outcome { records, mut failures, waited } = creating.somewhere(&mut places, &clients)?;
    let sources: Vec<_> = records.iter().map(whose).collect();
    let copied = places.even_out(&sources, order.what.cluster, environment, cancel, face);
    failures.append(&mut places.failures);
    Ok(Made { records, copied, failures, waited })
}

struct Creating<'a> {
    order: &'a Create,
    names: Names,
    urls: &'a [String],
    environment: &'a Environment,
    face: &'a Face,
    cancel: CancelToken,
}

/// What was backed up, and what was not.
struct Outcome {
    records: Vec<BackupRecord>,
    failures: Vec<Failure>,
    /// Of a cluster.
    waited: Option<Waited>,
}

impl Outcome {
    fn of_one(record: BackupRecord) -> Self {
        Self { records: vec![record], failures: vec![], waited: None }
    }
}

impl Creating<'_> {
    /// Into the first place; into the next one where that turns out to be down. It stands first then.
    fn somewhere(&self, places: &mut Places, clients: &Clients) -> Result<Outcome> {
        loop {
            let place = &places.open[0];
            let made = match &self.order.what {
                What { cluster: true, .. } => self.cluster(place, clients),
                What { directory: Some(directory), .. } => {
                    self.directory(place, directory).map(Outcome::of_one)
                }
                _ => self.databases(place, clients),
            };
            match made {
                Err(error) if error.is_of_store && places.open.len() > 1 && !self.cancel.is_cancelled() => {
                    let place = places.open.remove(0);
                    self.face.warn(&format!("{}; going on with the next place", error.message));
                    places.failures.push(Failure::of_place(&place.url, error));
                }
                made => {
                    // Given up while we were at it: what was stored last is perhaps only here.
                    retired::refuse(&place.repository)?;
                    return made;
                }
            }
        }
    }

    fn databases(&self, place: &Place, clients: &Clients) -> Result<Outcome> {
        let order = self.order;
        let named = order.what.database.as_deref();
        let session = database::session(named, &order.server, self.environment, self.face)?;
        if !order.what.all_databases {
            let name = session.connection().database().unwrap_or_default().to_owned();
            if name.is_empty() {
                return Err(CliError::usage("no database was named"));
            }
            let made = self.database(place, clients, (&session, name.as_str()), self.label(None))?;
            return Ok(Outcome::of_one(made));
        }
        let server = Server::open(clients.newest().map_err(engine::EngineError::from)?, &session)?;
        same_disk::refuse(self.order, self.environment, clients, &session)?;
        let (mut records, mut failures) = (vec![], vec![]);
        let mut names = server.databases()?;
        names.retain(|name| !database::is_left_out(&order.exclude, name));
        let label = self.label(Some(names.len()));
        for name in names {
            let done = session.with_database(&name).map_err(CliError::from);
            match done
                .and_then(|session| self.database(place, clients, (&session, name.as_str()), label.clone()))
            {
                Ok(record) => records.push(record),
                Err(error) if self.cancel.is_cancelled() => return Err(error),
                Err(error) => failures.push(Failure { source: name, destination: place.url.clone(), error }),
            }
        }
        Ok(Outcome { records, failures, waited: None })
    }

    fn database(
        &self,
        place: &Place,
        clients: &Clients,
        (session, name): (&Session, &str),
        label: String,
    ) -> Result<BackupRecord> {
        if !self.order.what.all_databases {
            same_disk::refuse(self.order, self.environment, clients, session)?;
        }
        let options = DumpOptions {
            no_owner: self.order.no_owner,
            no_acl: self.order.no_acl,
            lock_wait_timeout: self.order.lock_wait_timeout.map(Duration::from_secs),
            ..DumpOptions::default()
        };
        let source = DumpSource { clients, session, database: name, options };
        self.timed(&place.repository, name, label, |order| {
            Ok(back_up_dump(&place.repository, &source, order)?)
        })
    }

    fn cluster(&self, place: &Place, clients: &Clients) -> Result<Outcome> {
        let named = self.order.what.database.as_deref();
        let session = database::session(named, &self.order.server, self.environment, self.face)?;
        same_disk::refuse(self.order, self.environment, clients, &session)?;
        let tell = |words: &str| self.face.warn(words);
        let environment = |name: &str| self.environment.get(name).map(str::to_owned);
        let Create { full, spread_checkpoint, via, rate_kib_max, .. } = *self.order;
        let source = ClusterSource {
            clients,
            session: &session,
            via: via.map(Into::into),
            full,
            fast: !spread_checkpoint,
            rate_kib_max,
            environment: &environment,
            tell: &tell,
        };
        let mut server_waited = None;
        let record = self.timed(&place.repository, "cluster", self.label(None), |order| {
            let ClusterReport { record, link, files, increments, waited, .. } =
                back_up_cluster(&place.repository, &source, order)?;
            let kind = match link {
                0 => format!("full, {files} files"),
                link => format!("increment {link}, {files} files, of {increments} what changed"),
            };
            self.face.note(&format!("cluster: {kind}; {}", waited::words(&waited)));
            server_waited = Some(waited);
            Ok(record)
        })?;
        Ok(Outcome { waited: server_waited, ..Outcome::of_one(record) })
    }

    fn directory(&self, place: &Place, named: &Path) -> Result<BackupRecord> {
        let found = directory::open(self.order, named, self.urls, self.environment, self.face)?;
        let Found { opened, patterns, name, key: _key } = found;
        let tell = |words: &str| self.face.warn(words);
        let source = DirectorySource { opened, patterns: &patterns, tell: &tell };
        self.timed(&place.repository, &name, self.label(None), |order| {
            let report = back_up_files(&place.repository, source, order)?;
            let DirectoryReport { record, files, excluded, problems } = report;
            self.face.note(&format!(
                "files: {} new, {} changed, {} unmodified; {excluded} left out, {problems} problems",
                files.new, files.changed, files.unmodified
            ));
            Ok(record)
        })
    }

    /// What is said of a backup: free text, or of which run of a set it is; of one of `several` databases, also of which
    /// member.
    fn label(&self, several: Option<usize>) -> String {
        match (&self.order.set, several.zip(self.names.source.clone())) {
            (Some(mark), Some((of, member))) => mark.part_of(member, of).to_string(),
            (Some(mark), None) => mark.to_string(),
            (None, _) => self.order.label.clone(),
        }
    }

    /// What the backup of a database or directory is called that nobody named. One database of several that is called as another
    /// source of the tenant gets `SOURCE.DATABASE`, as neither may pass for the other.
    fn own_name(&self, original: &str) -> SourceName {
        let mut name = SourceName::derived_from(original);
        let Some(server) = &self.names.source else { return name };
        while self.order.others.contains(&name) {
            name = SourceName::derived_from(&format!("{server}.{name}"));
        }
        name
    }

    /// Run one backup, with its progress line before and its one success line behind it.
    fn timed(
        &self,
        repository: &Arc<Repository>,
        original: &str,
        label: String,
        back_up: impl FnOnce(&Order) -> Result<BackupRecord>,
    ) -> Result<BackupRecord> {
        let own = self.names.source.clone().filter(|_| !self.order.what.all_databases);
        let source = own.unwrap_or_else(|| self.own_name(original));
        let progress = Progress::new();
        let identity = place::identity(self.environment);
        await_turn(repository, &identity)?;
        let order = Order {
            tenant: self.names.tenant.clone(),
            source,
            label,
            hold: self.order.hold,
            identity,
            now: Timestamp::now(),
            level: self.order.compression,
            cancel: self.cancel.clone(),
            progress: progress.clone(),
        };
        let start = Instant::now();
        let line = ProgressLine::start(self.face, &progress);
        let record = back_up(&order);
        drop(line);
        let record = record?;
        let seconds = start.elapsed().as_secs_f64();
        self.face
            .status(&format!("backup ok id={} bytes={} seconds={seconds:.2}", record.id, record.size_bytes));
        Ok(record)
    }
}

fn show(made: &Made, used: &Use, face: &Face) {
    let Made { records, copied, failures, waited } = made;
    for Failure { source, destination, error } in failures {
        match source.as_str() {
            "" => face.status(&format!("copy failed destination={destination}: {}", error.message)),
            source => face.status(&format!("backup failed source={source}: {}", error.message)),
        }
    }
    let failed = failures.iter().map(|Failure { source, destination, error }| {
        json!({ "source": source, "destination": destination, "error": error.message })
    });
    let copied = copied.iter().map(
        |Copied { location, count, wal }| json!({ "location": location, "backups": count, "walFiles": wal }),
    );
    let mut document = json!({
        "message": format!("{} backups made, {} failed", records.len(), failures.len()),
        "record": records.first(),
        "records": records,
        "failures": failed.collect::<Vec<_>>(),
        "copies": copied.collect::<Vec<_>>(),
        "requests": used.to_json(),
    });
    if let Some(waited) = waited {
        waited::add(waited, &mut document);
    }
    face.result(&document, String::new);
}

/// How it ends: with an error where something is missing.
pub(crate) fn end(records: &[BackupRecord], failures: &[Failure]) -> Result<()> {
    let incomplete: Vec<_> = records.iter().filter(|record| record.incomplete).collect();
    match (records.len(), failures.len()) {
        (_, 0) if incomplete.is_empty() => Ok(()),
        (_, 0) => Err(CliError::new(Kind::Partial, format!("{} is incomplete", incomplete[0].id))
            .hint("what could not be read is listed above; retention does not count this backup")),
        (0, count) => Err(CliError::new(Kind::Failed, format!("all {count} databases failed"))),
        (made, count) => {
            let places = failures.iter().filter(|failure| failure.source.is_empty()).count();
            let mut words = vec![format!("{made} backed up")];
            words.extend((count > places).then(|| format!("{} databases failed", count - places)));
            words.extend((places > 0).then(|| format!("{places} places have no copy")));
            let error = CliError::new(Kind::Partial, words.join(", "));
            Err(if places > 0 { error.hint("the next run copies what they missed") } else { error })
        }
    }
}
