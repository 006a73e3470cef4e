//! What a store behind a network really does: tried out once for each repository and address, kept in the repository
//! as `x/store/<time>`, and made up for from then on.

use std::sync::Arc;

use jiff::Timestamp;
use repo::{RepoError, Repository};
use serde::{Deserialize, Serialize};
use store::probe::{Behaviour, adapt, probe};
use store::store::read;
use store::{Refusal, Store, StoreError};

use crate::error::Result;
use crate::face::Face;
use crate::wire::Versions;

/// The folder below `x/`.
const FOLDER: &str = "store";

/// The record of one probe, as `docs/format.md` describes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    location: String,
    /// Whether the bucket kept versions then; nobody asked, before there was a way to.
    #[serde(default)]
    keeps_versions: Option<bool>,
    keeps_first: bool,
    /// Nobody looked, before there was a way to.
    #[serde(default = "believed")]
    one_wins: bool,
    exact_ranges: bool,
    fresh_lists: bool,
    deletes: bool,
}

impl Record {
    fn seen(&self) -> Seen {
        let Self { keeps_versions, keeps_first, one_wins, exact_ranges, fresh_lists, deletes, .. } = *self;
        let behaviour = Behaviour { keeps_first, one_wins, exact_ranges, fresh_lists, deletes };
        Seen { behaviour, keeps_versions }
    }
}

fn believed() -> bool {
    true
}

/// How a store behaved, and under which conditions: some that create once do not where they keep versions too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) behaviour: Behaviour,
    /// Whether the bucket kept versions; `None` where it did not tell.
    pub(crate) keeps_versions: Option<bool>,
}

impl Seen {
    /// Whether it says something of a bucket that tells `keeps_versions` of itself.
    fn is_of(&self, keeps_versions: Option<bool>) -> bool {
        keeps_versions.is_none() || self.keeps_versions == keeps_versions
    }
}

/// `store` as it may be used, after a probe.
pub(crate) fn tried(store: Arc<dyn Store>, versions: Versions) -> Result<(Arc<dyn Store>, Seen)> {
    let behaviour = probe(&*store)?;
    Ok((adapt(store, &behaviour)?, Seen { behaviour, keeps_versions: versions.told() }))
}

/// Keep what a probe of the store at `location` has seen.
pub(crate) fn record(repository: &Repository, location: String, seen: &Seen) -> Result<()> {
    let Seen { behaviour, keeps_versions } = *seen;
    let Behaviour { keeps_first, one_wins, exact_ranges, fresh_lists, deletes } = behaviour;
    let record =
        Record { location, keeps_versions, keeps_first, one_wins, exact_ranges, fresh_lists, deletes };
    let nanoseconds = Timestamp::now().as_nanosecond();
    // Another one in the same nanosecond saw the same.
    repository.put_note(&format!("{FOLDER}/{nanoseconds:020}"), &record)?;
    Ok(())
}

/// The same, unless it is what is remembered already; whether it was not.
pub(crate) fn renew(repository: &Repository, location: String, seen: &Seen) -> Result<bool> {
    let is_news = recorded(repository, &location)?
        .seen
        .is_none_or(|known| known.behaviour != seen.behaviour || !known.is_of(seen.keeps_versions));
    if is_news {
        record(repository, location, seen)?;
    }
    Ok(is_news)
}

/// Records as they are stored, fetched before there is a key to open them with: by name, the newest first.
pub(crate) type Ahead = Vec<(String, Vec<u8>)>;

/// Fetch the newest record, which nearly always is the one that counts; `None` where that fails for whatever reason.
pub(crate) fn look_ahead(store: &dyn Store) -> Option<Ahead> {
    let mut keys: Vec<_> = store.list(&format!("x/{FOLDER}")).ok()?.into_iter().map(|it| it.key).collect();
    keys.sort();
    let newest = keys.pop()?;
    Some(vec![(newest.name().to_owned(), read(store, &newest).ok()?)])
}

/// `repository` on its store as it may be used; `open` opens it again. A store that was never tried is tried now.
pub(crate) fn kept(
    repository: Repository,
    store: &Arc<dyn Store>,
    (versions, ahead): (Versions, Option<Ahead>),
    face: &Face,
    open: impl FnOnce(Arc<dyn Store>) -> repo::error::Result<Repository>,
) -> Result<Repository> {
    match seen(&repository, &**store, (versions, ahead), face)? {
        behaviour if behaviour.needs_nothing() => Ok(repository),
        behaviour => Ok(open(adapt(store.clone(), &behaviour)?)?),
    }
}

/// How `store` behaves: as `repository` remembers it, else as it does now, which is then remembered there. What was seen
/// before somebody turned versions on or off is tried anew.
pub(crate) fn seen(
    repository: &Repository,
    store: &dyn Store,
    (versions, ahead): (Versions, Option<Ahead>),
    face: &Face,
) -> Result<Behaviour> {
    let location = store.location();
    let known = ahead.unwrap_or_default().into_iter().find_map(|(name, sealed)| {
        let record = repository.open_note::<Record>(&format!("{FOLDER}/{name}"), &sealed).ok()?;
        (record.location == location).then(|| record.seen())
    });
    let Found { seen: known, broken } = match known {
        Some(_) => Found { seen: known, broken: None },
        None => recorded(repository, &location)?,
    };
    if let Some(error) = broken {
        face.warn(&format!("what is told of the store cannot all be read, and is passed over: {error}"));
    }
    let keeps_versions = versions.told();
    if let Some(known) = known.filter(|known| known.is_of(keeps_versions)) {
        return Ok(known.behaviour);
    }
    match probe(store) {
        // Credentials that only read write nothing, neither here nor anywhere else.
        Err(StoreError::Refused { why: Refusal::Denied(_), .. }) => {
            Ok(known.map_or(Behaviour::SOUND, |known| known.behaviour))
        }
        seen => {
            let behaviour = seen?;
            record(repository, store.location(), &Seen { behaviour, keeps_versions })?;
            let losses =
                losses(&behaviour).filter(|_| known.is_some_and(|known| known.behaviour != behaviour));
            losses.iter().for_each(|losses| face.warn(losses));
            Ok(behaviour)
        }
    }
}

/// What is lost with this store, in words; `None` where nothing is.
pub(crate) fn losses(behaviour: &Behaviour) -> Option<String> {
    let mut losses = vec![];
    if !behaviour.keeps_first {
        losses.push(
            "it overwrites objects that it was told to leave alone: do not run `init` or `prune` from two places at once",
        );
    }
    if behaviour.keeps_first && !behaviour.one_wins {
        losses.push(
            "of several that write one name at one moment, more than one is told that it made it: do not run `init` or \
             `prune` from two places at once",
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

/// What is remembered.
#[derive(Default)]
struct Found {
    seen: Option<Seen>,
    /// Why a record was passed over; of several, one.
    broken: Option<RepoError>,
}

/// The newest record of a probe at `location`. Whoever may write can put junk in front of it: that is passed over.
fn recorded(repository: &Repository, location: &str) -> Result<Found> {
    let mut names: Vec<_> = repository.list_notes(FOLDER)?.into_iter().map(|(name, _)| name).collect();
    names.sort();
    let mut found = Found::default();
    for name in names.into_iter().rev() {
        match repository.load_note::<Record>(&format!("{FOLDER}/{name}")) {
            Ok(record) if record.location == location => {
                found.seen = Some(record.seen());
                break;
            }
            Ok(_) => {}
            Err(error) if error.is_damage() || error.is_too_cold() => found.broken = Some(error),
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use model::secret::Secret;
    use store::memory::MemoryStore;

    use super::*;

    #[test]
    fn junk_in_front_of_a_record_is_passed_over() {
        // As weak as it is public; strong in length, so that key derivation stays cheap.
        let password = Secret::new("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01");
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::init(store.clone(), &password, "u", "h").unwrap();
        let place = store.location();
        let put = |name: &str| {
            store.put_new(&format!("x/{FOLDER}/{name}").parse().unwrap(), b"junk").unwrap();
        };
        put("9999");
        let found = recorded(&repository, &place).unwrap();
        assert!(found.seen.is_none() && found.broken.is_some());
        let of = |behaviour, keeps_versions| Seen { behaviour, keeps_versions };
        let odd = of(Behaviour { exact_ranges: false, ..Behaviour::SOUND }, Some(true));
        record(&repository, place.clone(), &odd).unwrap();
        record(&repository, "s3://elsewhere".to_owned(), &of(Behaviour::SOUND, None)).unwrap();
        put("0000");
        let found = recorded(&repository, &place).unwrap();
        assert_eq!(found.seen, Some(odd));
        assert!(found.broken.unwrap().to_string().contains("x/store/9999"));
    }

    #[test]
    fn what_was_seen_without_versions_says_nothing_with_them() {
        let of = |keeps_versions| Seen { behaviour: Behaviour::SOUND, keeps_versions };
        for (then, now, holds) in [
            (None, None, true),
            (Some(false), None, true),
            (Some(false), Some(false), true),
            (Some(true), Some(true), true),
            (Some(false), Some(true), false),
            (Some(true), Some(false), false),
            (None, Some(true), false),
        ] {
            assert_eq!(of(then).is_of(now), holds, "{then:?} {now:?}");
        }
        // As it was written before: somebody has to look once.
        let old =
            r#"{"location":"s3://b","keepsFirst":true,"exactRanges":true,"freshLists":true,"deletes":true}"#;
        let old: Record = serde_json::from_str(old).unwrap();
        assert!(old.one_wins && old.keeps_versions.is_none());
    }
}
