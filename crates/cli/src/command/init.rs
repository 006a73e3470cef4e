//! `mainstay init`: make a repository and, shown once, its recovery key.

use std::sync::Arc;

use config::configuration::{Configuration, Tenant};
use model::cancel::CancelToken;
use model::progress::Progress;
use model::secret::Secret;
use repo::cache::CacheDir;
use repo::hot::{Look, fill_hot, plan_hot};
use repo::known::{self, Known};
use repo::{RepoError, Repository};
use serde_json::json;
use store::Store;

use crate::arguments::{Global, Init};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::habits::{self, Seen};
use crate::locks::{self, Known as KnownLock};
use crate::target::Target;
use crate::{configured, password, place};

pub(crate) fn run(global: &Global, order: &Init, environment: &Environment, face: &Face) -> Result<()> {
    let configuration = match global.repository {
        Some(_) => None,
        None => configured::load_if_any(global)?,
    };
    match configuration {
        Some(configuration) => run_configured(&configuration, global, order, environment, face),
        None => make(global, order, environment, face),
    }
}

/// The repository of each tenant that has none yet.
fn run_configured(
    configuration: &Configuration,
    global: &Global,
    order: &Init,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    if order.generate_password.is_some() || (face.is_json() && configuration.tenants.len() > 1) {
        return Err(
            CliError::usage("this is done for one repository at a time").hint("name a tenant with --of")
        );
    }
    let mut failed = vec![];
    for tenant in &configuration.tenants {
        if let Err(error) = make_where_none_is(tenant, global, order, environment, face) {
            failed.push((tenant, error));
        }
    }
    // What is wrong with one of many keeps no other from having its own.
    let (all, without) = (configuration.tenants.len(), failed.len());
    match failed.pop() {
        None => Ok(()),
        Some((_, error)) if all == 1 => Err(error),
        Some(last) => {
            // What all of them lack is no part of something.
            let is_common = without == all && failed.iter().all(|(_, error)| error.kind == last.1.kind);
            let kind = if is_common { last.1.kind } else { Kind::Partial };
            failed.push(last);
            for (tenant, error) in failed {
                let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                face.warn(&format!("tenant {} has no repository: {}{hint}", tenant.name, error.message));
            }
            Err(CliError::new(kind, format!("{without} of {all} tenants have no repository"))
                .hint("mend what is said above, and say it again: those that are there are left alone"))
        }
    }
}

fn make_where_none_is(
    tenant: &Tenant,
    global: &Global,
    order: &Init,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let mut own = global.clone();
    let target = Target::configured(&tenant.repository);
    let environment = target.settle(&mut own, environment, face)?;
    match is_one_at(&*place::store(&target.url, &environment)?)? {
        true => {
            face.note(&format!("tenant {} has a repository already", tenant.name));
            Ok(())
        }
        false => make(&own, order, &environment, &face.about(tenant.name.as_str())),
    }
}

fn make(global: &Global, order: &Init, environment: &Environment, face: &Face) -> Result<()> {
    let url = match &global.repository {
        Some(url) => url.clone(),
        None => place::local(environment),
    };
    let store = place::store(&url, environment)?;
    // Before a password is drawn or asked for: refusing must leave nothing behind.
    refuse_where_one_is(&*store)?;
    say_of_locks(&store.location(), locks::verify(&url, environment)?, face);
    let hot = match &global.repository_hot {
        Some(hot) => Some((hot, place::store(hot, environment)?)),
        None => None,
    };
    if let Some((hot_url, hot)) = &hot {
        refuse_where_one_is(&**hot)?;
        if hot.location() == store.location() {
            return Err(CliError::usage("the hot and the cold part need a place each"));
        }
        say_of_locks(&hot.location(), locks::verify(hot_url, environment)?, face);
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
    let hot = match hot {
        Some((url, store)) => Some(tried(url, store, environment, face)?),
        None => None,
    };
    let (store, seen) = tried(&url, store, environment, face)?;
    let repository = make(store)?;
    seen.iter().try_for_each(|seen| habits::record(&repository, repository.store().location(), seen))?;
    let recovery = match order.no_recovery_key {
        true => None,
        false => Some(recovery_key(&repository, &me.hostname)?),
    };
    if let Some(cache) = &cache {
        known::remember(cache, &repository.store().location(), repository.config().id, repository.key_id())
            .ok();
    }
    // From here on nothing may fail before the recovery key was seen: nobody can make it again.
    show(&repository, recovery.as_ref(), face);
    match hot {
        Some((hot, seen)) => begin_hot(&repository, &*hot, seen.as_ref()).inspect_err(|_| {
            face.warn("only the cold part is made; `mainstay repair hot` makes the hot one")
        }),
        None => Ok(()),
    }
}

/// What became of the lock that was tried out, where the address asks for locks.
fn say_of_locks(place: &str, known: KnownLock, face: &Face) {
    match known {
        KnownLock::NotAsked => {}
        KnownLock::Held => face.note(&format!("{place}: {}", locks::HELD)),
        KnownLock::Unseen => face.warn(&format!("{place}: {}; {}", locks::UNSEEN, locks::UNSEEN_ADVICE)),
    }
}

/// Make the hot part of a repository that has just been made.
fn begin_hot(repository: &Repository, hot: &dyn Store, seen: Option<&Seen>) -> Result<()> {
    seen.iter().try_for_each(|seen| habits::record(repository, hot.location(), seen))?;
    let plan = plan_hot(repository, hot, Look::Listed)?;
    match fill_hot(repository, hot, &plan, &Progress::new(), &CancelToken::new())?.into_iter().next() {
        Some(damage) => Err(damage.into()),
        None => Ok(()),
    }
}

/// An empty bucket where a repository was is no place to begin as if nothing had happened (H10).
fn refuse_where_one_is_gone(cache: Option<&CacheDir>, place: &str) -> Result<()> {
    match cache.and_then(|cache| known::recall(cache, place)) {
        Some(Known { id, seen, .. }) => Err(RepoError::Gone { place: place.to_owned(), id, seen }.into()),
        None => Ok(()),
    }
}

fn refuse_where_one_is(store: &dyn Store) -> Result<()> {
    match is_one_at(store)? {
        true => Err(RepoError::Exists { place: store.location() }.into()),
        false => Ok(()),
    }
}

fn is_one_at(store: &dyn Store) -> Result<bool> {
    match store::store::read(store, &"config".parse().expect("a plain name is a key")) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The store as it may be used, and how it behaves where many stores differ.
fn tried(
    url: &str,
    store: Arc<dyn Store>,
    environment: &Environment,
    face: &Face,
) -> Result<(Arc<dyn Store>, Option<Seen>)> {
    if !remote::is_object_storage(url) {
        return Ok((store, None));
    }
    let (store, seen) = habits::tried(store, environment.wire().versions(url))?;
    if let Some(losses) = habits::losses(&seen.behaviour) {
        face.warn(&losses);
    }
    Ok((store, Some(seen)))
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
