//! WAL that no base backup needs any more.
//!
//! A base backup needs the WAL that makes it consistent, and, where anything behind it is to be reached, all that
//! follows. Without a recovery window that holds of each; with one (`keep_wal_within`) of those on which the window rests,
//! and of the newest. So old backups come back as they were at their own end, and the WAL between them goes.
//!
//! Invariants: without a base backup of a cluster none of its WAL goes, since the first one may still be under way
//! (pitfall 19); histories of timelines never go, they are what recovery finds its way by; a base backup whose position is
//! not known keeps everything of its cluster; one that can still come back counts like one that is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::lsn::SystemId;
use model::recovery_window::{BaseBackup, plan_window};
use model::wal_name::WalName;
use repo::lease::{Identity, Lease};
use repo::prune::HOLDER;
use repo::repository::FileKind;
use repo::snapshot_file::SnapshotFile;
use repo::wal_object::StoredWal;
use repo::{RepoError, Repository};
use serde::Serialize;

use crate::catalog;
use crate::error::Result;
use crate::recovery_window::{Log, Position, position};

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiredWal {
    /// Objects.
    pub files: usize,
    /// Their stored bytes.
    pub bytes: u64,
    /// Objects that stay.
    pub kept: usize,
}

/// What a base backup needs of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Where it is; nothing where that is not known.
    pub position: Option<Position>,
    /// Whether all that follows is needed, too.
    pub leads_on: bool,
}

/// The needs of each cluster, by its number.
pub type Needs = BTreeMap<u64, Vec<Need>>;

/// How long each moment of a source can be come back to; `None`: from its oldest base backup on.
pub type WindowOf<'a> = &'a dyn Fn(&str, &str) -> Option<SignedDuration>;

/// What is told of the removal.
pub struct ExpireOptions<'a> {
    /// Only what was stored before goes, so that nobody loses what he has just been promised.
    pub until: Timestamp,
    /// The window of a tenant's source.
    pub window: WindowOf<'a>,
    /// The time.
    pub now: Timestamp,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// Which of the objects `stored` of one cluster, whose base backups have these needs, nothing needs; only what was stored
/// before `until`.
pub fn plan_expire<'a>(stored: &'a [StoredWal], needs: &[Need], until: Timestamp) -> Vec<&'a StoredWal> {
    let known: Option<Vec<_>> = needs.iter().map(|need| Some((need.position?, need.leads_on))).collect();
    let Some(known) = known else { return vec![] };
    let leading = known.iter().filter(|(_, leads_on)| *leads_on).map(|(position, _)| *position);
    let Some(first) = leading.min_by_key(|position| position.start) else { return vec![] };
    let (size, from) = (first.size, first.size.segment_of(first.start));
    if known.iter().any(|(position, _)| position.size != size) {
        return vec![];
    }
    // Whichever timeline: it is a matter of some segments.
    let own: Vec<_> = known
        .iter()
        .map(|(position, _)| size.segment_of(position.start)..=size.segment_before(position.stop))
        .collect();
    let is_needless = |one: &&StoredWal| {
        let name = match &one.file.name {
            WalName::Segment(name) | WalName::Partial(name) | WalName::Backup(name, _) => *name,
            WalName::History(_) => return false,
        };
        let is_old = Timestamp::try_from(one.modified).is_ok_and(|modified| modified < until);
        let is_idle = |number| number < from && own.iter().all(|own| !own.contains(&number));
        is_old && name.number(size).is_some_and(is_idle)
    };
    stored.iter().filter(is_needless).collect()
}

/// Remove what nothing needs of any cluster in the repository.
///
/// # Errors
/// When the store fails, or a snapshot cannot be read: then nobody knows what is needed, and nothing goes.
pub fn expire_wal(
    repository: &Repository,
    options: &ExpireOptions<'_>,
    cancel: &CancelToken,
) -> Result<ExpiredWal> {
    let clusters = repository.list_wal_clusters()?;
    let mut expired = ExpiredWal::default();
    if clusters.is_empty() {
        return Ok(expired);
    }
    let candidates = candidates(repository)?;
    for system_id in clusters {
        let stored = repository.list_wal(system_id, None)?;
        let log = Log::load(repository, system_id, &stored)?;
        let of_it: Vec<_> = candidates.iter().filter(|one| one.system_id == system_id).collect();
        let plan = plan_expire(&stored, &plan_needs(&log, &of_it, options), options.until);
        expired.kept += stored.len() - plan.len();
        for one in plan {
            cancel.check()?;
            if !options.dry_run {
                repository.store().delete(&one.file.object()).map_err(RepoError::from)?;
            }
            expired.files += 1;
            expired.bytes += one.size;
        }
    }
    Ok(expired)
}

/// The same alone in the repository, after those at work, who are waited for so long; with who is at work even then: nothing is
/// removed beside him, and a later run goes on.
///
/// # Errors
/// As [`expire_wal`].
pub fn expire_wal_alone(
    repository: &Arc<Repository>,
    options: &ExpireOptions<'_>,
    (identity, wait): (&Identity, Duration),
    cancel: &CancelToken,
) -> Result<(ExpiredWal, Option<String>)> {
    // Who has no WAL keeps nobody waiting.
    if options.dry_run || repository.list_wal_clusters()?.is_empty() {
        return Ok((expire_wal(repository, options, cancel)?, None));
    }
    match Lease::after_others(repository, HOLDER, identity, wait) {
        Ok(_alone) => Ok((expire_wal(repository, options, cancel)?, None)),
        Err(RepoError::InUse { holder }) => Ok((ExpiredWal::default(), Some(holder))),
        Err(error) => Err(error.into()),
    }
}

/// What the base backups in a repository need, those that can come back among them: each leads on.
///
/// # Errors
/// When a snapshot cannot be read.
pub fn all_needs(repository: &Repository) -> Result<Needs> {
    Ok(needs_of(snapshots(repository)?.iter()))
}

/// The same of these snapshots.
pub fn needs_of<'a>(snapshots: impl Iterator<Item = &'a SnapshotFile>) -> Needs {
    let mut needs = Needs::new();
    for (system_id, position) in snapshots.filter_map(position) {
        needs.entry(system_id.0).or_default().push(Need { position, leads_on: true });
    }
    needs
}

/// The same of these backups of a repository, if they are base backups.
///
/// # Errors
/// When a snapshot cannot be read.
pub fn needs_of_records(repository: &Repository, records: &[BackupRecord]) -> Result<Needs> {
    let is_cluster = |record: &&BackupRecord| record.kind == BackupKind::Cluster;
    let snapshots =
        records.iter().filter(is_cluster).map(|record| catalog::load_snapshot(repository, record));
    Ok(needs_of(snapshots.collect::<Result<Vec<_>>>()?.iter()))
}

/// Every snapshot that is there or can come back. Who is deleted or comes back meanwhile is in one of the three.
fn snapshots(repository: &Repository) -> Result<Vec<SnapshotFile>> {
    let deleted = || Ok::<_, RepoError>(repository.deleted_snapshots()?.into_iter().map(|one| one.snapshot));
    let before = deleted()?;
    let live = repository.load_snapshots()?.into_iter().map(|(_, snapshot)| snapshot);
    Ok(before.chain(live).chain(deleted()?).collect())
}

/// A base backup that is there, or can come back.
struct Candidate {
    system_id: SystemId,
    position: Option<Position>,
    /// Tenant and source.
    source: (String, String),
    ended: Timestamp,
    is_good: bool,
    is_live: bool,
}

impl Candidate {
    fn of(snapshot: &SnapshotFile, ended: Timestamp, is_live: bool) -> Option<Self> {
        let (system_id, position) = position(snapshot)?;
        let tag = |name| snapshot.tag(name).unwrap_or_default().to_owned();
        let is_good = !snapshot.tags.iter().any(|tag| tag == "incomplete");
        let source = (tag("tenant"), tag("source"));
        Some(Self { system_id, position, source, ended, is_good, is_live })
    }
}

fn candidates(repository: &Repository) -> Result<Vec<Candidate>> {
    // Who is deleted or comes back meanwhile is in one of the three.
    let before = repository.deleted_snapshots()?;
    let live = repository.load_snapshots()?;
    let deleted = before.into_iter().chain(repository.deleted_snapshots()?);
    let listed = repository.list(FileKind::Snapshot)?.into_iter();
    let received: HashMap<Digest, Timestamp> =
        listed.filter_map(|one| Some((one.id, one.modified.try_into().ok()?))).collect();
    let records = catalog::list(repository)?;
    let bad: HashSet<_> =
        records.iter().filter(|one| !one.is_good()).filter_map(|one| one.snapshot).collect();
    let live = live.iter().filter_map(|(id, snapshot)| {
        let ended = received.get(id).copied().unwrap_or(Timestamp::MAX);
        let one = Candidate::of(snapshot, ended, true)?;
        Some(Candidate { is_good: one.is_good && !bad.contains(id), ..one })
    });
    // What a client says of the time is a claim; when it was deleted it had ended.
    let deleted = deleted.filter_map(|one| Candidate::of(&one.snapshot, one.deleted_at, false));
    Ok(live.chain(deleted).collect())
}

/// What the base backups of one cluster need of its log. A window is looked at with those that can come back and without
/// them: either may come true.
fn plan_needs(log: &Log, candidates: &[&Candidate], options: &ExpireOptions<'_>) -> Vec<Need> {
    let mut sources: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (number, one) in candidates.iter().enumerate() {
        sources.entry(&one.source).or_default().push(number);
    }
    let mut leading = HashSet::new();
    for ((tenant, source), numbers) in sources {
        let is_good = |number: &usize| candidates[*number].is_good && candidates[*number].position.is_some();
        let good: Vec<_> = numbers.iter().copied().filter(is_good).collect();
        let window = (options.window)(tenant, source).filter(|_| !good.is_empty());
        let Some(window) = window else {
            leading.extend(numbers);
            continue;
        };
        let begin = options.now.checked_sub(window).unwrap_or(Timestamp::MIN);
        let live = good.iter().copied().filter(|number| candidates[*number].is_live).collect();
        // Where only bad ones lead, they are what there is.
        let all = numbers.iter().copied().filter(|number| candidates[*number].position.is_some()).collect();
        for numbers in [live, good, all] {
            let lead = |number: &usize| -> Option<BaseBackup> {
                let one = candidates[*number];
                Some(log.lead(one.position.as_ref()?, one.ended))
            };
            let bases: Vec<_> = numbers.iter().filter_map(lead).collect();
            let planned = numbers.iter().zip(plan_window(&bases, begin));
            leading.extend(planned.filter(|(_, is_needed)| *is_needed).map(|(number, _)| *number));
            // The newest, by the time of the store and by its place: of a deleted one the first says too little.
            let time = |number: &usize| (candidates[*number].is_live, candidates[*number].ended);
            let place = |number: &usize| candidates[*number].position.map(|position| position.stop);
            leading.extend(numbers.iter().copied().max_by_key(time));
            leading.extend(numbers.iter().copied().max_by_key(place));
        }
    }
    let need = |(number, one): (usize, &&Candidate)| Need {
        position: one.position,
        leads_on: leading.contains(&number),
    };
    candidates.iter().enumerate().map(need).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use model::lsn::{Lsn, Timeline};
    use model::wal_name::SegmentSize;
    use repo::wal_object::WalFile;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const CLUSTER: SystemId = SystemId(7);

    fn stored(name: &str, hours_ago: u32) -> StoredWal {
        let file = WalFile { system_id: CLUSTER, name: name.parse().unwrap() };
        StoredWal { file, size: 10, modified: SystemTime::now() - HOUR * hours_ago }
    }

    fn segment(number: u64, hours_ago: u32) -> StoredWal {
        stored(&format!("0000000100000000{number:08X}"), hours_ago)
    }

    /// From a place in one segment to one in another.
    fn spot(start: u64, stop: u64) -> Position {
        let (start, stop) = (Lsn((start << 24) + 40), Lsn((stop << 24) + 400));
        Position { timeline: Timeline(1), start, stop, size: SegmentSize::DEFAULT }
    }

    fn three_days_ago() -> Timestamp {
        Timestamp::try_from(SystemTime::now() - HOUR * 72).unwrap()
    }

    fn names(stored: &[StoredWal], needs: &[Need]) -> Vec<String> {
        let plan = plan_expire(stored, needs, three_days_ago());
        plan.into_iter().map(|one| one.file.name.to_string()).collect()
    }

    fn leading(number: u64) -> Need {
        Need { position: Some(spot(number, number)), leads_on: true }
    }

    #[test]
    fn pitfall_19_only_what_lies_before_every_base_backup_goes() {
        let all = [
            stored("000000010000000000000001", 100),
            stored("000000010000000000000002", 100),
            stored("000000010000000000000003.00000028.backup", 100),
            stored("000000010000000000000003", 100),
            stored("000000020000000000000002.partial", 100),
            stored("00000002.history", 100),
            stored("000000020000000000000004", 100),
        ];
        assert!(names(&all, &[]).is_empty(), "without a base backup everything stays");
        let before_3 =
            ["000000010000000000000001", "000000010000000000000002", "000000020000000000000002.partial"];
        assert_eq!(names(&all, &[leading(3), leading(4)]), before_3);
        assert_eq!(names(&all, &[leading(4), leading(3)]), before_3);
        assert!(names(&all, &[leading(1), leading(4)]).is_empty());
        let unknown = Need { position: None, leads_on: true };
        assert!(
            names(&all, &[leading(4), unknown]).is_empty(),
            "a position that is not known keeps everything"
        );
    }

    #[test]
    fn what_was_stored_lately_stays() {
        let all = [segment(1, 71), segment(2, 73)];
        assert_eq!(names(&all, &[leading(9)]), ["000000010000000000000002"]);
    }

    #[test]
    fn pitfall_19_what_makes_an_old_base_backup_consistent_stays_where_its_way_onward_goes() {
        let all: Vec<_> = (1..10).map(|number| segment(number, 100)).collect();
        let old = |start, stop| Need { position: Some(spot(start, stop)), leads_on: false };
        let gone = names(&all, &[old(2, 3), old(5, 5), leading(8)]);
        assert_eq!(gone, [1, 4, 6, 7].map(|number| segment(number, 0).file.name.to_string()));
        assert!(names(&all, &[old(2, 3)]).is_empty(), "nobody says what follows it");
    }

    /// A base backup each day at midday, a segment each hour; seen from day 9 at its beginning.
    fn planned(window: Option<i64>, change: impl Fn(u64, &mut Candidate)) -> Vec<u64> {
        let now = SystemTime::now();
        let at = |hour: u64| now - HOUR * (9 * 24 - hour as u32);
        let wal: Vec<_> =
            (0..9 * 24).map(|hour| StoredWal { modified: at(hour + 1), ..segment(hour, 0) }).collect();
        let daily = (0..9).map(|day| {
            let hour = day * 24 + 12;
            let mut one = Candidate {
                system_id: CLUSTER,
                position: Some(spot(hour, hour)),
                source: ("acme".to_owned(), "main".to_owned()),
                ended: at(hour + 1).try_into().unwrap(),
                is_good: true,
                is_live: true,
            };
            change(day, &mut one);
            one
        });
        let daily: Vec<_> = daily.collect();
        let log = Log::of_segments(CLUSTER, &wal);
        let window = |_: &str, _: &str| window.map(|days| SignedDuration::from_hours(24 * days));
        let now = now.try_into().unwrap();
        let options = ExpireOptions { until: now, window: &window, now, dry_run: true };
        let needs = plan_needs(&log, &daily.iter().collect::<Vec<_>>(), &options);
        let gone = plan_expire(&wal, &needs, now);
        let number = |one: &StoredWal| match one.file.name {
            WalName::Segment(name) => name.number(SegmentSize::DEFAULT).unwrap().0,
            _ => unreachable!(),
        };
        let gone: HashSet<_> = gone.into_iter().map(number).collect();
        (0..9 * 24).filter(|hour| !gone.contains(hour)).collect()
    }

    /// The segments of old base backups, and all from an hour on.
    fn islands(days: &[u64], from: u64) -> Vec<u64> {
        days.iter().map(|day| day * 24 + 12).filter(|hour| *hour < from).chain(from..9 * 24).collect()
    }

    #[test]
    fn pitfall_19_with_a_window_old_base_backups_keep_what_makes_them_consistent() {
        let every = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(
            planned(None, |_, _| ()),
            islands(&every, 12),
            "without one all that follows the oldest stays"
        );
        // Three days before the beginning of day 9 is that of day 6: the one of day 5 leads there.
        assert_eq!(planned(Some(3), |_, _| ()), islands(&every, 5 * 24 + 12));
        assert_eq!(planned(Some(30), |_, _| ()), islands(&every, 12), "the window is not full yet");
        // One that is not good leads nowhere, and its own WAL stays nevertheless.
        let bad = |day, one: &mut Candidate| one.is_good = day != 5;
        assert_eq!(planned(Some(3), bad), islands(&every, 4 * 24 + 12));
        // What was deleted may come back, and what is left may be all there is.
        let deleted = |day, one: &mut Candidate| one.is_live = day != 5;
        assert_eq!(planned(Some(3), deleted), islands(&every, 4 * 24 + 12));
        let late = |day, one: &mut Candidate| one.is_live = day > 5;
        assert_eq!(planned(Some(3), late), islands(&every, 5 * 24 + 12));
        // Of whose place nothing is known, everything stays.
        let unknown = |day, one: &mut Candidate| {
            if day == 2 {
                one.position = None;
            }
        };
        assert_eq!(planned(Some(3), unknown).len(), 9 * 24);
        // Each source of a cluster keeps its own window.
        let other = |day, one: &mut Candidate| {
            if day == 1 {
                "other".clone_into(&mut one.source.1);
            }
        };
        assert_eq!(planned(Some(3), other), islands(&every, 24 + 12));
    }
}
