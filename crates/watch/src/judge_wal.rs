//! What is wrong with the archived WAL of a cluster.
//!
//! Only what the repository holds is judged, so a server that writes nothing and an archiver that died look the same: both
//! are late. What alarms in vain is quieted at the server, and nothing is ever silent in vain.

use jiff::{SignedDuration, Timestamp};
use model::span::show_span;

use crate::judge::{AHEAD_MAX, Alarm, Fault};

/// How long the end of a backup may take to come where nobody says it.
const LAG_USUAL: SignedDuration = SignedDuration::from_mins(15);
/// Gaps that are named in one alarm.
const NAMED_MAX: usize = 3;

/// What is promised of it.
#[derive(Clone, Debug)]
pub struct ExpectedWal {
    /// Of what, such as `acme/main/wal`.
    pub name: String,
    /// Whether there has to be some.
    pub is_promised: bool,
    /// How long ago the newest of it may have been stored.
    pub max_lag: Option<SignedDuration>,
    /// How old the newest moment may be that the cluster can come back to.
    pub rpo: Option<SignedDuration>,
}

/// What a repository shows of it, beside a newest base backup.
#[derive(Clone, Debug)]
pub struct SeenWal {
    /// Id of that base backup.
    pub base: String,
    /// When that was made.
    pub base_at: Timestamp,
    /// Whether the log goes on from it.
    pub is_reached: bool,
    /// Whether the log ends before that backup did, so that what it needs may still come.
    pub is_behind: bool,
    /// When the end of the log was stored.
    pub newest: Option<Timestamp>,
    /// The newest moment that the cluster can come back to.
    pub restorable: Timestamp,
    /// What is missing and no base backup does without, such as `X to Y`.
    pub gaps: Vec<String>,
    /// Timelines whose beginning nobody tells.
    pub lost_timelines: Vec<u32>,
}

/// What is wrong at `now`.
pub fn judge_wal(expected: &ExpectedWal, seen: &SeenWal, now: Timestamp) -> Vec<Alarm> {
    let faults = [
        (Fault::Gap, gap(seen)),
        (Fault::Missing, missing(expected, seen, now)),
        (Fault::Future, future(seen, now)),
        (Fault::Late, late(expected, seen, now)),
    ];
    let alarm = |(fault, words): (Fault, Option<String>)| {
        words.map(|words| Alarm { name: expected.name.clone(), fault, words })
    };
    faults.into_iter().filter_map(alarm).collect()
}

fn gap(seen: &SeenWal) -> Option<String> {
    let mut words: Vec<String> =
        seen.gaps.iter().take(NAMED_MAX).map(|gap| format!("WAL is missing: {gap}")).collect();
    if seen.gaps.len() > NAMED_MAX {
        words.push(format!("and {} gaps more", seen.gaps.len() - NAMED_MAX));
    }
    words.extend(seen.lost_timelines.iter().map(|timeline| {
        format!("there is WAL of timeline {timeline} and not its history, {timeline:08X}.history")
    }));
    (!words.is_empty()).then(|| {
        let next = "no recovery goes past it: take a base backup now, which will be a full one";
        format!("{}; {next}", words.join("; "))
    })
}

/// Where a gap says why, that is enough.
fn missing(expected: &ExpectedWal, seen: &SeenWal, now: Timestamp) -> Option<String> {
    let Some(newest) = seen.newest else {
        return expected.is_promised.then(|| {
            "no WAL of this cluster is archived here: it comes back as a base backup has it, and to no later time"
                .to_owned()
        });
    };
    // Where archiving was given up before that backup and nobody promises it, nothing is missed.
    let is_missed = expected.is_promised || newest >= seen.base_at;
    // A standby's backup ends in a segment that its primary has not finished.
    let may_come =
        seen.is_behind && now.duration_since(seen.base_at) <= expected.max_lag.unwrap_or(LAG_USUAL);
    let is_broken =
        is_missed && !may_come && !seen.is_reached && seen.gaps.is_empty() && seen.lost_timelines.is_empty();
    is_broken.then(|| {
        format!(
            "the archived WAL does not go on from the newest base backup, {}: it comes back as it is, and to no later time",
            seen.base
        )
    })
}

fn future(seen: &SeenWal, now: Timestamp) -> Option<String> {
    let newest = seen.newest.filter(|newest| newest.duration_since(now) > AHEAD_MAX)?;
    Some(format!(
        "archived WAL bears the time {newest:.0}, which has not come yet: nobody can say whether it is late"
    ))
}

fn late(expected: &ExpectedWal, seen: &SeenWal, now: Timestamp) -> Option<String> {
    let beyond =
        |time: Timestamp, max: Option<SignedDuration>| max.filter(|max| now.duration_since(time) > *max);
    let lag = seen.newest.and_then(|newest| Some((newest, beyond(newest, expected.max_lag)?)));
    let mut words: Vec<_> = lag
        .map(|(newest, max)| {
            format!(
                "the newest archived WAL came on {newest:.0}, longer ago than max_lag, {}",
                show_span(max)
            )
        })
        .into_iter()
        .collect();
    if let Some(rpo) = beyond(seen.restorable, expected.rpo) {
        words.push(format!(
            "the newest moment that it can come back to is {:.0}, longer ago than the rpo, {}",
            seen.restorable,
            show_span(rpo)
        ));
    }
    (!words.is_empty()).then(|| {
        let next = "look at the server's archiver (`mainstay doctor`); one that is idle archives nothing: it needs \
                    archive_timeout below that, and something that writes now and then";
        format!("{}; {next}", words.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1_000_000 + minute)
    }

    /// A base backup of minute 0, and WAL up to minute 60.
    fn seen() -> SeenWal {
        SeenWal {
            base: "acme-main-1".to_owned(),
            base_at: at(0),
            is_reached: true,
            is_behind: false,
            newest: Some(at(60)),
            restorable: at(60),
            gaps: vec![],
            lost_timelines: vec![],
        }
    }

    fn promise(max_lag: Option<i64>, rpo: Option<i64>) -> ExpectedWal {
        ExpectedWal {
            name: "acme/main/wal".to_owned(),
            is_promised: max_lag.is_some(),
            max_lag: max_lag.map(SignedDuration::from_mins),
            rpo: rpo.map(SignedDuration::from_mins),
        }
    }

    fn faults(expected: &ExpectedWal, seen: &SeenWal, minute: i64) -> Vec<Fault> {
        judge_wal(expected, seen, at(minute)).into_iter().map(|alarm| alarm.fault).collect()
    }

    #[test]
    fn pitfall_10_a_log_that_stands_still_is_late_whatever_the_server_says() {
        assert_eq!(faults(&promise(Some(5), Some(10)), &seen(), 65), []);
        assert_eq!(faults(&promise(Some(5), Some(10)), &seen(), 66), [Fault::Late]);
        let words = judge_wal(&promise(Some(5), Some(10)), &seen(), at(71)).remove(0).words;
        for part in ["longer ago than max_lag, 5m", "longer ago than the rpo, 10m", "archive_timeout"] {
            assert!(words.contains(part), "{words}");
        }
        // What comes in and reaches nothing keeps no promise.
        let stuck = SeenWal { restorable: at(20), ..seen() };
        assert_eq!(faults(&promise(Some(5), Some(30)), &stuck, 62), [Fault::Late]);
        // Without a promise nobody knows how often something should come.
        assert_eq!(faults(&promise(None, None), &seen(), 100_000), []);
        // A time that has not come yet hides nothing.
        let future = SeenWal { newest: Some(at(600)), ..seen() };
        assert_eq!(faults(&promise(Some(5), None), &future, 61), [Fault::Future]);
    }

    #[test]
    fn pitfall_09_a_gap_and_a_timeline_without_a_beginning_alarm_though_nothing_is_promised() {
        let gaps =
            SeenWal { gaps: ["a to b", "c to d", "e to f", "g to h"].map(str::to_owned).to_vec(), ..seen() };
        let alarms = judge_wal(&promise(None, None), &gaps, at(61));
        assert_eq!((alarms.len(), alarms[0].fault.clone()), (1, Fault::Gap));
        assert!(
            alarms[0].words.contains("WAL is missing: a to b; ")
                && alarms[0].words.contains("and 1 gaps more")
        );
        let lost = SeenWal { lost_timelines: vec![18], is_reached: false, ..seen() };
        let alarms = judge_wal(&promise(Some(5), None), &lost, at(61));
        assert!(alarms.len() == 1 && alarms[0].words.contains("00000012.history"), "{alarms:?}");
    }

    #[test]
    fn wal_that_is_not_there_or_leads_nowhere_is_missed_where_somebody_counts_on_it() {
        let none = SeenWal { newest: None, restorable: at(0), is_reached: false, ..seen() };
        assert_eq!(faults(&promise(None, None), &none, 61), []);
        assert_eq!(faults(&promise(Some(5), None), &none, 61), [Fault::Missing]);
        assert_eq!(faults(&promise(None, Some(60)), &none, 61), [Fault::Late]);
        let elsewhere = SeenWal { is_reached: false, ..seen() };
        assert_eq!(faults(&promise(None, None), &elsewhere, 61), [Fault::Missing]);
        // What ends a little before the backup did may still come.
        let behind = SeenWal { is_behind: true, newest: Some(at(1)), ..elsewhere.clone() };
        assert_eq!(faults(&promise(None, None), &behind, 15), []);
        assert_eq!(faults(&promise(None, None), &behind, 16), [Fault::Missing]);
        assert_eq!(faults(&promise(Some(20), None), &behind, 16), []);
        // Given up before the backup was made.
        let given_up = SeenWal { newest: Some(at(-60)), ..elsewhere };
        assert_eq!(faults(&promise(None, None), &given_up, 61), []);
        assert_eq!(faults(&promise(Some(600), None), &given_up, 61), [Fault::Missing]);
    }
}
