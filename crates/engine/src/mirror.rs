//! Make one repository have every backup and all archived WAL of another one, compared byte by byte, until the other can be
//! given up.
//!
//! Each step is kept when the next one is cut short: copies that are committed are not made again, and what passed its
//! comparison is not compared again. Giving up comes last, while nobody else works in the old repository, and only when
//! a last look finds no backup that the new one lacks. WAL comes in all the time, and nobody waits for it: once the note
//! stands, nobody is told any more that something is archived there, and what came before it is copied behind it. Where that
//! fails, the note is taken away again.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::name::BackupId;
use model::progress::Progress;
use repo::Repository;
use repo::lease::{Identity, Lease};

use crate::copy::{self, CopyReport};
use crate::copy_wal::{WalPlan, WalReport, WalRoad, Which};
use crate::error::{EngineError, Result};
use crate::{catalog, reading, retired, verify};

/// Looks for what was added meanwhile, before giving up is given up: whoever adds that fast is still at work there.
const LOOKS_MAX: usize = 5;

/// From where to where, and on whose behalf.
pub struct Road<'a> {
    /// What is mirrored.
    pub from: &'a Arc<Repository>,
    /// What has everything in the end.
    pub to: &'a Arc<Repository>,
    /// Who does it.
    pub identity: &'a Identity,
    /// How far it is.
    pub progress: &'a Progress,
    /// Whether to stop.
    pub cancel: &'a CancelToken,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorReport {
    /// Copies.
    pub copied: CopyReport,
    /// Archived WAL.
    pub wal: WalReport,
    /// Backups that were compared now.
    pub verified: usize,
    /// Whether the old repository is given up.
    pub is_retired: bool,
    /// Backups that cannot be read in the old repository.
    pub damage: Vec<String>,
}

impl Road<'_> {
    /// What the new repository lacks: backups, the newest first, and WAL. Changes nothing.
    ///
    /// # Errors
    /// What the stores say.
    pub fn plan(&self) -> Result<(Vec<BackupRecord>, WalPlan)> {
        Ok((self.missing()?, self.wal_road().plan(&Which::All)?))
    }

    fn missing(&self) -> Result<Vec<BackupRecord>> {
        copy::missing(self.from, self.to, catalog::list_readable(self.from)?.records)
    }

    fn wal_road(&self) -> WalRoad<'_> {
        let Self { from, to, progress, cancel, .. } = *self;
        WalRoad { from, to, is_mirror: true, progress, cancel }
    }

    /// Copy what is missing and compare it; with `retires`, give the old repository up.
    ///
    /// # Errors
    /// As [`copy::copy`], [`WalRoad::copy`] and [`verify::verify`]; [`repo::RepoError::InUse`] while somebody works in a
    /// repository that is to be given up, and [`EngineError::Refused`] where it has what cannot be read, or cannot go there.
    pub fn mirror(&self, retires: bool, now: Timestamp) -> Result<MirrorReport> {
        let mut report = MirrorReport::default();
        retired::clear(self.to)?;
        for _ in 0..LOOKS_MAX {
            let listing = catalog::list_readable(self.from)?;
            let copied =
                copy::copy(self.from, self.to, &listing.records, self.identity, self.progress, self.cancel)?;
            report.copied.add_report(copied);
            report.verified += self.verify_copies(&listing.records)?;
            report.wal.add(self.wal_road().copy(&Which::All)?);
            report.damage = listing.damage.iter().map(ToString::to_string).collect();
            if !retires {
                return Ok(report);
            }
            if let Some(damage) = report.damage.first() {
                return Err(kept(damage));
            }
            refuse_incomplete(&report.wal)?;
            if self.retire(&mut report, now)? {
                return Ok(MirrorReport { is_retired: true, ..report });
            }
        }
        Err(EngineError::Refused("somebody adds backups faster than they are copied; it is kept".to_owned()))
    }

    /// Compare the copies of these with their hashes, unless that was done.
    fn verify_copies(&self, originals: &[BackupRecord]) -> Result<usize> {
        let ids: HashSet<&BackupId> = originals.iter().map(|record| &record.id).collect();
        let is_open = |record: &BackupRecord| {
            let passed = record.last_verification.as_ref().is_some_and(|last| last.result == "passed");
            ids.contains(&record.id) && !passed
        };
        let mut copies = catalog::list_readable(self.to)?.records;
        copies.retain(is_open);
        if copies.is_empty() {
            return Ok(0);
        }
        let _lease = reading::begin(self.to, "verify", self.identity)?;
        let index = Arc::new(self.to.load_index()?);
        for copy in &copies {
            verify::verify(self.to, &index, copy, self.progress, self.cancel)?;
            catalog::save_verification(self.to, copy, true, Timestamp::now())?;
        }
        Ok(copies.len())
    }

    /// Whether no backup was missing and it is given up. Alone in it: whoever was at work is seen or has ended.
    fn retire(&self, report: &mut MirrorReport, now: Timestamp) -> Result<bool> {
        let lease = Lease::exclusive(self.from, "retire", self.identity)?;
        if !self.missing()?.is_empty() {
            return Ok(false);
        }
        lease.verify_kept()?;
        let is_new = retired::save(self.from, self.to.store().location(), now)?;
        let last = self.copy_last_wal(report);
        if last.is_err() && is_new {
            // Whoever archives goes on there. What cannot be taken away now is what the next mirror begins with.
            retired::clear(self.from).ok();
        }
        last.map(|()| true)
    }

    /// What was archived up to the note: whoever was told so had put it before.
    fn copy_last_wal(&self, report: &mut MirrorReport) -> Result<()> {
        report.wal.add(self.wal_road().copy(&Which::All)?);
        refuse_incomplete(&report.wal)
    }
}

fn refuse_incomplete(wal: &WalReport) -> Result<()> {
    wal.damage.iter().chain(&wal.refused).next().map_or(Ok(()), |words| Err(kept(words)))
}

fn kept(words: &str) -> EngineError {
    EngineError::Refused(format!("not everything is in the new repository, so the old one is kept: {words}"))
}
