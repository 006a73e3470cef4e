//! Copy archived WAL from one repository into another, whose key and store may be different.
//!
//! Each file is read whole, compared with its hash, and archived in the other repository as `wal push` does it: never over
//! something else. Timelines go one after the other with their history first, so that what is there when a copy is cut short
//! is the beginning of a log. Who archives a timeline goes before its files.
//!
//! Form: `x/wal-copy/<repository that it came from>/<system id>/<n, 8 digits>`, for some files each, with the lengths of their
//! objects here and there. Invariant: a file is named there once it was archived, and, where that is said, read back and
//! compared. So what is done costs no further read; and what its repository has pruned since is no gap that a copy fills.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use jiff::Timestamp;
use model::backup::{BackupRecord, decimal};
use model::cancel::CancelToken;
use model::lsn::{SystemId, Timeline};
use model::progress::Progress;
use model::wal_name::WalName;
use repo::wal_object::{PIECE_LEN, StoredWal};
use repo::{Repository, threads};
use serde::Serialize;

use crate::archive_wal::{Archived, LocalWal, archive_content, verify_same};
use crate::error::{EngineError, Result};
use crate::expire_wal::{Need, Needs, all_needs, needs_of_records, plan_expire};
use crate::fetch_wal::load_exactly;
use crate::wal_error::WalError;
use crate::wal_owner::carry_over;

/// Files at one time at most: each is in memory up to three times.
const AT_ONCE_MAX: usize = 4;
/// Bytes of files at one time; of longer ones one.
const AT_ONCE_BYTES_MAX: u64 = 64 << 20;
/// Files behind which is noted that they are done: what a copy that is cut short compares again.
const ROUND_FILES: usize = 64;

/// From where to where.
pub struct WalRoad<'a> {
    /// What is copied.
    pub from: &'a Repository,
    /// Where it goes.
    pub to: &'a Repository,
    /// Each file is read back and compared; and what was there and is gone comes again.
    pub is_mirror: bool,
    /// How far it is.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub cancel: &'a CancelToken,
}

/// Which WAL is meant.
pub enum Which {
    /// All there is.
    All,
    /// Of the clusters of these base backups, what one of them needs, or leads to.
    Of(Needs),
    /// The same, but for what is there under its name already, which is not read.
    Lacking(Needs),
}

impl Which {
    /// What leads on from these base backups of `from`, and from those of their clusters that `to` has.
    ///
    /// # Errors
    /// What the stores say.
    pub fn behind(from: &Repository, to: &Repository, records: &[BackupRecord]) -> Result<Self> {
        let mut needs = needs_of_records(from, records)?;
        let theirs = if needs.is_empty() { needs.clone() } else { all_needs(to)? };
        for (system_id, there) in theirs {
            needs.entry(system_id).and_modify(|needs| needs.extend(there));
        }
        Ok(Self::Of(needs))
    }
}

/// What would be copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalPlan {
    /// Files that the other repository lacks.
    pub files: usize,
    /// Their stored bytes.
    #[serde(with = "decimal")]
    pub bytes: u64,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalReport {
    /// Files that are archived there now.
    pub copied: usize,
    /// Their bytes as stored there.
    #[serde(with = "decimal")]
    pub stored_bytes: u64,
    /// Files that were there, with the same bytes.
    pub skipped: usize,
    /// Files that were read there now and compared.
    pub compared: usize,
    /// Files that were copied once and are gone there since; they stay so.
    pub gone: usize,
    /// Files that are damaged, here or there.
    pub damage: Vec<String>,
    /// What must not go there: other bytes under one name, or two owners of one timeline.
    pub refused: Vec<String>,
}

impl WalReport {
    /// Take what another copy did after this one into account; what is wrong is what it says.
    pub(crate) fn add(&mut self, later: Self) {
        let Self { copied, stored_bytes, skipped, compared, gone, damage, refused } = later;
        self.copied += copied;
        self.stored_bytes += stored_bytes;
        self.compared += compared;
        (self.skipped, self.gone, self.damage, self.refused) = (skipped, gone, damage, refused);
    }
}

mod notes;

use notes::NotedFile;

/// What is to be done of one cluster.
struct Survey {
    system_id: SystemId,
    there: HashMap<WalName, u64>,
    open: BTreeMap<Timeline, Vec<StoredWal>>,
    skipped: usize,
    gone: usize,
}

/// What became of a file.
enum Carried {
    Stored(u64),
    /// It was there, in so many bytes where that was listed.
    Same(Option<u64>),
    /// It was pruned meanwhile.
    Gone,
    Damaged(String),
    Refused(String),
}

impl WalRoad<'_> {
    /// Bring what is lacking behind the base backups that the other repository `had` before this run, and behind those that
    /// `come`, which are here. A place that gets WAL by copies gets all that follows its oldest base backup, but for what it has
    /// pruned since; one that gets it from somebody else, what follows the newest base backup that it had: what it has pruned by
    /// a policy of its own does not come back.
    ///
    /// Before the base backups themselves are copied: whoever is cut short here does not look afterwards as if it were done.
    ///
    /// # Errors
    /// As [`WalRoad::copy`].
    pub fn bring(&self, had: &[BackupRecord], come: &[BackupRecord]) -> Result<WalReport> {
        let mut needs = needs_of_records(self.from, come)?;
        let newest = had.iter().max_by_key(|record| record.created_at).cloned();
        let newest = needs_of_records(self.to, newest.as_slice())?;
        for (system_id, of_all) in needs_of_records(self.to, had)? {
            let of_newest = newest.get(&system_id).cloned().unwrap_or_default();
            let is_filled = of_newest.is_empty() || self.is_filled_by_copies(SystemId(system_id))?;
            needs.entry(system_id).or_default().extend(if is_filled { of_all } else { of_newest });
        }
        self.copy(&Which::Lacking(needs))
    }

    /// Whether most of what the other repository has of a cluster was copied from here.
    fn is_filled_by_copies(&self, system_id: SystemId) -> Result<bool> {
        let (there, noted) = (self.to.list_wal(system_id, None)?, self.noted(system_id)?);
        let copied = there.iter().filter(|one| noted.contains_key(&one.file.name.to_string())).count();
        Ok(copied * 2 > there.len())
    }

    /// What the other repository lacks. Changes nothing.
    ///
    /// # Errors
    /// What the stores say.
    pub fn plan(&self, which: &Which) -> Result<WalPlan> {
        let mut plan = WalPlan::default();
        for survey in self.survey(which)? {
            let lacks = |one: &&StoredWal| !survey.there.contains_key(&one.file.name);
            for one in survey.open.values().flatten().filter(lacks) {
                plan.files += 1;
                plan.bytes += one.size;
            }
        }
        Ok(plan)
    }

    /// Copy it. What is damaged, or must not go there, is in the report and hides nothing else.
    ///
    /// # Errors
    /// What the stores say; [`EngineError::Retired`] where the other repository was given up.
    pub fn copy(&self, which: &Which) -> Result<WalReport> {
        let surveys = self.survey(which)?;
        let open = surveys.iter().flat_map(|survey| survey.open.values().flatten());
        self.progress.begin("copying WAL", open.map(|one| one.size).sum());
        let mut report = WalReport::default();
        for survey in &surveys {
            report.skipped += survey.skipped;
            report.gone += survey.gone;
            for (timeline, files) in &survey.open {
                match carry_over(self.from, self.to, survey.system_id, *timeline) {
                    Ok(()) => {}
                    Err(EngineError::Wal(error)) => {
                        report.refused.push(error.to_string());
                        continue;
                    }
                    Err(error) => return Err(error),
                }
                for round in files.chunks(ROUND_FILES) {
                    self.carry_round(survey, round, &mut report)?;
                }
            }
        }
        Ok(report)
    }

    fn survey(&self, which: &Which) -> Result<Vec<Survey>> {
        let clusters = match which {
            Which::All => self.from.list_wal_clusters()?,
            Which::Of(needs) | Which::Lacking(needs) => {
                needs.keys().map(|number| SystemId(*number)).collect()
            }
        };
        clusters.into_iter().map(|system_id| self.survey_cluster(system_id, which)).collect()
    }

    fn survey_cluster(&self, system_id: SystemId, which: &Which) -> Result<Survey> {
        let mut stored = self.from.list_wal(system_id, None)?;
        // What prune may have taken there: nothing that the newest base backup leads to, and nothing that one is made of.
        let mut prunable = HashSet::new();
        if let Which::Of(needs) | Which::Lacking(needs) = which {
            let needs = needs.get(&system_id.0).map_or(&[][..], Vec::as_slice);
            let newest = needs.iter().filter_map(|need| need.position).map(|position| position.stop).max();
            let leads_on = |need: &Need| need.position.map(|position| position.stop) == newest;
            let strict: Vec<_> =
                needs.iter().map(|need| Need { leads_on: leads_on(need), ..*need }).collect();
            let may_be_gone = plan_expire(&stored, &strict, Timestamp::MAX);
            prunable.extend(may_be_gone.into_iter().map(|one| one.file.name.clone()));
            let needless = plan_expire(&stored, needs, Timestamp::MAX);
            let needless: HashSet<_> = needless.into_iter().map(|one| one.file.name.clone()).collect();
            stored.retain(|one| !needless.contains(&one.file.name));
        }
        let there = self.to.list_wal(system_id, None)?;
        let there: HashMap<_, _> = there.into_iter().map(|one| (one.file.name, one.size)).collect();
        let noted = self.noted(system_id)?;
        let mut survey = Survey { system_id, there, open: BTreeMap::new(), skipped: 0, gone: 0 };
        for one in stored {
            if self.is_mirror {
                // Whose it is is looked at for each timeline, also where no file is new.
                survey.open.entry(one.file.name.timeline()).or_default();
            }
            let noted = noted.get(&one.file.name.to_string()).filter(|(file, _)| file.from == one.size);
            match (noted, survey.there.get(&one.file.name)) {
                (_, Some(_)) if matches!(which, Which::Lacking(_)) => survey.skipped += 1,
                (Some((file, is_compared)), Some(size))
                    if file.to == *size && (*is_compared || !self.is_mirror) =>
                {
                    survey.skipped += 1;
                }
                (Some(_), None) if !self.is_mirror && prunable.contains(&one.file.name) => survey.gone += 1,
                _ => survey.open.entry(one.file.name.timeline()).or_default().push(one),
            }
        }
        for files in survey.open.values_mut() {
            files.sort_by_key(|one| (!matches!(one.file.name, WalName::History(_)), one.file.name.clone()));
        }
        Ok(survey)
    }

    /// Some files, and a note of those that are done, also where another one ends the copy.
    fn carry_round(&self, survey: &Survey, round: &[StoredWal], report: &mut WalReport) -> Result<()> {
        let mut done = vec![];
        let outcome = self.carry_files(survey, round, report, &mut done);
        self.note(survey.system_id, done)?;
        outcome
    }

    fn carry_files(
        &self,
        survey: &Survey,
        mut rest: &[StoredWal],
        report: &mut WalReport,
        done: &mut Vec<NotedFile>,
    ) -> Result<()> {
        // Of the first one nobody knows how long its file is.
        let mut longest = AT_ONCE_BYTES_MAX;
        while !rest.is_empty() {
            self.cancel.check()?;
            let at_once = usize::try_from(AT_ONCE_BYTES_MAX / longest).unwrap_or(AT_ONCE_MAX);
            let (now, later) = rest.split_at(at_once.clamp(1, AT_ONCE_MAX).min(rest.len()));
            let carried =
                threads::map(now, |one| self.carry(one, survey.there.get(&one.file.name).copied()))?;
            (rest, longest) = (later, PIECE_LEN as u64);
            for (one, carried) in now.iter().zip(carried) {
                let (carried, len) = carried?;
                longest = longest.max(len);
                let stored = match carried {
                    Carried::Stored(bytes) => {
                        report.copied += 1;
                        report.stored_bytes += bytes;
                        report.compared += usize::from(self.is_mirror);
                        Some(bytes)
                    }
                    Carried::Same(bytes) => {
                        report.skipped += 1;
                        report.compared += 1;
                        bytes
                    }
                    Carried::Gone => None,
                    Carried::Damaged(words) => {
                        report.damage.push(words);
                        None
                    }
                    Carried::Refused(words) => {
                        report.refused.push(words);
                        None
                    }
                };
                let noted = |to| NotedFile { name: one.file.name.to_string(), from: one.size, to };
                done.extend(stored.map(noted));
                self.progress.advance(one.size);
                self.progress.item();
            }
        }
        Ok(())
    }

    /// One file, and how long it is.
    fn carry(&self, one: &StoredWal, there: Option<u64>) -> Result<(Carried, u64)> {
        let plain = match load_exactly(self.from, &one.file, 1) {
            Ok(Some(plain)) => plain,
            Ok(None) => return Ok((Carried::Gone, 0)),
            Err(error) if error.is_damage() => return Ok((Carried::Damaged(said(self.from, &error)), 0)),
            Err(error) => return Err(error),
        };
        // What it says of itself is looked at once more: it may be archived there for the first time.
        let wal = LocalWal { path: PathBuf::from(one.file.object().to_string()), file: one.file.clone() };
        let same = || verify_same(self.to, &one.file, &plain, 1);
        let archived = match there {
            Some(bytes) => same().map(|()| Carried::Same(Some(bytes))),
            None => match archive_content(self.to, &wal, &plain, 1) {
                Ok(Archived::Stored(bytes)) if self.is_mirror => same().map(|()| Carried::Stored(bytes)),
                Ok(Archived::Stored(bytes)) => Ok(Carried::Stored(bytes)),
                Ok(Archived::Same) => Ok(Carried::Same(None)),
                Err(error) => Err(error),
            },
        };
        let carried = match archived {
            Ok(carried) => carried,
            Err(EngineError::Wal(error @ WalError::Differs { .. })) => Carried::Refused(error.to_string()),
            Err(error @ EngineError::Wal(_)) => Carried::Damaged(said(self.from, &error)),
            Err(error) if error.is_damage() => Carried::Damaged(said(self.to, &error)),
            Err(error) => return Err(error),
        };
        Ok((carried, plain.len() as u64))
    }
}

fn said(repository: &Repository, error: &EngineError) -> String {
    format!("{}: {error}", repository.store().location())
}
