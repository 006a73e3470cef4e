//! `mainstay init`: make a repository and, shown once, its recovery key.

use std::sync::Arc;

use model::secret::Secret;
use repo::cache::CacheDir;
use repo::known::{self, Known};
use repo::{RepoError, Repository};
use serde_json::json;
use store::Store;

use crate::arguments::{Global, Init};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{habits, password, place};

pub(crate) fn run(global: &Global, order: &Init, environment: &Environment, face: &Face) -> Result<()> {
    let url = match &global.repository {
        Some(url) => url.clone(),
        None => place::local(environment),
    };
    let store = place::store(&url, environment)?;
    // Before a password is drawn or asked for: refusing must leave nothing behind.
    match store::store::read(&*store, &"config".parse().expect("a plain name is a key")) {
        Ok(_) => return Err(RepoError::Exists { place: store.location() }.into()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let cache = place::cache(environment);
    if !order.again {
        refuse_where_one_is_gone(cache.as_ref(), &store.location())?;
    }
    let password = match &order.generate_password {
        Some(file) => password::generate(file)?,
        None => password::current(global, environment, face)?,
    };
    password::warn_if_weak(&password, face);
    let me = place::identity(environment);
    let make = |store| Repository::init(store, &password, &me.username, &me.hostname);
    let repository = match remote::is_object_storage(&url) {
        true => make_tried(store, make, face)?,
        false => make(store)?,
    };
    let recovery = match order.no_recovery_key {
        true => None,
        false => Some(recovery_key(&repository, &me.hostname)?),
    };
    if let Some(cache) = &cache {
        known::remember(cache, &repository.store().location(), repository.config().id, repository.key_id())
            .ok();
    }
    show(&repository, recovery.as_ref(), face);
    Ok(())
}

/// An empty bucket where a repository was is no place to begin as if nothing had happened (H10).
fn refuse_where_one_is_gone(cache: Option<&CacheDir>, place: &str) -> Result<()> {
    match cache.and_then(|cache| known::recall(cache, place)) {
        Some(Known { id, seen, .. }) => Err(RepoError::Gone { place: place.to_owned(), id, seen }.into()),
        None => Ok(()),
    }
}

/// A repository in a store whose promises are tried out first.
fn make_tried(
    store: Arc<dyn Store>,
    make: impl FnOnce(Arc<dyn Store>) -> repo::error::Result<Repository>,
    face: &Face,
) -> Result<Repository> {
    let (store, behaviour) = habits::tried(store)?;
    if let Some(losses) = habits::losses(&behaviour) {
        face.warn(&losses);
    }
    let repository = make(store)?;
    habits::record(&repository, &behaviour)?;
    Ok(repository)
}

fn recovery_key(repository: &Repository, hostname: &str) -> Result<Secret> {
    let recovery = Secret::generate().map_err(|error| CliError::new(Kind::Failed, error.to_string()))?;
    repository.add_key(&recovery, "recovery", hostname)?;
    Ok(recovery)
}

fn show(repository: &Repository, recovery: Option<&Secret>, face: &Face) {
    let id = repository.config().id.to_hex();
    let location = repository.store().location();
    let document = json!({
        "id": id,
        "location": location,
        "version": repository.config().version,
        "recoveryKey": recovery.map(Secret::expose).unwrap_or_default(),
    });
    face.result(&document, || {
        let mut text = format!("repository {} made in {location}\n", &id[..10]);
        if let Some(recovery) = recovery {
            text += &format!(
                "\nRecovery key, shown this once; it opens the repository when the password is lost:\n\n    {}\n\n\
                 Keep it on paper, away from this machine: without password and recovery key the backups are lost.\n",
                recovery.expose()
            );
        }
        text
    });
}
