//! What a store behind a network really does: tried out once for each repository and address, kept in the repository
//! as `x/store/<time>`, and made up for from then on.

use std::sync::Arc;

use jiff::Timestamp;
use repo::Repository;
use serde::{Deserialize, Serialize};
use store::probe::{Behaviour, adapt, probe};
use store::{Refusal, Store, StoreError};

use crate::error::Result;

/// The folder below `x/`.
const FOLDER: &str = "store";

/// The record of one probe, as `docs/format.md` describes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    location: String,
    keeps_first: bool,
    exact_ranges: bool,
    fresh_lists: bool,
    deletes: bool,
}

/// `store` as it may be used, after a probe.
pub(crate) fn tried(store: Arc<dyn Store>) -> Result<(Arc<dyn Store>, Behaviour)> {
    let behaviour = probe(&*store)?;
    Ok((adapt(store, &behaviour)?, behaviour))
}

/// Keep what a probe has seen.
pub(crate) fn record(repository: &Repository, behaviour: &Behaviour) -> Result<()> {
    let Behaviour { keeps_first, exact_ranges, fresh_lists, deletes } = *behaviour;
    let location = repository.store().location();
    let record = Record { location, keeps_first, exact_ranges, fresh_lists, deletes };
    let nanoseconds = Timestamp::now().as_nanosecond();
    // Another one in the same nanosecond saw the same.
    repository.put_note(&format!("{FOLDER}/{nanoseconds:020}"), &record)?;
    Ok(())
}

/// `repository` on its store as it may be used; `open` opens it again. A store that was never tried is tried now.
pub(crate) fn kept(
    repository: Repository,
    store: &Arc<dyn Store>,
    open: impl FnOnce(Arc<dyn Store>) -> repo::error::Result<Repository>,
) -> Result<Repository> {
    if let Some(behaviour) = recorded(&repository)? {
        return match behaviour.needs_nothing() {
            true => Ok(repository),
            false => Ok(open(adapt(store.clone(), &behaviour)?)?),
        };
    }
    let behaviour = match probe(&**store) {
        // Credentials that only read write nothing, neither here nor anywhere else.
        Err(StoreError::Refused { why: Refusal::Denied(_), .. }) => return Ok(repository),
        seen => seen?,
    };
    let repository = match behaviour.needs_nothing() {
        true => repository,
        false => open(adapt(store.clone(), &behaviour)?)?,
    };
    record(&repository, &behaviour)?;
    Ok(repository)
}

/// What is lost with this store, in words; `None` where nothing is.
pub(crate) fn losses(behaviour: &Behaviour) -> Option<String> {
    let mut losses = vec![];
    if !behaviour.keeps_first {
        losses.push(
            "it overwrites objects that it was told to leave alone: do not run `init` or `prune` from two places at once",
        );
    }
    if !behaviour.exact_ranges {
        losses.push(
            "it answers wrong bytes to a range: whole packs are read instead, which makes restores slow",
        );
    }
    (!losses.is_empty())
        .then(|| format!("this store breaks a promise; mainstay works around it: {}", losses.join("; ")))
}

/// The newest record of a probe at this location.
fn recorded(repository: &Repository) -> Result<Option<Behaviour>> {
    let location = repository.store().location();
    let mut names: Vec<_> = repository.list_notes(FOLDER)?.into_iter().map(|(name, _)| name).collect();
    names.sort();
    for name in names.into_iter().rev() {
        let record: Record = repository.load_note(&format!("{FOLDER}/{name}"))?;
        if record.location == location {
            let Record { keeps_first, exact_ranges, fresh_lists, deletes, .. } = record;
            return Ok(Some(Behaviour { keeps_first, exact_ranges, fresh_lists, deletes }));
        }
    }
    Ok(None)
}
