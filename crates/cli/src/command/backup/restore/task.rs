//! What the restore of one backup works with, whatever kind it is of.

use std::path::Path;
use std::sync::Arc;

use engine::warm_up::Need;
use files::owner::Owners;
use files::relative::RelativePath;
use model::backup::BackupRecord;
use repo::Repository;
use repo::index::Index;

use super::hooks::Begin;
use crate::arguments::{Global, Restore};
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::warm::Warmer;

/// One backup that is to be restored, and all that this takes.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) global: &'a Global,
    pub(super) repository: &'a Arc<Repository>,
    /// What was named: of a cluster, another one of its source may come nearer to the target.
    pub(super) record: &'a BackupRecord,
    pub(super) order: &'a Restore,
    pub(super) environment: &'a Environment,
    pub(super) face: &'a Face,
    pub(super) begin: &'a Begin<'a>,
}

impl Task<'_> {
    /// Warm up what restoring `only` these paths of `record` takes, or all of it; nothing where only asking was wanted.
    pub(super) fn warm(
        &self,
        index: &Index,
        record: &BackupRecord,
        only: &[RelativePath],
    ) -> Result<Option<Need>> {
        let Self { global, repository, order, environment, face, begin, .. } = self;
        let warmer = Warmer::of(global, &order.warm_up, environment, &begin.watch.cancel, face)?;
        let need = warmer.look(repository, index, record, only)?;
        Ok((order.dry_run || warmer.warm(need.clone())?).then_some(need))
    }

    /// Who owns files, by the names of this machine.
    pub(super) fn owners(&self) -> Result<Arc<Owners>> {
        let owners = Owners::read(Path::new("/etc")).map_err(CliError::io("reading /etc/passwd"))?;
        Ok(Arc::new(if self.order.numeric_owner { owners.by_number() } else { owners }))
    }
}
