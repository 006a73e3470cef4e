//! What a prune did, or would do.

use model::digest::Digest;
use serde::Serialize;

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// Packs that were marked just now.
    pub marked: usize,
    /// Marked packs that stay for now.
    pub waiting: usize,
    /// Their stored bytes.
    #[serde(with = "model::backup::decimal")]
    pub waiting_bytes: u64,
    /// Packs that are gone.
    pub removed_packs: usize,
    /// Their stored bytes.
    #[serde(with = "model::backup::decimal")]
    pub removed_bytes: u64,
    /// Packs whose needed blobs moved to new packs.
    pub repacked_packs: usize,
    /// Their stored bytes.
    #[serde(with = "model::backup::decimal")]
    pub repacked_bytes: u64,
    /// Stored bytes that are free now.
    #[serde(with = "model::backup::decimal")]
    pub freed_bytes: u64,
    /// Stored bytes that stay.
    #[serde(with = "model::backup::decimal")]
    pub kept_bytes: u64,
    /// Deleted snapshots that cannot come back any more.
    pub buried: usize,
    /// Index files that were written anew, as few.
    pub merged_index_files: usize,
    /// Who keeps the second step from running.
    pub in_use_by: Option<String>,
    /// What to do next, in words.
    pub next_step: String,
    /// The packs that are gone, whether their blobs moved or not.
    #[serde(skip)]
    pub gone_packs: Vec<Digest>,
    /// Whether this machine's clock and the store's are so far apart that nothing was done.
    #[serde(skip)]
    pub is_clock_wrong: bool,
}

impl PruneReport {
    /// Of the packs that went `packs` did so because what was needed of them was stored once more before; how many bytes they
    /// had, and how many that takes.
    pub(super) fn count_moved(&mut self, packs: usize, bytes: u64, stored: u64) {
        self.removed_packs -= packs;
        self.removed_bytes -= bytes;
        self.repacked_packs += packs;
        self.repacked_bytes += bytes;
        self.freed_bytes = self.freed_bytes.saturating_sub(stored);
    }

    /// The same, where `holder` is waited for.
    #[must_use]
    pub fn by(self, holder: String) -> Self {
        let next_step = format!("run prune again when {holder} has finished");
        Self { next_step, in_use_by: Some(holder), ..self }
    }
}
