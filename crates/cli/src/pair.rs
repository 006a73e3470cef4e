//! A repository on two stores: `-r` names the cold one, which has everything, `--repository-hot` the one with a copy of
//! what is read every day.

use std::sync::Arc;

use model::secret::Secret;
use repo::cache::CacheDir;
use repo::{RepoError, Repository};
use store::Store;
use store::probe::adapt;
use store::tiers::Tiers;

use crate::error::Result;
use crate::face::Face;
use crate::habits;
use crate::wire::{Versions, Wire};

/// Open both.
pub(crate) fn open(
    url: &str,
    hot_url: &str,
    password: &Secret,
    wire: &Wire,
    cache: Option<CacheDir>,
    face: &Face,
) -> Result<Repository> {
    let (cold, hot) = (wire.open_cold(url)?, wire.open(hot_url)?);
    let (versions_hot, versions_cold) = (wire.versions(hot_url), wire.versions(url));
    let open = |hot: &Arc<dyn Store>, cold: &Arc<dyn Store>| {
        let tiers = Arc::new(Tiers::new(Arc::clone(hot), Arc::clone(cold)));
        Repository::open_with(tiers.clone(), password, cache.clone())
            .map_err(|error| explained(error, &tiers))
    };
    let repository = open(&hot, &cold)?;
    let kept_hot = kept(&repository, &hot, hot_url, versions_hot, face)?;
    let kept_cold = kept(&repository, &cold, url, versions_cold, face)?;
    match Arc::ptr_eq(&hot, &kept_hot) && Arc::ptr_eq(&cold, &kept_cold) {
        true => Ok(repository),
        false => Ok(open(&kept_hot, &kept_cold)?),
    }
}

/// The store as it may be used, as far as `repository` knows it.
pub(crate) fn kept(
    repository: &Repository,
    store: &Arc<dyn Store>,
    url: &str,
    versions: Versions,
    face: &Face,
) -> Result<Arc<dyn Store>> {
    if !remote::is_object_storage(url) {
        return Ok(Arc::clone(store));
    }
    match habits::seen(repository, &**store, (versions, None), face)? {
        behaviour if behaviour.needs_nothing() => Ok(Arc::clone(store)),
        behaviour => Ok(adapt(Arc::clone(store), &behaviour)?),
    }
}

/// Two that do not belong together look like a wrong password, or like damage.
fn explained(error: RepoError, tiers: &Tiers) -> RepoError {
    let may_be_strangers =
        error.is_damage() || matches!(error, RepoError::WrongPassword { .. } | RepoError::NotHot { .. });
    let is_known = matches!(error, RepoError::NotHot { .. });
    match may_be_strangers && (is_known || tiers.are_partners().is_ok_and(|are| !are)) {
        true => RepoError::NotHot { place: tiers.hot().location(), cold: tiers.cold().location() },
        false => error,
    }
}
