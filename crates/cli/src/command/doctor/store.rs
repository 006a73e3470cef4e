//! What the store does and does not do, tried out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::store::probe::{Behaviour, adapt, probe};
use ::store::{Key, Refusal, Store, StoreError};
use remote::protection::Protection;

use super::Finding;
use crate::environment::Environment;
use crate::error::Result;
use crate::habits::{self, Seen};
use crate::locks::{self, Known};
use crate::place;

const AREA: &str = "store";
/// Beyond this a person should know that a clock is wrong.
const SKEW_WARNED: Duration = Duration::from_secs(60);
/// A listing counts in whole seconds.
const RESOLUTION: Duration = Duration::from_secs(2);

/// A store that was looked at.
pub(super) struct Looked {
    /// As it may be used.
    pub(super) store: Arc<dyn Store>,
    /// Where it is, and how it behaved, of object storage that can be written.
    pub(super) seen: Vec<(String, Seen)>,
}

/// Whether it answers, keeps its promises, and protects what is in it; and the store as it may be used.
pub(super) fn look(url: &str, environment: &Environment) -> (Vec<Finding>, Option<Looked>) {
    let lost = "there is nowhere to back up to";
    let opened = place::store(url, environment);
    let store = match opened.and_then(|store| answers(&*store, url).map(|()| store)) {
        Ok(store) => store,
        Err(error) => return (vec![Finding::problem(AREA, error, lost)], None),
    };
    let versions = environment.wire().versions(url);
    match probe(&*store) {
        Ok(behaviour) => {
            let adapted = match adapt(store.clone(), &behaviour) {
                Ok(adapted) => adapted,
                Err(error) => {
                    let lost = "nobody would see another's lock";
                    return (vec![Finding::problem(AREA, error.into(), lost)], None);
                }
            };
            let mut findings = vec![promises(&*store, &behaviour)];
            findings.extend(clock(&*adapted));
            findings.push(protection(url, behaviour.deletes, environment));
            findings.extend(locks(url, environment));
            let seen = Seen { behaviour, keeps_versions: versions.told() };
            let seen = remote::is_object_storage(url).then(|| (store.location(), seen));
            (findings, Some(Looked { store: adapted, seen: seen.into_iter().collect() }))
        }
        Err(StoreError::Refused { why: Refusal::Denied(_), .. }) => {
            let read_only = Finding::warning(
                AREA,
                format!("{} can be read and not written with these credentials", store.location()),
                "no backups are made with them",
                "for backups, give the rights to list the bucket and to write below the prefix",
            );
            (vec![read_only], Some(Looked { store, seen: vec![] }))
        }
        Err(error) => (vec![Finding::problem(AREA, error.into(), lost)], None),
    }
}

/// Whether a repository could be there. A directory that is missing is made by nobody here.
fn answers(store: &dyn Store, url: &str) -> Result<()> {
    let config: Key = "config".parse().expect("a plain name is a key");
    match ::store::store::read(store, &config) {
        Err(error) if error.is_not_found() && remote::is_object_storage(url) => Ok(()),
        Err(error) if error.is_not_found() => {
            Err(repo::RepoError::NoRepository { place: store.location() }.into())
        }
        read => Ok(read.map(drop)?),
    }
}

fn promises(store: &dyn Store, behaviour: &Behaviour) -> Finding {
    let place = store.location();
    match habits::losses(behaviour) {
        None => Finding::ok(
            AREA,
            format!("{place} keeps every promise: creates once, exact ranges, fresh listings"),
        ),
        Some(losses) => Finding::warning(
            AREA,
            format!("{place} breaks a promise"),
            &losses,
            "use another store for what matters most; Amazon S3, Ceph 20, Google and Azure keep them all",
        ),
    }
}

/// How far its clock and ours are apart, by an object that is made for it.
fn clock(store: &dyn Store) -> Option<Finding> {
    let name = format!("x/probe/clock-{}", jiff::Timestamp::now().as_nanosecond());
    let key: Key = name.parse().ok()?;
    let before = SystemTime::now();
    store.put_new(&key, b"what time is it").ok()?;
    let after = SystemTime::now();
    let listed = store.list("x/probe").ok()?;
    store.delete(&key).ok();
    let theirs = listed.into_iter().find(|object| object.key == key)?.modified;
    let apart = |one: SystemTime, other: SystemTime| one.duration_since(other).unwrap_or_default();
    let skew = apart(before, theirs).max(apart(theirs, after)).saturating_sub(RESOLUTION);
    Some(match skew > SKEW_WARNED {
        false => Finding::ok("clock", "this machine and the store agree what time it is"),
        true => Finding::warning(
            "clock",
            format!("this machine's clock and the store's are {} s apart", skew.as_secs()),
            "backups are dated wrongly, and beyond 15 minutes S3 refuses every request; prune waits beyond an hour",
            "set this machine's clock (NTP)",
        ),
    })
}

/// Whether the locks hold that the address asks for.
fn locks(url: &str, environment: &Environment) -> Option<Finding> {
    const AREA: &str = "protection";
    match locks::verify(url, environment) {
        Ok(Known::NotAsked) => None,
        Ok(Known::Unseen) => Some(Finding::unknown(AREA, locks::UNSEEN, locks::UNSEEN_ADVICE)),
        Ok(Known::Held) => Some(Finding::ok(AREA, locks::HELD)),
        Err(error) => {
            Some(Finding::problem(AREA, error, "what is said to be locked can be deleted for good"))
        }
    }
}

/// What stands between the backups and whoever steals these credentials.
fn protection(url: &str, deletes: bool, environment: &Environment) -> Finding {
    const AREA: &str = "protection";
    let lost = "whoever has the credentials of this machine can delete or overwrite every backup for good";
    let Ok(Protection { keeps_versions, can_lock, locks_all }) = environment.wire().protection(url) else {
        return Finding::unknown(AREA, "the bucket does not say how it protects what is in it", "");
    };
    match (keeps_versions, can_lock) {
        _ if !deletes => Finding::ok(AREA, "these credentials cannot delete; forget and prune need others"),
        (Some(true), Some(true)) if locks_all || remote::lock::is_asked(url) => {
            Finding::ok(AREA, "the bucket keeps versions, and what is written is locked")
        }
        (Some(true), Some(true)) => Finding::warning(
            AREA,
            "the bucket keeps versions and can lock them, and nothing is locked",
            "whoever may delete versions, too, can delete every backup for good",
            "write with a lock, as in ?object-lock=compliance:30d (docs: how-to/survive-a-stolen-key)",
        ),
        (Some(true), _) => Finding::warning(
            AREA,
            "the bucket keeps versions, and has no Object Lock",
            "whoever may delete versions, too, can delete every backup for good",
            "give this machine no right to delete versions (s3:DeleteObjectVersion), or make a bucket with Object Lock",
        ),
        (Some(false), _) => Finding::warning(
            AREA,
            "the bucket keeps no versions and has no Object Lock: no protection against ransomware",
            lost,
            "turn versioning on, or give this machine credentials that can only create; a second place is another way",
        ),
        (None, _) if remote::is_object_storage(url) => Finding::unknown(
            AREA,
            "whether the bucket keeps versions cannot be seen with these credentials",
            "look at the provider's console: versions and a retention lock protect against ransomware",
        ),
        (None, _) => Finding::warning(
            AREA,
            "what is deleted here is gone",
            lost,
            "keep a second place that this machine cannot delete from",
        ),
    }
}
