//! Sets, as the repository alone shows them: a run that lacks a member is not one.

use ::watch::judge::{Alarm, Backup, Expected, Fault, judge};
use config::configuration::{SourceSet, Tenant};
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use model::name::SourceName;
use model::set_mark::{Member, SetRun, runs};
use repo::Repository;

/// Whoever runs a set renews its lease more often.
const LEASE_FRESH: SignedDuration = SignedDuration::from_mins(30);

/// What is wrong with a set.
pub(super) fn judge_set(
    tenant: &Tenant,
    set: &SourceSet,
    (repository, records): (&Repository, &[BackupRecord]),
    shrunk_percent: u8,
    now: Timestamp,
) -> Vec<Alarm> {
    let found = runs(records, tenant.name.as_str(), set.name.as_str());
    let (newest, missing) = match found.first() {
        Some(newest) => (Some(newest), missing(newest, set)),
        None => (None, vec![]),
    };
    // The rest of the newest one may be under way.
    let skipped = usize::from(!missing.is_empty() && is_running(tenant, repository, now));
    let judged = found.iter().skip(skipped).map(|run| Backup {
        time: run.mark.run,
        size: run.chosen().iter().map(|record| record.size_bytes).sum(),
        is_good: missing_of(run, set) == 0,
    });
    let member =
        set.members.first().and_then(|name| tenant.sources.iter().find(|source| source.name == *name));
    let name = format!("{}/{}", tenant.name, set.name);
    let cron = member.and_then(|source| Some((source.schedule.value.cron()?.clone(), source.jitter.value)));
    let schedule = cron.map(|(cron, jitter)| (cron, daemon::timetable::delay(&name, jitter)));
    let max_age = set.max_age.as_ref().map(|age| age.value);
    let mut alarms =
        judge(&Expected { name, max_age, schedule, shrunk_percent }, &judged.collect::<Vec<_>>(), now);
    for alarm in alarms.iter_mut().filter(|alarm| matches!(alarm.fault, Fault::Failed | Fault::Missing)) {
        if let (Some(run), false) = (newest.filter(|_| skipped == 0), missing.is_empty()) {
            let run = run.mark.run_name();
            alarm.words =
                format!("the set is INCOMPLETE: run {run} lacks {}; {}", missing.join(", "), alarm.words);
        }
    }
    alarms
}

/// Whether somebody backs the tenant up at this moment, as far as its leases tell.
fn is_running(tenant: &Tenant, repository: &Repository, now: Timestamp) -> bool {
    let holder = format!("run-{}", tenant.name);
    let leases = repository.list_notes("lease").unwrap_or_default();
    leases.iter().filter(|(name, _)| name.starts_with(&holder)).any(|(_, object)| {
        Timestamp::try_from(object.modified).is_ok_and(|renewed| now.duration_since(renewed) < LEASE_FRESH)
    })
}

/// Members that lack a good backup in a run, by name; of several backups also how many of them there are.
fn missing(run: &SetRun<'_>, set: &SourceSet) -> Vec<String> {
    let found = run.found();
    let words = |name: &SourceName| match found.get(name) {
        Some(member) if member.is_whole() => None,
        Some(Member { good, of }) if *of > 1 => Some(format!("{name} ({good} of {of} are there)")),
        _ => Some(name.to_string()),
    };
    set.members.iter().filter_map(words).collect()
}

/// The set may have had more members then.
fn missing_of(run: &SetRun<'_>, set: &SourceSet) -> usize {
    missing(run, set).len().max(run.missing())
}
