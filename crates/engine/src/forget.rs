//! Drop backups by a policy: decide for every source, show it, and carry it out.
//!
//! What goes can come back until prune has taken it for good.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::retention::{self, Policy, Received, Verdict};
use repo::lease::{Identity, Lease};
use repo::repository::FileKind;
use repo::{RepoError, Repository};

use crate::catalog;
use crate::delete::is_held;
use crate::error::{EngineError, Result};
use crate::recovery_window;

/// How far our clock may be from the store's; beyond it nobody knows how old a backup is.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(1);

/// When the store took each snapshot, by its own clock.
pub type ReceiveTimes = HashMap<Digest, Timestamp>;

/// Ask the store when it took the snapshots.
///
/// # Errors
/// When it cannot list.
pub fn receive_times(repository: &Repository) -> Result<ReceiveTimes> {
    let listed = repository.list(FileKind::Snapshot)?.into_iter();
    Ok(listed.filter_map(|listed| Some((listed.id, listed.modified.try_into().ok()?))).collect())
}

/// Host and paths: what restic tells the sources of its snapshots apart by.
pub type Origin = (String, Vec<String>);

/// Where the snapshots come from that mainstay did not make: all that their records say is the last part of a path.
///
/// # Errors
/// Damage to one of them.
pub fn foreign_origins(repository: &Repository, records: &[BackupRecord]) -> Result<HashMap<Digest, Origin>> {
    let mut origins = HashMap::new();
    for id in records.iter().filter(|record| catalog::may_be_foreign(record)).filter_map(|it| it.snapshot) {
        let mut snapshot = repository.load_snapshot(&id)?;
        if !catalog::is_ours(&snapshot) {
            snapshot.paths.sort();
            origins.insert(id, (snapshot.hostname, snapshot.paths));
        }
    }
    Ok(origins)
}

/// What is decided of each backup.
pub type Planned = Vec<(BackupRecord, Verdict)>;

/// Decide about every record of a repository by all that it says of them, as [`plan_forget`] does.
///
/// # Errors
/// When the store cannot list or read; damage to what must be read for the decision.
pub fn plan(
    repository: &Repository,
    policy: &Policy,
    records: Vec<BackupRecord>,
    now: Timestamp,
) -> Result<Planned> {
    let foreign = foreign_origins(repository, &records)?;
    let received = receive_times(repository)?;
    let ended = |record: &BackupRecord| time_of(record, &received);
    let needed = match policy.keep_wal_within {
        Some(window) => {
            let begin = now.checked_sub(window).unwrap_or(Timestamp::MIN);
            recovery_window::needed(repository, &records, ended, begin)?
        }
        None => HashSet::new(),
    };
    Ok(plan_forget(policy, records, &received, &foreign, &needed, now))
}

fn time_of(record: &BackupRecord, received: &ReceiveTimes) -> Timestamp {
    record.snapshot.and_then(|id| received.get(&id).copied()).unwrap_or(record.created_at)
}

/// Decide about every record, source by source; the newest stand first in each.
///
/// Sources are told apart by all that a record says of them, so that two of one name do not displace each other; those
/// of others also by what `foreign` says. A record of which `received` knows nothing is taken at its word. On those that
/// are `needed` the recovery window rests.
pub fn plan_forget(
    policy: &Policy,
    records: Vec<BackupRecord>,
    received: &ReceiveTimes,
    foreign: &HashMap<Digest, Origin>,
    needed: &HashSet<Digest>,
    now: Timestamp,
) -> Vec<(BackupRecord, Verdict)> {
    let mut sources: BTreeMap<_, Vec<BackupRecord>> = BTreeMap::new();
    for record in records {
        let (tenant, source) = (record.tenant.to_string(), record.source.to_string());
        let origin = record.snapshot.and_then(|id| foreign.get(&id));
        let key = (tenant, source, record.kind.as_str(), record.database.clone(), origin);
        sources.entry(key).or_default().push(record);
    }
    let decide = |mut records: Vec<BackupRecord>| {
        records.sort_by_key(|record| std::cmp::Reverse(record.created_at));
        let backups = records.iter().map(|record| Received {
            record,
            at: time_of(record, received),
            is_needed: record.snapshot.is_some_and(|id| needed.contains(&id)),
        });
        let backups: Vec<_> = backups.collect();
        let verdicts = retention::plan_forget(policy, &backups, now);
        records.into_iter().zip(verdicts)
    };
    sources.into_values().flat_map(decide).collect()
}

/// Make a plan as `plan` does at a time, and delete what it forgets; what was deleted comes back. Returns the plan, and what
/// is deleted. It is made behind the lease: who had to wait for one may have seen other backups before.
///
/// # Errors
/// [`EngineError::Refused`] where the time is not what the store says it is. When the store fails; what was deleted before
/// stays deleted.
pub fn forget(
    repository: &Arc<Repository>,
    plan: impl FnOnce(Timestamp) -> Result<Planned>,
    identity: &Identity,
    now: Timestamp,
    cancel: &CancelToken,
) -> Result<(Planned, Vec<BackupRecord>)> {
    let begun = repository.clock().elapsed();
    let lease = Lease::beside(repository, "forget", identity)?;
    let now = repository.clock().later(now, begun);
    let stores = Timestamp::try_from(lease.began_at()).unwrap_or(Timestamp::MIN);
    if stores.duration_since(now).abs() > CLOCKS_APART_MAX {
        let reason = format!("it is {now:.0} here and {stores:.0} in the store, so nothing is forgotten");
        return Err(EngineError::Refused(reason));
    }
    let plan = plan(now)?;
    let mut forgotten = vec![];
    for (record, _) in plan.iter().filter(|(_, verdict)| *verdict == Verdict::Forget) {
        cancel.check()?;
        // Somebody may have put it on hold since the plan was made.
        let Some(id) = record.snapshot.filter(|_| !record.hold) else { continue };
        if is_held(repository, record)? {
            continue;
        }
        match repository.delete_snapshot(&id, now, &lease.guard()) {
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            outcome => {
                outcome?;
                forgotten.push(record.clone());
            }
        }
    }
    drop(lease);
    Ok((plan, forgotten))
}
