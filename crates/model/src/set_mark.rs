//! What the label of a backup says where it is one of a set: several sources that were backed up together.
//!
//! Form: `set=NAME/TIME/COUNT`, such as `set=portal/20261130T020000Z/3`: one run of a set is named by its time, and has so many
//! members. A member that is several backups, as all databases of a server are, stands behind it with their number:
//! `set=portal/20261130T020000Z/3/all/5`. Invariant: from the labels of a repository alone it can be told whether a run of a set is
//! complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::backup::BackupRecord;
use crate::name::SourceName;

/// How such a label begins.
const START: &str = "set=";
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// Of which run of which set a backup is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetMark {
    /// The set.
    pub name: SourceName,
    /// The run, in whole seconds.
    pub run: Timestamp,
    /// Members that it should have.
    pub members: usize,
    /// Of which member it is, where that one is several backups.
    pub part: Option<Part>,
}

/// One of several backups that are one member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The member.
    pub member: SourceName,
    /// Backups that it should have.
    pub of: usize,
}

/// Text that is no such label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this label names no set")]
pub struct NoSet;

impl SetMark {
    /// That of a backup, if it is one of a set.
    pub fn of(record: &BackupRecord) -> Option<Self> {
        record.label.parse().ok()
    }

    /// The mark of each of the `of` backups that are the member `member`.
    #[must_use]
    pub fn part_of(&self, member: SourceName, of: usize) -> Self {
        Self { part: Some(Part { member, of }), ..self.clone() }
    }

    /// The run as it stands in names.
    pub fn run_name(&self) -> String {
        self.run.strftime(TIME).to_string()
    }
}

impl fmt::Display for SetMark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{START}{}/{}/{}", self.name, self.run_name(), self.members)?;
        self.part.iter().try_for_each(|part| write!(out, "/{}/{}", part.member, part.of))
    }
}

impl FromStr for SetMark {
    type Err = NoSet;

    fn from_str(text: &str) -> Result<Self, NoSet> {
        let mut parts = text.strip_prefix(START).ok_or(NoSet)?.split('/');
        let mut next = || parts.next().ok_or(NoSet);
        let (name, run, members) = (next()?, next()?, next()?);
        let part = match parts.next() {
            None => None,
            Some(member) => Some(Part {
                member: member.parse().map_err(|_| NoSet)?,
                of: parts.next().ok_or(NoSet)?.parse().map_err(|_| NoSet)?,
            }),
        };
        let run =
            DateTime::strptime(TIME, run).and_then(|time| time.to_zoned(TimeZone::UTC)).map_err(|_| NoSet)?;
        let mark = Self {
            name: name.parse().map_err(|_| NoSet)?,
            run: run.timestamp(),
            members: members.parse().map_err(|_| NoSet)?,
            part,
        };
        if parts.next().is_some() { Err(NoSet) } else { Ok(mark) }
    }
}

/// One run of a set, as far as it is there.
#[derive(Clone, Debug)]
pub struct SetRun<'a> {
    /// Which.
    pub mark: SetMark,
    /// Its backups.
    pub records: Vec<&'a BackupRecord>,
}

/// What there is of one member in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Good backups.
    pub good: usize,
    /// Backups that there should be.
    pub of: usize,
}

impl Member {
    /// Whether none of them is missing.
    pub fn is_whole(self) -> bool {
        self.good >= self.of
    }
}

impl<'a> SetRun<'a> {
    /// One backup of each: the newest good one, or else the newest. A run that was completed later has some of them twice.
    pub fn chosen(&self) -> Vec<&'a BackupRecord> {
        let mut chosen: BTreeMap<(SourceName, &SourceName), &'a BackupRecord> = BTreeMap::new();
        let worth = |record: &BackupRecord| (record.is_good(), record.created_at);
        for record in self.records.iter().copied() {
            let part = SetMark::of(record).and_then(|mark| mark.part);
            let member = part.map_or_else(|| record.source.clone(), |part| part.member);
            let known = chosen.entry((member, &record.source)).or_insert(record);
            if worth(record) > worth(known) {
                *known = record;
            }
        }
        chosen.into_values().collect()
    }

    /// What there is of each member of which there is anything, by their names.
    pub fn found(&self) -> BTreeMap<SourceName, Member> {
        let mut found: BTreeMap<SourceName, (BTreeSet<&SourceName>, usize)> = BTreeMap::new();
        for record in &self.records {
            let part = SetMark::of(record).and_then(|mark| mark.part);
            let (member, of) =
                part.map_or_else(|| (record.source.clone(), 1), |part| (part.member, part.of.max(1)));
            let entry = found.entry(member).or_default();
            entry.1 = entry.1.max(of);
            if record.is_good() {
                entry.0.insert(&record.source);
            }
        }
        found.into_iter().map(|(member, (good, of))| (member, Member { good: good.len(), of })).collect()
    }

    /// Members without good backups: as many as the label says, less those of which none is missing.
    pub fn missing(&self) -> usize {
        let whole = self.found().values().filter(|member| member.is_whole()).count();
        self.mark.members.saturating_sub(whole)
    }
}

/// The runs of the set `name` of the tenant of `records`, the newest first.
pub fn runs<'a>(
    records: impl IntoIterator<Item = &'a BackupRecord>,
    tenant: &str,
    name: &str,
) -> Vec<SetRun<'a>> {
    let mut runs = all_runs(records.into_iter().filter(|record| record.tenant.as_str() == tenant));
    runs.retain(|run| run.mark.name.as_str() == name);
    runs
}

/// The runs of every set of every tenant, the newest first.
pub fn all_runs<'a>(records: impl IntoIterator<Item = &'a BackupRecord>) -> Vec<SetRun<'a>> {
    let mut runs: BTreeMap<_, SetRun<'a>> = BTreeMap::new();
    for record in records {
        let Some(mark) = SetMark::of(record) else { continue };
        let mark = SetMark { part: None, ..mark };
        let key = (std::cmp::Reverse(mark.run), record.tenant.clone(), mark.name.clone());
        runs.entry(key).or_insert_with(|| SetRun { mark, records: vec![] }).records.push(record);
    }
    runs.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_of_which_run_of_which_set_a_backup_is() {
        let mark: SetMark = "set=portal/20261130T020000Z/3".parse().unwrap();
        assert_eq!((mark.name.as_str(), mark.members), ("portal", 3));
        assert_eq!(mark.run, "2026-11-30T02:00:00Z".parse().unwrap());
        assert_eq!(mark.to_string(), "set=portal/20261130T020000Z/3");
        let part = mark.part_of("all".parse().unwrap(), 5);
        assert_eq!(part.to_string(), "set=portal/20261130T020000Z/3/all/5");
        assert_eq!("set=portal/20261130T020000Z/3/all/5".parse(), Ok(part));
        for other in [
            "",
            "portal",
            "set=",
            "set=portal/3",
            "set=portal/2026/3",
            "set=a/20261130T020000Z/3/4",
            "set=a/20261130T020000Z/3/all/many",
            "set=a/20261130T020000Z/3/all/5/6",
            "set=-a/20261130T020000Z/3",
        ] {
            assert_eq!(other.parse::<SetMark>(), Err(NoSet), "{other}");
        }
    }

    fn record(source: &str, label: &str) -> BackupRecord {
        let json = serde_json::json!({
            "id": format!("acme-{source}-20261130T020000Z"), "tenant": "acme", "source": source, "kind": "dump",
            "database": source, "createdAt": "2026-11-30T02:00:00Z", "sizeBytes": "1", "storedBytes": "1", "sha256": "",
            "destination": "", "location": "", "engine": "postgres", "snapshot": "", "lastVerification": null,
            "relationCount": "0", "startLsn": "", "stopLsn": "", "timeline": "", "label": label, "hold": false,
            "incomplete": false,
        });
        serde_json::from_value(json).unwrap()
    }

    /// Another machine completes a run: what was there is taken once more, and counts once.
    #[test]
    fn of_a_run_that_was_completed_each_backup_is_chosen_once() {
        let (mark, of_all) = ("set=portal/20261130T020000Z/3", "set=portal/20261130T020000Z/3/all/1");
        let at = |source: &str, label: &str, time: &str, incomplete: bool| {
            let mut record = record(source, label);
            record.id = format!("acme-{source}-{time}").parse().unwrap();
            record.created_at = format!("2026-11-30T02:{time}:00Z").parse().unwrap();
            record.incomplete = incomplete;
            record
        };
        let records = [
            at("web", mark, "10", false),
            at("web", mark, "05", false),
            at("keys", mark, "05", false),
            at("keys", mark, "10", true),
            at("bad", mark, "05", true),
            at("bad", mark, "10", true),
            at("web", of_all, "05", false),
        ];
        let runs = runs(&records, "acme", "portal");
        let mut ids: Vec<_> = runs[0].chosen().iter().map(|record| record.id.to_string()).collect();
        ids.sort();
        assert_eq!(ids, ["acme-bad-10", "acme-keys-05", "acme-web-05", "acme-web-10"]);
    }

    /// Neither a database that came twice nor one that is not good stands for another.
    #[test]
    fn a_member_of_several_backups_is_there_when_all_of_them_are() {
        let of_all = "set=portal/20261130T020000Z/2/all/3";
        let mut records = vec![record("keys", "set=portal/20261130T020000Z/2"), record("app", of_all)];
        records.push(record("app", of_all));
        records.push(record("shop", of_all));
        let run = |records: &[BackupRecord]| {
            let runs = runs(records, "acme", "portal");
            assert_eq!(runs.len(), 1);
            (runs[0].missing(), runs[0].found()[&"all".parse().unwrap()])
        };
        assert_eq!(run(&records), (1, Member { good: 2, of: 3 }));
        records.push(record("wiki", of_all));
        assert_eq!(run(&records), (0, Member { good: 3, of: 3 }));
        records[3].incomplete = true;
        assert_eq!(run(&records), (1, Member { good: 2, of: 3 }));
        assert!(runs(&records, "beta", "portal").is_empty());
    }
}
