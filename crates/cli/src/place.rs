//! Which repository is meant, and opening it.

use std::path::Path;
use std::sync::Arc;

use model::secret::Secret;
use repo::Repository;
use repo::cache::CacheDir;
use repo::lease::Identity;
use store::Store;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::{habits, password};

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
    let local = local(environment);
    match Path::new(&local).join("config").exists() {
        true => Ok(local),
        false => Err(CliError::usage("no repository was named")
            .hint("use -r URL or MAINSTAY_REPOSITORY, as in -r /srv/backups")),
    }
}

/// The store at an address. The only place that opens one.
pub(crate) fn store(url: &str, environment: &Environment) -> Result<Arc<dyn Store>> {
    environment.wire().open(url)
}

/// The repository of the global flags.
pub(crate) fn open(global: &Global, environment: &Environment, face: &Face) -> Result<Arc<Repository>> {
    let password = password::current(global, environment, face)?;
    open_at(&address(global, environment)?, &password, environment, face)
}

/// The repository at an address.
pub(crate) fn open_at(
    url: &str,
    password: &Secret,
    environment: &Environment,
    face: &Face,
) -> Result<Arc<Repository>> {
    let store = store(url, environment)?;
    let open = |store| Repository::open_with(store, password, cache(environment));
    let mut repository = open(store.clone())?;
    if remote::is_object_storage(url) {
        repository = habits::kept(repository, &store, open)?;
    }
    if let Some(before) = repository.replaces() {
        face.warn(&format!(
            "the repository in {} is another one than on {:.0}, when it was {}",
            repository.store().location(),
            before.seen,
            before.id.short()
        ));
    }
    Ok(Arc::new(repository.with_budget(environment.wire().budget())))
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
