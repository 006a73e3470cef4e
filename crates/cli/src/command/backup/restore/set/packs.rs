//! The packs of a set, which may be cold: all are asked for and waited for before anything is stopped for it.

use std::sync::Arc;

use engine::warm_up;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use repo::Repository;
use repo::index::IdSet;
use repo::repository::Listed;

use crate::arguments::{Global, Restore};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::warm::Warmer;

/// What became of the packs.
pub(super) enum Packs {
    /// They are warm; whether they all were before.
    Warm { were: bool },
    /// Only asking was wanted.
    Asked,
}

/// Warm up what restoring `backups` takes, as the flags of `order` say it.
pub(super) fn warm(
    global: &Global,
    backups: &[(Arc<Repository>, BackupRecord)],
    order: &Restore,
    environment: &Environment,
    face: &Face,
    cancel: &CancelToken,
) -> Result<Packs> {
    let warmer = Warmer::of(global, &order.warm_up, environment, cancel, face)?;
    let need = warmer.look_at(|| all_of(backups, cancel))?;
    let were = need.is_warm();
    Ok(if warmer.warm(need)? { Packs::Warm { were } } else { Packs::Asked })
}

/// Each pack once, though several members read it.
fn all_of(backups: &[(Arc<Repository>, BackupRecord)], cancel: &CancelToken) -> Result<Vec<Listed>> {
    let mut repositories: Vec<&Arc<Repository>> = vec![];
    for (repository, _) in backups {
        if !repositories.iter().any(|known| Arc::ptr_eq(known, repository)) {
            repositories.push(repository);
        }
    }
    let mut all = vec![];
    for repository in repositories {
        let (index, mut data) = (repository.load_index()?, IdSet::default());
        for (_, record) in backups.iter().filter(|(one, _)| Arc::ptr_eq(one, repository)) {
            data.extend(warm_up::data_of(repository, &index, record, &[], cancel)?);
        }
        all.extend(warm_up::packs_of(repository, &index, &data)?);
    }
    Ok(all)
}
