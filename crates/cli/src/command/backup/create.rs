//! `backup create`: one database, all databases of a server, or a directory.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::back_up_dump::{DumpSource, back_up_dump};
use engine::back_up_files::{DirectoryReport, DirectorySource, back_up_files};
use engine::writing::Order;
use files::exclude::{Excludes, PatternError};
use files::owner::Owners;
use files::relative::RelativePath;
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

use crate::arguments::{Create, Global};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::wire::Use;
use crate::{database, interrupt, known, password, place};

/// A source that could not be backed up.
struct Failure {
    source: String,
    error: CliError,
}

pub(crate) fn run(global: &Global, order: &Create, environment: &Environment, face: &Face) -> Result<()> {
    let bad = |error: BadName| CliError::usage(error.to_string());
    let tenant: TenantName = order.tenant.parse().map_err(bad)?;
    // Wrong names are said before any server is asked.
    order.name.as_deref().map(str::parse::<SourceName>).transpose().map_err(bad)?;
    let url = destination(global, order, environment)?;
    let cancel = interrupt::watch()?;
    let password = password::current(global, environment, face)?;
    // Programs are asked for their versions while the key is derived: both take their time.
    let (repository, clients) = std::thread::scope(|scope| {
        let (bin_dir, path) = (order.server.pg_bin_dir.as_deref(), environment.get("PATH"));
        let find = move || database::clients(bin_dir, path);
        let clients = order.what.directory.is_none().then(|| scope.spawn(find));
        let repository = place::open_at(&url, &password, environment, face);
        let joined = clients.map(|clients| clients.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (repository, joined.transpose())
    });
    let repository = repository?;
    if order.destination.dest.is_some() {
        known::remember(&url, environment, face);
    }
    let creating = Creating { order, tenant, url, repository, environment, face, cancel };
    let (records, failures) = match (&order.what.directory, clients?) {
        (Some(directory), _) => (vec![creating.directory(directory)?], vec![]),
        (None, clients) => creating.databases(&clients.unwrap_or_default())?,
    };
    show(&records, &failures, &environment.wire().use_so_far(), face);
    end(&records, failures)
}

/// `--dest`, then the repository of the flags; nothing is assumed (C2).
fn destination(global: &Global, order: &Create, environment: &Environment) -> Result<String> {
    match (order.destination.dest.as_deref(), &global.repository) {
        (Some("local"), _) => Ok(place::local(environment)),
        (Some("s3"), _) => match &order.destination.s3_bucket {
            Some(bucket) if bucket.starts_with("s3://") => Ok(bucket.clone()),
            Some(bucket) => Ok(format!("s3://{bucket}")),
            None => Err(CliError::usage("--dest s3 needs --s3-bucket BUCKET[/PREFIX]")),
        },
        (Some("gcs"), _) => match &order.destination.gcs_bucket {
            Some(bucket) if bucket.starts_with("gs://") => Ok(bucket.clone()),
            _ => Err(CliError::usage("--dest gcs needs --gcs-bucket gs://BUCKET[/PREFIX]")),
        },
        (Some(url), _) => Ok(url.to_owned()),
        (None, Some(url)) => Ok(url.clone()),
        (None, None) => Err(CliError::usage("no destination was named")
            .hint("use -r URL, MAINSTAY_REPOSITORY, or --dest local for development")),
    }
}

struct Creating<'a> {
    order: &'a Create,
    tenant: TenantName,
    url: String,
    repository: Arc<Repository>,
    environment: &'a Environment,
    face: &'a Face,
    cancel: CancelToken,
}

impl Creating<'_> {
    fn databases(&self, clients: &Clients) -> Result<(Vec<BackupRecord>, Vec<Failure>)> {
        let order = self.order;
        let named = order.what.database.as_deref();
        let session = database::session(named, &order.server, self.environment, self.face)?;
        if !order.what.all_databases {
            let name = session.connection().database().unwrap_or_default().to_owned();
            if name.is_empty() {
                return Err(CliError::usage("no database was named"));
            }
            return Ok((vec![self.database(clients, &session, &name)?], vec![]));
        }
        let server = Server::open(clients.newest().map_err(engine::EngineError::from)?, &session)?;
        self.refuse_same_disk(clients, &session)?;
        let (mut records, mut failures) = (vec![], vec![]);
        for name in server.databases()? {
            let done = session.with_database(&name).map_err(CliError::from);
            match done.and_then(|session| self.database(clients, &session, &name)) {
                Ok(record) => records.push(record),
                Err(error) if self.cancel.is_cancelled() => return Err(error),
                Err(error) => failures.push(Failure { source: name, error }),
            }
        }
        Ok((records, failures))
    }

    fn database(&self, clients: &Clients, session: &Session, name: &str) -> Result<BackupRecord> {
        if !self.order.what.all_databases {
            self.refuse_same_disk(clients, session)?;
        }
        let options = DumpOptions {
            no_owner: self.order.no_owner,
            no_acl: self.order.no_acl,
            lock_wait_timeout: self.order.lock_wait_timeout.map(Duration::from_secs),
            ..DumpOptions::default()
        };
        let source = DumpSource { clients, session, database: name, options };
        self.timed(name, |order| Ok(back_up_dump(&self.repository, &source, order)?))
    }

    /// The pattern that leaves the repository itself out, where it lies in `directory`: it would grow while it is read.
    fn own_place_in(&self, directory: &Path) -> Result<Option<String>> {
        // What lies behind a wire lies in no directory of ours.
        let Ok(place) = store::open::local_path(&self.url).map(std::fs::canonicalize) else {
            return Ok(None);
        };
        // What is not there is said by the walk, in its own words.
        let (Ok(place), Ok(directory)) = (place, std::fs::canonicalize(directory)) else { return Ok(None) };
        let refuse = |why| {
            let message = format!("{} {why} {}", directory.display(), place.display());
            Err(CliError::new(Kind::Refused, message)
                .hint("back up another directory, or into another place"))
        };
        if directory.starts_with(&place) {
            return refuse("is, or lies in, the repository");
        }
        let Ok(below) = place.strip_prefix(&directory) else { return Ok(None) };
        let below = RelativePath::parse(below.as_os_str().as_encoded_bytes()).ok();
        let Some(pattern) = below.as_ref().and_then(Excludes::pattern_for) else {
            return refuse("contains, under a name that no pattern can leave out, the repository");
        };
        self.face.note(&format!("the repository {} lies in it and is left out", place.display()));
        Ok(Some(pattern))
    }

    fn directory(&self, directory: &Path) -> Result<BackupRecord> {
        let order = self.order;
        let pattern = |error: PatternError| CliError::usage(error.to_string());
        let mut patterns = order.exclude.clone();
        patterns.extend(self.own_place_in(directory)?);
        let mut excludes = Excludes::new(&patterns).map_err(pattern)?;
        if order.exclude_caches {
            excludes = excludes.without_caches();
        }
        if order.one_file_system {
            excludes = excludes.on_one_file_system();
        }
        let owners = Owners::read(Path::new("/etc")).map_err(CliError::io("reading /etc/passwd"))?;
        let tell = |words: &str| self.face.warn(words);
        let source = DirectorySource {
            path: directory,
            excludes,
            patterns: &patterns,
            owners: Arc::new(owners),
            tell: &tell,
        };
        let name = directory.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy());
        self.timed(&name, |order| {
            let report = back_up_files(&self.repository, &source, order)?;
            let DirectoryReport { record, files, excluded, problems } = report;
            self.face.note(&format!(
                "files: {} new, {} changed, {} unmodified; {excluded} left out, {problems} problems",
                files.new, files.changed, files.unmodified
            ));
            Ok(record)
        })
    }

    /// Run one backup, with its progress line before and its one success line behind it.
    fn timed(
        &self,
        original: &str,
        back_up: impl FnOnce(&Order) -> Result<BackupRecord>,
    ) -> Result<BackupRecord> {
        let source = match self.order.name.as_deref().filter(|_| !self.order.what.all_databases) {
            Some(name) => name.parse().map_err(|error: BadName| CliError::usage(error.to_string()))?,
            None => SourceName::derived_from(original),
        };
        let progress = Progress::new();
        let order = Order {
            tenant: self.tenant.clone(),
            source,
            label: self.order.label.clone(),
            hold: self.order.hold,
            identity: place::identity(self.environment),
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

    /// A backup on the disk of the data dies with it (C2).
    fn refuse_same_disk(&self, clients: &Clients, session: &Session) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        if self.order.destination.dest.as_deref() != Some("local") || self.order.allow_same_disk {
            return Ok(());
        }
        let server = Server::open(clients.newest().map_err(engine::EngineError::from)?, session)?;
        // Another host's path, or one that we may not see, tells nothing.
        let Ok(directory) = server.data_directory() else { return Ok(()) };
        let device = |path: &str| std::fs::metadata(path).map(|about| about.dev()).ok();
        let place = self.repository.store().location();
        match (device(&directory), device(&place)) {
            (Some(data), Some(repository)) if data == repository => Err(CliError::new(
                Kind::Refused,
                format!("{place} is on the same file system as the database's own data in {directory}"),
            )
            .hint("name another place, or use --allow-same-disk for development")),
            _ => Ok(()),
        }
    }
}

fn show(records: &[BackupRecord], failures: &[Failure], used: &Use, face: &Face) {
    for Failure { source, error } in failures {
        face.status(&format!("backup failed source={source}: {}", error.message));
    }
    let failed: Vec<_> = failures
        .iter()
        .map(|failure| json!({ "source": failure.source, "error": failure.error.message }))
        .collect();
    let document = json!({
        "message": format!("{} backups made, {} failed", records.len(), failures.len()),
        "record": records.first(),
        "records": records,
        "failures": failed,
        "requests": used.to_json(),
    });
    face.result(&document, String::new);
}

fn end(records: &[BackupRecord], failures: Vec<Failure>) -> Result<()> {
    let incomplete: Vec<_> = records.iter().filter(|record| record.incomplete).collect();
    match (records.len(), failures.len()) {
        (_, 0) if incomplete.is_empty() => Ok(()),
        (_, 0) => Err(CliError::new(Kind::Partial, format!("{} is incomplete", incomplete[0].id))
            .hint("what could not be read is listed above; retention does not count this backup")),
        (0, count) => Err(CliError::new(Kind::Failed, format!("all {count} databases failed"))),
        (made, count) => {
            Err(CliError::new(Kind::Partial, format!("{made} databases backed up, {count} failed")))
        }
    }
}
