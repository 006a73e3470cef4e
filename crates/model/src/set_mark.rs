//! What the label of a backup says where it is one of a set: several sources that were backed up together.
//!
//! Form: `set=NAME/TIME/COUNT`, such as `set=portal/20261130T020000Z/3`: one run of a set is named by its time, and has so many
//! members. Invariant: from the labels of a repository alone it can be told whether a run of a set is complete.

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

    /// The run as it stands in names.
    pub fn run_name(&self) -> String {
        self.run.strftime(TIME).to_string()
    }
}

impl fmt::Display for SetMark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{START}{}/{}/{}", self.name, self.run_name(), self.members)
    }
}

impl FromStr for SetMark {
    type Err = NoSet;

    fn from_str(text: &str) -> Result<Self, NoSet> {
        let mut parts = text.strip_prefix(START).ok_or(NoSet)?.split('/');
        let mut part = || parts.next().ok_or(NoSet);
        let (name, run, members) = (part()?, part()?, part()?);
        let run =
            DateTime::strptime(TIME, run).and_then(|time| time.to_zoned(TimeZone::UTC)).map_err(|_| NoSet)?;
        let mark = Self {
            name: name.parse().map_err(|_| NoSet)?,
            run: run.timestamp(),
            members: members.parse().map_err(|_| NoSet)?,
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

impl SetRun<'_> {
    /// Members without a good backup: as many as the label says, less those that are good.
    pub fn missing(&self) -> usize {
        let mut good: Vec<_> =
            self.records.iter().filter(|record| !record.incomplete).map(|one| &one.source).collect();
        good.sort();
        good.dedup();
        self.mark.members.saturating_sub(good.len())
    }
}

/// The runs of the set `name` of the tenant of `records`, the newest first.
pub fn runs<'a>(
    records: impl IntoIterator<Item = &'a BackupRecord>,
    tenant: &str,
    name: &str,
) -> Vec<SetRun<'a>> {
    let mut runs: Vec<SetRun<'a>> = vec![];
    for record in records.into_iter().filter(|record| record.tenant.as_str() == tenant) {
        let Some(mark) = SetMark::of(record).filter(|mark| mark.name.as_str() == name) else { continue };
        match runs.iter_mut().find(|known| known.mark.run == mark.run) {
            Some(known) => known.records.push(record),
            None => runs.push(SetRun { mark, records: vec![record] }),
        }
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.mark.run));
    runs
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
        for other in [
            "",
            "portal",
            "set=",
            "set=portal/3",
            "set=portal/2026/3",
            "set=a/20261130T020000Z/3/4",
            "set=-a/20261130T020000Z/3",
        ] {
            assert_eq!(other.parse::<SetMark>(), Err(NoSet), "{other}");
        }
    }
}
