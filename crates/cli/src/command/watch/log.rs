//! The WAL of a cluster, as the repository alone shows it: the server may be dead, or say what it likes.

use std::thread::sleep;
use std::time::Duration;

use ::watch::judge::{Alarm, Fault};
use ::watch::judge_wal::{ExpectedWal, SeenWal, judge_wal};
use config::configuration::{Source, Tenant, What};
use engine::survey_wal::{SurveyedWal, cluster_of, survey_wal};
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use repo::Repository;

use super::super::sources::is_of;
use crate::error::Result;

/// A segment that is being uploaded beside a later one is there by then.
const SETTLES: Duration = Duration::from_secs(5);
/// A backup from further ahead is none that WAL is looked for.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);

/// What is wrong with the WAL of a source; of others than clusters nothing.
pub(super) fn judge_log(
    tenant: &Tenant,
    source: &Source,
    (repository, records): (&Repository, &[BackupRecord]),
    now: Timestamp,
) -> Vec<Alarm> {
    if !matches!(source.what.value, What::Cluster(_)) {
        return vec![];
    }
    let expected = ExpectedWal {
        name: format!("{}/{}/wal", tenant.name, source.name),
        is_promised: source.wal.is_some(),
        max_lag: source.wal.as_ref().and_then(|wal| wal.value.max_lag),
        rpo: source.rpo.as_ref().map(|rpo| rpo.value),
    };
    match look(tenant, source, repository, records, now) {
        Ok(seen) => seen.map(|seen| judge_wal(&expected, &seen, now)).unwrap_or_default(),
        Err(error) => {
            let words = format!("nobody can look at its WAL: {}", error.message);
            vec![Alarm { name: expected.name, fault: Fault::Unreadable, words }]
        }
    }
}

/// What there is beside the newest good base backup. That there is none is said of the source itself.
fn look(
    tenant: &Tenant,
    source: &Source,
    repository: &Repository,
    records: &[BackupRecord],
    now: Timestamp,
) -> Result<Option<SeenWal>> {
    let is_past = |record: &&BackupRecord| record.created_at.duration_since(now) <= AHEAD_MAX;
    let good: Vec<_> = records.iter().filter(|record| record.is_good()).filter(is_past).cloned().collect();
    let own = good.iter().filter(|record| is_of(tenant, source, record));
    let Some(newest) = own.max_by_key(|record| record.created_at) else { return Ok(None) };
    let Some(system_id) = cluster_of(repository, newest)? else { return Ok(None) };
    let mut survey = survey_wal(repository, system_id, &good, now)?;
    if !survey.is_settled(now) {
        sleep(SETTLES);
        survey = survey_wal(repository, system_id, &good, now)?;
    }
    Ok(Some(seen(&survey, newest)))
}

/// By where the newest base backup leads: an old primary may still archive on its own timeline, to which it does not.
fn seen(survey: &SurveyedWal, newest: &BackupRecord) -> SeenWal {
    let status = &survey.status;
    let base = newest.id.as_str();
    let end = status.ends.get(base).map(|(_, until)| *until);
    let gaps = status.list_open_gaps().map(|(timeline, gap)| {
        let name = |number| survey.name(timeline, number);
        format!("{} to {}", name(gap.first), name(gap.last))
    });
    SeenWal {
        base: newest.id.to_string(),
        base_at: newest.created_at,
        is_reached: end.is_some(),
        is_behind: survey.is_behind(base),
        newest: survey.end_stored_after(base),
        restorable: end.map_or(newest.created_at, |until| until.max(newest.created_at)),
        gaps: gaps.collect(),
        lost_timelines: survey.without_history().into_iter().map(|timeline| timeline.0).collect(),
    }
}
