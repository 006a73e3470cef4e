//! `mainstay wal status`: what is archived, between which points a cluster can come back, and what is missing.
//!
//! Exit code 7 where a gap is open, or nothing came for longer than `--max-lag`.

use std::collections::BTreeMap;

use config::configuration::What;
use engine::catalog;
use engine::survey_wal::{SurveyedWal, survey_wal};
use engine::wal_owner::owner;
use engine::wal_status::{Gap, TimelineStatus};
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::lsn::{SystemId, Timeline};
use model::size::ByteSize;
use model::wal_name::SegmentNo;
use pg::cluster_state::ClusterState;
use pg::timeline_history::TimelineHistory;
use repo::Repository;
use serde_json::{Value, json};

use crate::arguments::{Global, ServerArgs, WalStatus};
use crate::command::sources::chosen;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::table::table;
use crate::{configured, database, place};

/// One cluster, with what its words need.
struct Found {
    survey: SurveyedWal,
    owners: BTreeMap<Timeline, String>,
    /// What its server has written and is not archived, where that was asked.
    lag_bytes: Option<u64>,
}

pub(super) fn run(global: &Global, order: &WalStatus, environment: &Environment, face: &Face) -> Result<()> {
    let repository = place::open(global, environment, face)?;
    let clusters = match order.system_id {
        Some(named) => vec![named],
        None => repository.list_wal_clusters()?,
    };
    let now = Timestamp::now();
    let records = catalog::list_readable(&repository)?.records;
    let found = clusters.into_iter().map(|system_id| look(&repository, system_id, &records, now));
    let mut found: Vec<Found> = found.collect::<Result<_>>()?;
    if let Some(state) = ask(global, order, environment, face)? {
        compare(&mut found, &state, face);
    }
    let document = json!({ "clusters": found.iter().map(|found| found.value(now)).collect::<Vec<_>>() });
    face.result(&document, || match &found[..] {
        [] => "no WAL is archived here".to_owned(),
        several => several.iter().map(|found| found.describe(now)).collect::<Vec<_>>().join("\n\n"),
    });
    judge(&found, order, now)
}

/// What is worth an alarm.
fn judge(found: &[Found], order: &WalStatus, now: Timestamp) -> Result<()> {
    let gaps: usize = found.iter().map(|found| found.survey.status.open_gaps()).sum();
    if gaps > 0 {
        return Err(CliError::new(
            Kind::Late,
            format!("WAL is missing: {gaps} gaps that no later base backup heals"),
        )
        .hint("take a full base backup now: only what is after it can be recovered again"));
    }
    let Some(lag_max) = order.max_lag else { return Ok(()) };
    for status in found.iter().map(|found| &found.survey.status) {
        // Histories, and what is filled in later, are no progress.
        let lag = status.end_stored().or(status.newest).map(|end| now.duration_since(end));
        if lag.is_some_and(|lag| lag.as_secs_f64() > lag_max.as_secs_f64()) {
            let seconds = lag.unwrap_or_default().as_secs();
            let words = format!("nothing of the cluster {} was archived for {seconds} s", status.system_id);
            return Err(CliError::new(Kind::Late, words).hint(
                "look at pg_stat_archiver, as `mainstay doctor` does; a server that writes nothing archives nothing, and one that \
                 writes little needs archive_timeout below --max-lag",
            ));
        }
    }
    match found {
        [] => Err(CliError::new(Kind::Late, "no WAL is archived here")),
        _ => Ok(()),
    }
}

fn look(
    repository: &Repository,
    system_id: SystemId,
    records: &[BackupRecord],
    now: Timestamp,
) -> Result<Found> {
    let survey = survey_wal(repository, system_id, records, now)?;
    let mut owners = BTreeMap::new();
    for timeline in survey.status.timelines.iter().map(|one| one.timeline) {
        let known = owner(repository, system_id, timeline)?;
        owners.insert(timeline, known.map(|(_, owner)| owner.describe()).unwrap_or_default());
    }
    Ok(Found { survey, owners, lag_bytes: None })
}

/// How far the log of the server is that flags or the source name, if they name one. One that is dead keeps nobody from seeing
/// what is archived.
fn ask(
    global: &Global,
    order: &WalStatus,
    environment: &Environment,
    face: &Face,
) -> Result<Option<ClusterState>> {
    let ServerArgs { db_host, db_port, db_user, pg_bin_dir, .. } = &order.server;
    let is_named = db_host.is_some() || db_port.is_some() || db_user.is_some();
    let configuration;
    let server = match order.source.as_ref().filter(|source| source.contains('/')) {
        _ if is_named => database::of_flags(None, &order.server, environment, face),
        None => return Ok(None),
        Some(name) => {
            configuration = configured::required(global)?;
            let meant = chosen(&configuration, std::slice::from_ref(name))?;
            let mut clusters = meant.iter().filter_map(|one| match &one.source.what.value {
                What::Cluster(address) => Some((one.source, address.as_str())),
                _ => None,
            });
            let Some((source, address)) = clusters.next() else { return Ok(None) };
            database::of_source(source, address, pg_bin_dir.as_deref(), environment, face)
        }
    };
    match server.and_then(|server| Ok(ClusterState::ask(&server)?)) {
        Ok(state) => Ok(Some(state)),
        Err(error) => {
            face.warn(&format!("how far the log of the server is cannot be told: {}", error.message));
            Ok(None)
        }
    }
}

/// How far the archive of the server's cluster is behind it.
fn compare(found: &mut [Found], state: &ClusterState, face: &Face) {
    let Some(one) = found.iter_mut().find(|one| one.survey.status.system_id == state.system_id) else {
        face.warn(&format!(
            "the server is of the cluster {}, of which no WAL is shown here",
            state.system_id
        ));
        return;
    };
    // A standby that has replayed nothing knows of no position.
    let end = one.survey.status.end_of(state.timeline, one.survey.size).filter(|_| state.lsn.0 > 0);
    if end.is_none() {
        face.warn(&format!("nothing of the server's timeline {} is archived here", state.timeline));
    }
    one.lag_bytes = end.map(|end| state.lsn.0.saturating_sub(end.0));
}

impl Found {
    fn name(&self, timeline: Timeline, number: SegmentNo) -> String {
        self.survey.name(timeline, number).to_string()
    }

    fn describe(&self, now: Timestamp) -> String {
        let status = &self.survey.status;
        let newest = status.end_stored().map_or_else(String::new, |end| {
            format!(", the last one {} s ago", now.duration_since(end).as_secs())
        });
        let behind = self
            .lag_bytes
            .map_or_else(String::new, |bytes| format!(", {} behind the server", ByteSize(bytes)));
        let mut lines = vec![format!(
            "cluster {}: {:.1} segments of {} an hour, {} stored{newest}{behind}",
            status.system_id,
            status.segments_per_hour,
            ByteSize(self.survey.size.bytes()),
            ByteSize(status.stored_per_hour as u64)
        )];
        let header =
            ["TIMELINE", "FIRST", "LAST", "FROM", "TO", "STORED", "GAPS"].map(str::to_owned).to_vec();
        let rows = status.timelines.iter().flat_map(|timeline| self.rows(timeline));
        lines.push(table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()));
        for timeline in &status.timelines {
            lines.extend(timeline.gaps.iter().map(|gap| self.gap(timeline.timeline, gap)));
        }
        for window in &status.windows {
            lines.push(format!(
                "can come back on timeline {} from {} ({:.0}, {}) to {} (archived {:.0})",
                window.timeline, window.from, window.since, window.base, window.to, window.until
            ));
        }
        if status.windows.is_empty() {
            lines.push(
                "no base backup begins where this WAL goes on: it alone brings nothing back".to_owned(),
            );
        }
        lines.join("\n")
    }

    fn rows(&self, status: &TimelineStatus) -> Vec<Vec<String>> {
        let (timeline, gaps) = (status.timeline, status.gaps.len());
        let row = |range: &engine::wal_status::WalRange| {
            vec![
                timeline.to_string(),
                self.name(timeline, range.first),
                self.name(timeline, range.last),
                format!("{:.0}", range.from),
                format!("{:.0}", range.to),
                ByteSize(status.stored).to_string().replace(' ', ""),
                gaps.to_string(),
            ]
        };
        status.ranges.iter().map(row).collect()
    }

    fn gap(&self, timeline: Timeline, gap: &Gap) -> String {
        let healed = if gap.is_healed { "; a later base backup does without" } else { "" };
        let (first, last) = (self.name(timeline, gap.first), self.name(timeline, gap.last));
        format!("gap: {first} to {last} are missing{healed}")
    }

    fn value(&self, now: Timestamp) -> Value {
        let status = &self.survey.status;
        // Histories, and what is filled in later, are no progress.
        let lag = status.end_stored().map(|end| now.duration_since(end).as_secs().to_string());
        json!({
            "systemId": status.system_id,
            "segmentSize": self.survey.size.bytes().to_string(),
            "newest": status.newest.map(|newest| newest.to_string()).unwrap_or_default(),
            "lagSeconds": lag.unwrap_or_default(),
            "lagBytes": self.lag_bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
            "segmentsPerHour": status.segments_per_hour,
            "storedBytesPerHour": status.stored_per_hour,
            "openGaps": status.open_gaps(),
            "timelines": status.timelines.iter().map(|one| self.timeline(one)).collect::<Vec<_>>(),
            "windows": status.windows.iter().map(|window| json!({
                "timeline": window.timeline,
                "backup": window.base,
                "fromLsn": window.from,
                "from": window.since.to_string(),
                "toLsn": window.to,
                "to": window.until.to_string(),
            })).collect::<Vec<_>>(),
        })
    }

    fn timeline(&self, status: &TimelineStatus) -> Value {
        let timeline = status.timeline;
        let parent = self.survey.histories.get(&timeline).and_then(TimelineHistory::parent);
        let name = |number| self.name(timeline, number);
        json!({
            "timeline": timeline,
            "parent": parent.map(|parent| parent.timeline),
            "forkLsn": parent.map(|parent| parent.end.to_string()).unwrap_or_default(),
            "owner": self.owners.get(&timeline).cloned().unwrap_or_default(),
            "storedBytes": status.stored.to_string(),
            "newest": status.newest.to_string(),
            "ranges": status.ranges.iter().map(|range| json!({
                "first": name(range.first),
                "last": name(range.last),
                "startLsn": self.survey.size.start_of(range.first),
                "endLsn": self.survey.size.start_of(SegmentNo(range.last.0 + 1)),
                "from": range.from.to_string(),
                "to": range.to.to_string(),
            })).collect::<Vec<_>>(),
            "gaps": status.gaps.iter().map(|gap| json!({
                "first": name(gap.first),
                "last": name(gap.last),
                "healed": gap.is_healed,
            })).collect::<Vec<_>>(),
        })
    }
}
