//! Which repository is meant, and opening it.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::secret::Secret;
use repo::cache::CacheDir;
use repo::lease::Identity;
use repo::threads::both;
use repo::waiting::{AtWork, Waiting};
use repo::{RepoError, Repository};
use store::Store;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::{habits, interrupt, pair, password};

/// S3 refuses whoever's clock is further from its own.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_mins(15);

/// `local` where the environment names no other directory (C19's successor).
const LOCAL_DEFAULT: &str = "/var/lib/mainstay/repository";

/// The directory that `local` means.
pub(crate) fn local(environment: &Environment) -> String {
    environment.get("MAINSTAY_BACKUP_DIR").unwrap_or(LOCAL_DEFAULT).to_owned()
}

/// The address of the repository: as told, or `local` where there is one.
pub(crate) fn address(global: &Global, environment: &Environment) -> Result<String> {
    if let Some(url) = &global.repository {
        return Ok(url.clone());
    }
    if global.repository_hot.is_some() {
        return Err(CliError::usage("the hot part of a repository was named, and not the repository")
            .hint("name its cold part, which has everything, with -r or MAINSTAY_REPOSITORY"));
    }
    let local = local(environment);
    match Path::new(&local).join("config").exists() {
        true => Ok(local),
        false => Err(CliError::usage("no repository was named")
            .hint("use -r URL or MAINSTAY_REPOSITORY, as in -r /srv/backups")),
    }
}

/// The address to read `url` from: as it is, or as it was `--at` a time.
pub(crate) fn source(url: String, global: &Global) -> Result<String> {
    let Some(at) = global.at else { return Ok(url) };
    if at.duration_since(Timestamp::now()) > CLOCKS_APART_MAX {
        return Err(CliError::usage(format!("{at} is in the future, and --at reads what was")));
    }
    remote::as_it_was(&url, at).ok_or_else(|| {
        CliError::usage(format!("{url} keeps no versions: --at reads S3 buckets alone"))
            .hint("a snapshot of the file system, or another copy of the repository, may have what was there")
    })
}

/// The store at an address. The only place that opens one.
pub(crate) fn store(url: &str, environment: &Environment) -> Result<Arc<dyn Store>> {
    environment.wire().open(url)
}

/// The repository of the global flags.
pub(crate) fn open(global: &Global, environment: &Environment, face: &Face) -> Result<Arc<Repository>> {
    let password = password::current(global, environment, face)?;
    open_with(global, &password, environment, face)
}

/// The same with a password of the caller's.
pub(crate) fn open_with(
    global: &Global,
    password: &Secret,
    environment: &Environment,
    face: &Face,
) -> Result<Arc<Repository>> {
    let url = address(global, environment)?;
    match &global.repository_hot {
        Some(_) if global.at.is_some() => Err(CliError::usage("--at is for one store")
            .hint("the cold part alone has everything: leave the hot one out")),
        hot => open_parts(&source(url, global)?, hot.as_deref(), password, environment, face),
    }
}

/// The repository at an address, with its hot part where it has one.
pub(crate) fn open_parts(
    url: &str,
    hot: Option<&str>,
    password: &Secret,
    environment: &Environment,
    face: &Face,
) -> Result<Arc<Repository>> {
    let Some(hot) = hot else { return open_at(url, password, environment, face) };
    let repository = pair::open(url, hot, password, environment.wire(), cache(environment), face)?;
    Ok(taken_into_use(repository, environment, face))
}

/// The repository at an address.
pub(crate) fn open_at(
    url: &str,
    password: &Secret,
    environment: &Environment,
    face: &Face,
) -> Result<Arc<Repository>> {
    let is_past = remote::is_past(url);
    let store = store(url, environment)?;
    // What this machine remembers belongs to the present.
    let cache = || cache(environment).filter(|_| !is_past);
    let open = |store| Repository::open_with(store, password, cache());
    let has_habits = remote::is_object_storage(url) && !is_past;
    let versions = environment.wire().versions(url);
    let look_ahead = || if has_habits { habits::look_ahead(&*store) } else { None };
    let (opened, ahead) = both(|| open(store.clone()), look_ahead);
    let mut repository = opened.map_err(|error| if is_past { of_the_past(error) } else { error.into() })?;
    if is_past {
        warn_if_suspended(url, environment, face);
    } else if has_habits {
        repository = habits::kept(repository, &store, (versions, ahead), face, open)?;
    }
    Ok(taken_into_use(repository, environment, face))
}

/// What was opened, with what this run gives it.
fn taken_into_use(repository: Repository, environment: &Environment, face: &Face) -> Arc<Repository> {
    if let Some(before) = repository.replaces() {
        face.warn(&format!(
            "the repository in {} is another one than on {:.0}, when it was {}",
            repository.store().location(),
            before.seen,
            before.id.short()
        ));
    }
    Arc::new(repository.with_budget(environment.wire().budget()).with_waiting(waiting(face)))
}

/// Who works alone deletes, which is soon over; one that died is taken for dead after half an hour.
const WAIT_FOR_ONE_ALONE: Duration = Duration::from_secs(60 * 60);

/// What this process is at.
static AT_WORK: LazyLock<AtWork> = LazyLock::new(AtWork::default);

fn waiting(face: &Face) -> Waiting {
    let face = face.clone();
    Waiting {
        at_most: WAIT_FOR_ONE_ALONE,
        tell: Arc::new(move |whom| face.note(&format!("waiting for {whom}"))),
        is_stopped: Arc::new(interrupt::is_asked),
        at_work: AT_WORK.clone(),
    }
}

fn of_the_past(error: RepoError) -> CliError {
    let is_missing = matches!(error, RepoError::NoRepository { .. });
    let shown = CliError::from(error);
    if is_missing {
        shown.hint("at that time there was none; times are the store's, and count to its seconds")
    } else {
        shown
    }
}

/// Versions of before are there; of what was overwritten since, none.
fn warn_if_suspended(url: &str, environment: &Environment, face: &Face) {
    let keeps_versions = environment.wire().protection(url).ok().and_then(|found| found.keeps_versions);
    if keeps_versions == Some(false) {
        face.warn("the bucket's versioning is suspended: what is overwritten or deleted from now on is gone for good");
    }
}

/// Where this machine keeps what can be made again: `--cache-dir`, `$XDG_CACHE_HOME/mainstay`, else `~/.cache/mainstay`.
/// Without a place that is ours alone there is none, and everything works nevertheless.
pub(crate) fn cache(environment: &Environment) -> Option<CacheDir> {
    CacheDir::open(environment.wire().cache_directory()?).ok()
}

/// Who we are.
pub(crate) fn identity(environment: &Environment) -> Identity {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let username = ["USER", "LOGNAME"].iter().find_map(|name| environment.get(name));
    let uid = rustix::process::geteuid().as_raw();
    Identity {
        hostname,
        username: username
            .map_or_else(|| if uid == 0 { "root".into() } else { uid.to_string() }, str::to_owned),
        uid,
        gid: rustix::process::getegid().as_raw(),
        pid: std::process::id(),
    }
}
