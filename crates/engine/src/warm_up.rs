//! Before cold packs are read: which of them are needed, asking for them, waiting for them.
//!
//! Trees are at hand, so what a backup needs is known without reading anything cold. Invariant: the state is the
//! store's own; whoever is stopped here asks again, and pays nothing twice.

use std::collections::HashSet;
use std::time::Duration;

use files::relative::RelativePath;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use repo::index::{IdSet, Index};
use repo::reachable::{self, Broken};
use repo::repository::{FileKind, Listed};
use repo::{BlobKind, RepoError, Repository, threads};
use store::archive::{Archive, Terms, Warmth};
use store::clock::Clock;

use crate::catalog;
use crate::error::Result;
use crate::stored_tree::{Stored, StoredWalk, TreeSource, locate};

/// Packs that are looked at in one round of waiting: they come in about the order in which they were asked for, and each
/// look is a request.
const LOOKED_AT: usize = 32;
/// Between the first two rounds; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Between two rounds at most: of what takes hours, five minutes are little.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Nobody waits longer than this for a wish to stop.
const SLICE: Duration = Duration::from_millis(200);

/// What is to be read, and how near it is.
#[derive(Clone, Debug, Default)]
pub struct Need {
    /// Packs that can be read.
    pub warm: Vec<Listed>,
    /// Packs that somebody asked for.
    pub warming: Vec<Listed>,
    /// Packs that nobody asked for.
    pub cold: Vec<Listed>,
}

impl Need {
    /// Whether everything can be read.
    pub fn is_warm(&self) -> bool {
        self.warming.is_empty() && self.cold.is_empty()
    }
}

/// Stored bytes of `packs`.
pub fn bytes(packs: &[Listed]) -> u64 {
    packs.iter().map(|pack| pack.size).sum()
}

/// The pieces of files that reading `record` takes; of a directory those of the paths `only`, if there are any. What is
/// damaged is passed over: who reads it names it.
///
/// # Errors
/// Damage to the snapshot itself; [`RepoError::Cancelled`].
pub fn data_of(
    repository: &Repository,
    index: &Index,
    record: &BackupRecord,
    only: &[RelativePath],
    cancel: &CancelToken,
) -> Result<IdSet> {
    let snapshot = catalog::load_snapshot(repository, record)?;
    if only.is_empty() {
        let root = (record.snapshot.unwrap_or_default(), snapshot.tree);
        let (found, _): (_, Vec<Broken>) = reachable::collect(repository, index, &[root], cancel)?;
        return Ok(found.data);
    }
    let mut trees = TreeSource::new(repository, index)?;
    let subject = locate(&mut trees, &snapshot)?;
    let mut walk = StoredWalk::new(subject, only.to_vec());
    let mut found = IdSet::default();
    while let Some(stored) = walk.next(&mut trees) {
        cancel.check().map_err(RepoError::from)?;
        if let Stored::Entry { node, .. } = stored {
            found.extend(node.content.iter().copied());
        }
    }
    Ok(found)
}

/// The packs in which `data` lies, as the store lists them. A blob that no index names is passed over.
///
/// # Errors
/// When the store cannot list.
pub fn packs_of<'a>(
    repository: &Repository,
    index: &Index,
    data: impl IntoIterator<Item = &'a Digest>,
) -> Result<Vec<Listed>> {
    let mut packs = HashSet::new();
    for id in data {
        if let Some(place) = index.find(BlobKind::Data, id)? {
            packs.insert(index.pack_id(place.pack));
        }
    }
    if packs.is_empty() {
        return Ok(vec![]);
    }
    let mut stored = repository.list(FileKind::Pack)?;
    stored.retain(|pack| packs.contains(&pack.id));
    Ok(stored)
}

/// Packs of `from` that a copy of `records` reads: they hold what `to` lacks, or has in packs that are about to go.
///
/// # Errors
/// Damage to an index or a snapshot; what a store says; [`RepoError::Cancelled`].
pub fn packs_to_copy(
    from: &Repository,
    to: &Repository,
    records: &[BackupRecord],
    cancel: &CancelToken,
) -> Result<Vec<Listed>> {
    let (index, there) = (from.load_index()?, to.load_index_for_writing()?);
    let mut missing = IdSet::default();
    for record in records {
        for id in data_of(from, &index, record, &[], cancel)? {
            if !there.has(BlobKind::Data, &id)? {
                missing.insert(id);
            }
        }
    }
    packs_of(from, &index, &missing)
}

/// How near `packs` are: a request for each.
///
/// # Errors
/// What the store says.
pub fn look(archive: &dyn Archive, packs: Vec<Listed>, cancel: &CancelToken) -> Result<Need> {
    let warmth = threads::map_waiting(&packs, |pack| {
        cancel.check().map_err(RepoError::from)?;
        warmth_of(archive, pack)
    })?;
    let mut need = Need::default();
    for (pack, warmth) in packs.into_iter().zip(warmth) {
        match warmth? {
            Warmth::Warm => need.warm.push(pack),
            Warmth::Warming => need.warming.push(pack),
            Warmth::Cold => need.cold.push(pack),
        }
    }
    Ok(need)
}

/// One that is gone is not waited for: who reads it says so.
fn warmth_of(archive: &dyn Archive, pack: &Listed) -> Result<Warmth> {
    match archive.warmth(&FileKind::Pack.object(&pack.id)) {
        Err(error) if error.is_not_found() => Ok(Warmth::Warm),
        warmth => Ok(warmth.map_err(RepoError::from)?),
    }
}

/// Ask for all that is cold.
///
/// # Errors
/// What the store says; what was asked for until then is on its way.
pub fn ask(
    archive: &dyn Archive,
    need: &mut Need,
    terms: &Terms,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    progress.begin("asking for cold packs", 0);
    let asked = threads::map_waiting(&need.cold, |pack| {
        cancel.check().map_err(RepoError::from)?;
        archive.warm_up(&FileKind::Pack.object(&pack.id), terms).map_err(RepoError::from)?;
        progress.item();
        Ok(())
    })?;
    asked.into_iter().collect::<Result<()>>()?;
    need.warming.append(&mut need.cold);
    Ok(())
}

/// Wait until all of `need` is warm.
///
/// # Errors
/// What the store says; [`RepoError::Cancelled`].
pub fn wait(
    archive: &dyn Archive,
    need: &mut Need,
    terms: &Terms,
    clock: &dyn Clock,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<()> {
    let mut pause = PAUSE_FIRST;
    progress.begin("waiting for cold packs", bytes(&need.warming));
    while !need.warming.is_empty() {
        let some = need.warming.split_off(need.warming.len().saturating_sub(LOOKED_AT));
        let mut found = look(archive, some, cancel)?;
        found.warm.iter().for_each(|pack| progress.advance(pack.size));
        let is_waiting = !found.is_warm();
        // Cooled down while we waited for others.
        for pack in &found.cold {
            archive.warm_up(&FileKind::Pack.object(&pack.id), terms).map_err(RepoError::from)?;
        }
        need.warm.append(&mut found.warm);
        need.warming.append(&mut found.warming);
        need.warming.append(&mut found.cold);
        if is_waiting {
            sleep(pause, clock, cancel)?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    Ok(())
}

fn sleep(span: Duration, clock: &dyn Clock, cancel: &CancelToken) -> Result<()> {
    let end = clock.now() + span;
    while clock.now() < end {
        cancel.check().map_err(RepoError::from)?;
        clock.sleep(SLICE.min(end.saturating_sub(clock.now())));
    }
    Ok(cancel.check().map_err(RepoError::from)?)
}
