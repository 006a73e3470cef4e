//! Who may archive a timeline: the one who holds a token that lies outside the data directory, so that no copy of it has it.
//!
//! Form: `x/owner/<system id>/<timeline, 8 hex digits>/<n, 8 digits>`; the last one holds, and `--take-over` writes the next.
//! What is stored is the SHA-256 of the token.
//!
//! A copy of the WAL takes the record along: where it arrives, the same cluster may go on archiving and no other one, since its
//! token is the same for every repository.
//!
//! Invariants: a timeline without owner goes to the first who archives it; unless it left another timeline at a place
//! behind which somebody else has gone on with that one: that is a copy of a cluster that lives, and not its successor.
//! Whoever owns a timeline may add what belongs to its past (pitfalls 5 and 22).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::digest::Digest;
use model::lsn::{SystemId, Timeline};
use model::wal_name::WalName;
use pg::timeline_history::TimelineHistory;
use repo::Repository;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::archive_wal::{LocalWal, header_of, local_history};
use crate::error::Result;
use crate::retired;
use crate::wal_error::WalError;

/// How long nobody is asked again who owns a timeline.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// Who archives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// What only this cluster has.
    pub token: String,
    /// Its machine.
    pub host: String,
    /// Its data directory.
    pub directory: String,
}

/// The record of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// SHA-256 of the token.
    pub token: Digest,
    /// The machine, when it took the timeline.
    pub host: String,
    /// The data directory.
    pub directory: String,
    /// When that was.
    pub since: Timestamp,
}

impl Owner {
    fn is(&self, claim: &Claim) -> bool {
        self.token == digest(&claim.token)
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!("{}:{} since {:.0}", self.host, self.directory, self.since)
    }
}

/// Whose timelines are; asked again after a while.
#[derive(Default)]
pub struct Owners {
    known: Mutex<HashMap<(SystemId, Timeline, Claim), Instant>>,
}

impl Owners {
    /// That `claim` may archive `wal`; a timeline that nobody has becomes its own.
    ///
    /// # Errors
    /// [`WalError::Owned`], [`WalError::Forked`], or what the store says.
    pub fn verify(&self, repository: &Repository, wal: &LocalWal, claim: &Claim) -> Result<()> {
        let key = (wal.file.system_id, wal.file.name.timeline(), claim.clone());
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().get(&key).is_some_and(|at| at.elapsed() < KNOWN_FOR) {
            return Ok(());
        }
        if verify_owner(repository, wal, claim)? == Standing::Owner {
            lock().insert(key, Instant::now());
        }
        Ok(())
    }
}

/// Why somebody may archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Owner,
    Successor,
}

fn verify_owner(repository: &Repository, wal: &LocalWal, claim: &Claim) -> Result<Standing> {
    let (system_id, timeline) = (wal.file.system_id, wal.file.name.timeline());
    let folder = wal.path.parent().unwrap_or(Path::new("."));
    match owner(repository, system_id, timeline)? {
        Some((_, owner)) if owner.is(claim) => Ok(Standing::Owner),
        Some((_, owner)) => match is_past_of_own(repository, wal, folder, claim)? {
            true => Ok(Standing::Successor),
            false => Err(WalError::Owned { system_id, timeline, owner: owner.describe() }.into()),
        },
        None => become_owner(repository, system_id, timeline, folder, claim).map(|()| Standing::Owner),
    }
}

/// Take a timeline that nobody has.
fn become_owner(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
    folder: &Path,
    claim: &Claim,
) -> Result<()> {
    retired::refuse(repository)?;
    if let Some(history) = local_history(folder, timeline)? {
        refuse_copy(repository, system_id, timeline, &history, claim)?;
    }
    take(repository, system_id, timeline, claim, 1)?;
    // Of two that took it at one moment, one did.
    match owner(repository, system_id, timeline)? {
        Some((_, owner)) if !owner.is(claim) => {
            Err(WalError::Owned { system_id, timeline, owner: owner.describe() }.into())
        }
        _ => Ok(()),
    }
}

/// The owner of a timeline, and the number of its record.
///
/// # Errors
/// Damage, or what the store says.
pub fn owner(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
) -> Result<Option<(u32, Owner)>> {
    let folder = owner_folder(system_id, timeline);
    let numbers = repository.list_notes(&folder)?.into_iter().filter_map(|(name, _)| name.parse().ok());
    let Some(last) = numbers.max() else { return Ok(None) };
    Ok(Some((last, repository.load_note(&format!("{folder}/{last:08}"))?)))
}

fn owner_folder(system_id: SystemId, timeline: Timeline) -> String {
    format!("owner/{system_id}/{:08X}", timeline.0)
}

/// All owners that a timeline ever had; the last one is.
fn all_owners(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
) -> Result<BTreeMap<u32, Owner>> {
    let folder = owner_folder(system_id, timeline);
    let names = repository.list_notes(&folder)?.into_iter().filter_map(|(name, _)| name.parse().ok());
    let load = |number: u32| -> Result<(u32, Owner)> {
        Ok((number, repository.load_note(&format!("{folder}/{number:08}"))?))
    };
    names.map(load).collect()
}

/// Let `to` know who archives a timeline, as `from` does, before WAL of it is copied: the rightful owner goes on there, and
/// nobody else becomes it meanwhile. Where both know one, it has to be the same, or the one that took over from the other.
///
/// # Errors
/// [`WalError::OwnersDiffer`]: two clusters under one number; or what a store says.
pub fn carry_over(from: &Repository, to: &Repository, system_id: SystemId, timeline: Timeline) -> Result<()> {
    let here = all_owners(from, system_id, timeline)?;
    let Some((_, last)) = here.last_key_value() else { return Ok(()) };
    let had =
        |owners: &BTreeMap<u32, Owner>, owner: &Owner| owners.values().any(|one| one.token == owner.token);
    loop {
        let there = all_owners(to, system_id, timeline)?;
        let number = match there.last_key_value() {
            Some((_, owner)) if owner.token == last.token => return Ok(()),
            // This very record is there, and somebody has taken over there since.
            Some(_) if there.values().any(|one| one == last) => return Ok(()),
            None => 1,
            // Somebody has taken over here since, it may be one who had it before.
            Some((number, owner)) if had(&here, owner) => number + 1,
            Some(_) if had(&there, last) => return Ok(()),
            Some((_, owner)) => {
                let (place, owner, other) = (to.store().location(), owner.describe(), last.describe());
                return Err(WalError::OwnersDiffer { system_id, timeline, place, owner, other }.into());
            }
        };
        // Where somebody else was faster, who that was decides.
        if to.put_note(&format!("{}/{number:08}", owner_folder(system_id, timeline)), last)? {
            return Ok(());
        }
    }
}

/// Make a timeline `claim`'s own, whoever had it.
///
/// # Errors
/// What the store says.
pub fn take_over(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
    claim: &Claim,
) -> Result<()> {
    retired::refuse(repository)?;
    let before = owner(repository, system_id, timeline)?;
    match before {
        Some((_, owner)) if owner.is(claim) => Ok(()),
        before => take(repository, system_id, timeline, claim, before.map_or(1, |(last, _)| last + 1)),
    }
}

fn take(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
    claim: &Claim,
    number: u32,
) -> Result<()> {
    let Claim { token, host, directory } = claim.clone();
    let owner = Owner { token: digest(&token), host, directory, since: Timestamp::now() };
    repository.put_note(&format!("{}/{number:08}", owner_folder(system_id, timeline)), &owner)?;
    Ok(())
}

/// Somebody else goes on with the parent behind the place where `timeline` left it.
fn refuse_copy(
    repository: &Repository,
    system_id: SystemId,
    timeline: Timeline,
    history: &TimelineHistory,
    claim: &Claim,
) -> Result<()> {
    let Some(parent) = history.parent() else { return Ok(()) };
    let owner = match owner(repository, system_id, parent.timeline)? {
        Some((_, owner)) if !owner.is(claim) => owner.describe(),
        _ => return Ok(()),
    };
    let stored = repository.list_wal(system_id, Some(parent.timeline))?;
    let segments = stored.iter().filter(|stored| matches!(stored.file.name, WalName::Segment(_)));
    let Some(last) = segments.max_by(|one, other| one.file.name.cmp(&other.file.name)) else { return Ok(()) };
    let sealed =
        store::store::read(repository.store(), &last.file.object()).map_err(repo::RepoError::from)?;
    let header = last.file.header(repository.sealer(), &sealed)?;
    let size = header.segment_size.and_then(model::wal_name::SegmentSize::new);
    let number = match (&last.file.name, size) {
        (WalName::Segment(name), Some(size)) => name.number(size).map(|number| (number, size)),
        _ => None,
    };
    match number {
        Some((number, size)) if number > size.segment_of(parent.end) => {
            Err(WalError::Forked { system_id, timeline, parent: parent.timeline, fork: parent.end, owner }
                .into())
        }
        _ => Ok(()),
    }
}

/// Whether a file of somebody else's timeline is the past of one that is `claim`'s own: what was left behind, up to the
/// segment in which that happened.
fn is_past_of_own(repository: &Repository, wal: &LocalWal, folder: &Path, claim: &Claim) -> Result<bool> {
    let timeline = wal.file.name.timeline();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(false) };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let later = names.filter_map(|name| match name {
        WalName::History(later) if later > timeline => Some(later),
        _ => None,
    });
    for later in later {
        let Some(end) = local_history(folder, later)?.and_then(|history| history.end_of(timeline)) else {
            continue;
        };
        let is_past = match &wal.file.name {
            WalName::Segment(_) | WalName::Partial(_) => {
                header_of(&wal.path).is_some_and(|header| header.start < end)
            }
            WalName::History(_) | WalName::Backup(..) => true,
        };
        let system_id = wal.file.system_id;
        match owner(repository, system_id, later)? {
            _ if !is_past => {}
            Some((_, owner)) if owner.is(claim) => return Ok(true),
            Some(_) => {}
            None => {
                become_owner(repository, system_id, later, folder, claim)?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn digest(token: &str) -> Digest {
    Digest(Sha256::digest(token.as_bytes()).into())
}
