//! Restore a whole cluster.
//!
//! What is stored is looked at (all of it must be there, and fit together) → the places are looked at, and refused or made
//! → directories and links are made, files collected into windows → the pages of a window are read in the order in which
//! they lie, verified, and written wherever they belong (all cores) → settings and signal → everything is on disk →
//! pg_control, last, and without its checkpoint: whoever removes backup_label has nothing that starts (pitfall 11). Invariant:
//! until that last step nothing starts on what is there, whatever stopped us; so the first damaged piece ends the restore.

mod page_map;
mod links;
mod window;
mod merged;
mod order;
mod selection;
mod sites;
mod original;
mod packs;
mod survey;
mod contents;
mod settle;
mod carry_out;
mod planter;
mod whole;
pub mod reach;

use std::path::Path;
use std::sync::Arc;

use files::exclude::Excludes;
use files::relative::RelativePath;
use files::root::Root;
use files::target::Target;
use files::walk::Walk;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use pg::control_file::CONTROL_FILE;
use repo::Repository;
use repo::index::Index;

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::stored_tree::TreeSource;
use crate::write_back::while_written_back;
use carry_out::{Counts, Restorer};
use merged::Stored;
pub use order::{ClusterOrder, ClusterPlan, ClusterReport, Destination, TablespaceMove};
use planter::Planter;
use selection::Selection;
use survey::Found;
pub(crate) use whole::{Whole, WholeFile, WholeWalk};

/// A restore that was thought through, and not begun.
pub struct Prepared {
    /// What it would do.
    pub plan: ClusterPlan,
    found: Found,
    selection: Selection,
}

/// Look at all of a backup, and at where it would go. Nothing is changed.
///
/// # Errors
/// [`repo::RepoError::MissingBlob`] or damage where not all of it is there, also where a pack is gone;
/// [`EngineError::Unsuitable`] for tablespaces that are not in it.
pub fn prepare(
    repository: &Repository,
    index: &Index,
    record: &BackupRecord,
    order: &ClusterOrder<'_>,
) -> Result<Prepared> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    let mut trees = TreeSource::new(repository, index)?;
    let found = survey::find(repository, index, &mut trees, &snapshot)?;
    let stored = Stored { repository, index, cancel: &order.cancel };
    let selection = survey::select(&found, stored, &mut trees, &order.databases)?;
    let plan = survey::survey(&found, stored, &mut trees, &selection, order)?;
    Ok(Prepared { plan, found, selection })
}

/// The database of a backup that need not be named: the only one that somebody made.
///
/// # Errors
/// Damage; [`EngineError::Unsuitable`] where there are several.
pub fn only_database(
    repository: &Repository,
    index: &Index,
    record: &BackupRecord,
    cancel: &CancelToken,
) -> Result<String> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    let mut trees = TreeSource::new(repository, index)?;
    let found = survey::find(repository, index, &mut trees, &snapshot)?;
    let rows = survey::databases(Stored { repository, index, cancel }, &mut trees, &found.links)?;
    selection::only_made(&rows, found.major)
}

impl Prepared {
    /// Refuse what would overwrite something that was not asked for, or would not fit, or would pull the files away from
    /// under a running server.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub fn verify_places(&self, order: &ClusterOrder<'_>) -> Result<()> {
        verify_places(&self.plan.destinations, &self.plan, order)
    }

    /// Refuse what a server would do when it recovers here: write into the files of the original.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub fn spare_original(&self, order: &ClusterOrder<'_>) -> Result<()> {
        original::refuse_new_tablespaces(&self.found.original, &self.plan, order)
    }
}

/// Restore a cluster as it was prepared.
///
/// # Errors
/// [`EngineError::Refused`] before anything is made; afterwards [`EngineError::LeftBehind`] with what went wrong: a damaged
/// piece, a full disk, the wish to stop.
pub fn restore(
    repository: &Repository,
    index: &Index,
    prepared: &Prepared,
    order: &ClusterOrder<'_>,
) -> Result<ClusterReport> {
    // Time has passed since the plan was shown.
    let mut destinations = sites::plan_destinations(order, &prepared.found.spaces)?;
    for (now, then) in destinations.iter_mut().zip(&prepared.plan.destinations) {
        now.bytes = then.bytes;
    }
    verify_places(&destinations, &prepared.plan, order)?;
    order.progress.begin("restoring", prepared.plan.bytes);
    let written = write_all(repository, index, prepared, &destinations, order);
    let what = || format!("a part of the cluster in {}, which no server starts on", order.place.display());
    written.map_err(|error| error.leaving(what()))
}

fn write_all(
    repository: &Repository,
    index: &Index,
    prepared: &Prepared,
    destinations: &[Destination],
    order: &ClusterOrder<'_>,
) -> Result<ClusterReport> {
    let targets = sites::open(destinations)?;
    let roots = destinations.iter().map(|one| existing(one, order)).collect::<Result<Vec<_>>>()?;
    let control = RelativePath::parse(CONTROL_FILE).map_err(files::error::Error::from)?;
    if destinations[0].is_occupied && targets[0].look_at(&control, &order.owners)?.is_some() {
        targets[0].remove_tree(&control)?;
        targets[0].sync()?;
    }
    let counts = Counts::default();
    let restorer = Restorer { repository, index, order, targets: &targets, roots: &roots, counts: &counts };
    let links = &prepared.found.links;
    let mut planter = Planter::new(restorer, destinations, &prepared.selection, links.len());
    let sync = || Ok(targets.iter().try_for_each(Target::sync)?);
    while_written_back(&counts.bytes_written, sync, || {
        let mut trees = TreeSource::new(repository, index)?;
        let mut walk = links.walk();
        while let Some(met) = walk.next(&mut trees) {
            order.cancel.check()?;
            planter.take(met?)?;
            if planter.window.is_full() {
                restorer.carry_out(std::mem::take(&mut planter.window))?;
            }
        }
        restorer.carry_out(std::mem::take(&mut planter.window))
    })?;
    let control = planter.finish()?;
    targets.iter().try_for_each(Target::sync)?;
    control.write(restorer)?;
    targets[0].sync()?;
    for loss in targets.iter().flat_map(Target::take_losses) {
        (order.tell)(&loss.to_string());
    }
    Ok(counts.report())
}

/// To look at what is there already, where something is.
fn existing(destination: &Destination, order: &ClusterOrder<'_>) -> Result<Option<Arc<Root>>> {
    if !destination.is_occupied {
        return Ok(None);
    }
    let place = &destination.place;
    let real =
        std::fs::canonicalize(place).map_err(EngineError::io(format!("looking for {}", place.display())))?;
    Ok(Some(Walk::open(&real, Excludes::nothing(), Arc::clone(&order.owners))?.root()))
}

fn verify_places(destinations: &[Destination], plan: &ClusterPlan, order: &ClusterOrder<'_>) -> Result<()> {
    refuse_running(&order.place)?;
    sites::verify_destinations(destinations, order.delta)?;
    sites::refuse_zeros(destinations, &plan.left_out, order.delta)
}

/// A server that runs on the files writes them, too.
fn refuse_running(place: &Path) -> Result<()> {
    let text = std::fs::read_to_string(place.join("postmaster.pid")).unwrap_or_default();
    let pid = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
    match pid.filter(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
        Some(pid) => {
            Err(EngineError::Refused(format!("a server runs on {} (process {pid})", place.display())))
        }
        None => Ok(()),
    }
}
