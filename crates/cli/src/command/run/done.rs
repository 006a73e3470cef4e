//! What became of a run.

use daemon::hook::HookRun;
use model::backup::BackupRecord;

use crate::error::CliError;

/// A run that is over, with what the commands around it did.
pub(super) struct Ended {
    pub(super) done: Done,
    pub(super) hooks: Vec<HookRun>,
}

/// What became of a run.
pub(super) enum Done {
    /// Backups; in words what is missing of them and their copies, and what failed behind them.
    Made { records: Vec<BackupRecord>, failures: Vec<String>, behind: Vec<String> },
    /// None.
    Failed(CliError),
    /// None, and that is as it should be.
    Skipped(String),
}

impl Done {
    /// In a word, as the history and the commands around a run know it.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Made { records, failures, behind } => match () {
                () if records.is_empty() => "failed",
                () if !failures.is_empty() || records.iter().any(|record| record.incomplete) => "incomplete",
                () if !behind.is_empty() => "partial",
                () => "ok",
            },
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why it is not ok.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Made { failures, behind, .. } => {
                failures.iter().chain(behind).cloned().collect::<Vec<_>>().join("; ")
            }
            Self::Failed(error) => error.message.clone(),
            Self::Skipped(reason) => reason.clone(),
        }
    }

    /// Whether there is a good backup.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.outcome(), "ok" | "partial")
    }

    pub(super) fn backup(&self) -> String {
        match self {
            Self::Made { records, .. } => {
                records.first().map(|record| record.id.to_string()).unwrap_or_default()
            }
            _ => String::new(),
        }
    }
}
