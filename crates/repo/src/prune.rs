//! Deleting what nothing refers to, in two steps, while others write.
//!
//! Step 1 marks packs: who begins to write from then on does not rely on them. A cooling-off time later what is needed of
//! them is stored once more, beside others: that takes long, and only adds. Step 2, alone in the repository and after those
//! who are at work, decides again and carries it out: copies that stay read → new packs → new index files → deleted
//! snapshots buried → old index files removed → packs removed. Invariants: whatever a live snapshot needs, or a
//! deleted one that may come back, stays, and was read if another copy of it went; wherever it is cut short, the
//! repository is sound and a later run goes on.

pub mod report;
pub mod usage;
pub mod plan;
pub mod survey;
pub mod rewrite;
pub mod copies;
pub mod removal;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;

use crate::broken;
use crate::error::{RepoError, Result};
use crate::lease::{FOLDER, Identity, Lease, holder_of};
use crate::marks;
use crate::repository::{FileKind, Repository};
use plan::{Plan, Terms};
use removal::Removal;
pub use report::PruneReport;
use survey::Survey;

/// Cooling-off time unless told otherwise: a long weekend.
pub const COOLING_OFF_HOURS: i64 = 72;
/// How long those at work are waited for unless told otherwise; whoever comes waits as well meanwhile.
pub const WAIT: Duration = Duration::from_secs(10 * 60);
/// Waste that may stay unless told otherwise.
pub const UNUSED_PERCENT_MAX: u8 = 5;
/// How far our clock may be from the store's; beyond it nobody knows which marks are due.
const CLOCKS_APART_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Looks, where each time something goes that was just listed.
const LOOKS_MAX: u32 = 5;
/// Name of prune's lease; there is one at a time.
pub const HOLDER: &str = "prune";
/// Notes that belong to one snapshot, by the first part of their name.
const NOTES_OF_SNAPSHOTS: [&str; 3] = ["record", "hold", "verified"];

/// How to prune.
#[derive(Clone, Copy, Debug)]
pub struct PruneOptions {
    /// How long a mark stands, and a deleted snapshot can come back; zero does both steps at once.
    pub cooling_off: SignedDuration,
    /// Waste that may stay, in percent of the repository.
    pub unused_percent_max: u8,
    /// Only say what would be done; nothing at all is written.
    pub dry_run: bool,
    /// How long those at work are waited for, before packs are removed another time.
    pub wait: Duration,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            cooling_off: SignedDuration::from_hours(COOLING_OFF_HOURS),
            unused_percent_max: UNUSED_PERCENT_MAX,
            dry_run: false,
            wait: WAIT,
        }
    }
}

/// A decision with what it was made from.
struct Decision {
    survey: Survey,
    plan: Plan,
    /// Deleted snapshots that are given up together with the packs.
    bury: Vec<Digest>,
}

/// Delete what nothing refers to.
///
/// # Errors
/// [`RepoError::InUse`] while somebody has the repository for himself or prunes it; damage to a live or deleted
/// snapshot, which makes the whole plan void; what the store says.
pub fn prune(
    repository: &Arc<Repository>,
    options: &PruneOptions,
    identity: &Identity,
    now: Timestamp,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<PruneReport> {
    progress.begin("looking for what is needed", 0);
    let begun = repository.clock().elapsed();
    if options.dry_run {
        let decision = decide(repository, options, Times::told(now), cancel)?;
        return Ok(decision.report(now));
    }
    let (marking, marker) = mark(repository, options, identity, now, cancel)?;
    let moved = marking.move_ahead(repository, &marker, progress, cancel)?;
    drop(marker);
    if !marking.has_work() {
        return Ok(marking.report(now));
    }
    let (marked, in_use) = (marking.plan.marked, marking.report_in_use(&moved));
    // Everything is looked at again: what was found stands in memory once.
    drop(marking);
    let in_use_by = |holder: String| Ok(in_use.clone().by(holder));
    let lease = match Lease::after_others(repository, HOLDER, identity, options.wait) {
        Err(RepoError::InUse { holder }) => return in_use_by(holder),
        other => other?,
    };
    if let Some(holder) = other_lease(repository)? {
        return in_use_by(holder);
    }
    // Moving and waiting take hours where there is much.
    let now = repository.clock().later(now, begun);
    let decision = decide(repository, options, Times::of(&lease, now), cancel)?;
    save_marks(repository, &decision)?;
    decision.carry_out(repository, &lease, &moved, progress, cancel)?;
    let mut report = decision.report(now);
    report.marked += marked;
    decision.count_moved(&moved, &mut report);
    Ok(report)
}

/// The time that counts is the store's; ours only says whether either of them can be believed.
#[derive(Clone, Copy)]
struct Times {
    now: Timestamp,
    is_believed: bool,
}

impl Times {
    /// Nobody asked the store.
    fn told(now: Timestamp) -> Self {
        Self { now, is_believed: true }
    }

    fn of(lease: &Lease, now: Timestamp) -> Self {
        match Timestamp::try_from(lease.began_at()) {
            Ok(stores) => {
                Self { now: stores, is_believed: stores.duration_since(now).abs() <= CLOCKS_APART_MAX }
            }
            Err(_) => Self { now, is_believed: false },
        }
    }
}

/// What was stored once more before its packs go.
#[derive(Default)]
struct Moved {
    /// The packs that go.
    packs: HashSet<Digest>,
    /// Bytes of what was stored once more.
    bytes: u64,
    /// The packs that it stands in now: we read it and stored it ourselves just before.
    new: HashSet<Digest>,
}

/// Step 1, beside others; with the lease, under which more can be done.
fn mark(
    repository: &Arc<Repository>,
    options: &PruneOptions,
    identity: &Identity,
    now: Timestamp,
    cancel: &CancelToken,
) -> Result<(Decision, Lease)> {
    let Some(lease) = Lease::shared(repository, HOLDER, identity)? else {
        return Err(RepoError::InUse { holder: "another prune".to_owned() });
    };
    lease.clear_dead();
    let decision = decide(repository, options, Times::of(&lease, now), cancel)?;
    lease.check()?;
    save_marks(repository, &decision)?;
    Ok((decision, lease))
}

/// Look at everything and decide. Changes nothing.
fn decide(
    repository: &Repository,
    options: &PruneOptions,
    times: Times,
    cancel: &CancelToken,
) -> Result<Decision> {
    let now = times.now;
    let others_at_work = other_lease(repository)?.is_some();
    let mut looks = 1;
    let survey = loop {
        match survey::survey(repository, now, options.cooling_off, cancel) {
            // Somebody deleted a backup that was just listed.
            Err(RepoError::Store(error)) if error.is_not_found() && looks < LOOKS_MAX => looks += 1,
            other => break other?,
        }
    };
    let PruneOptions { cooling_off, unused_percent_max, .. } = *options;
    let cold_packs = repository.store().has_cold_packs();
    let terms = Terms { now, cooling_off, unused_percent_max, others_at_work, cold_packs };
    let mut plan = plan::plan_prune(&survey.uses, &survey.marks, &terms);
    let deleted = survey.cooling.iter().chain(&survey.over).map(|deleted| deleted.deleted_at);
    let is_deleted_later = deleted.max().is_some_and(|last| last.duration_since(now) > CLOCKS_APART_MAX);
    if !times.is_believed || is_deleted_later {
        plan = Plan { marks: survey.marks.clone(), is_clock_wrong: true, ..Plan::default() };
    }
    // What is over may as well come back as long as its packs wait.
    let may_bury = !plan.is_clock_wrong && (plan.removes_packs() || plan.waiting.is_empty());
    let over = survey.over.iter().filter(|_| may_bury);
    let bury = over.map(|deleted| deleted.id).collect();
    Ok(Decision { survey, plan, bury })
}

/// Who holds a lease that is not prune's, if anybody does.
fn other_lease(repository: &Repository) -> Result<Option<String>> {
    let mut holders = repository.list_notes(FOLDER)?.into_iter().map(|(name, _)| holder_of(&name).to_owned());
    Ok(holders.find(|holder| holder != HOLDER))
}

fn save_marks(repository: &Repository, decision: &Decision) -> Result<()> {
    match decision.plan.marks == decision.survey.marks {
        true => Ok(()),
        false => marks::save(repository, &decision.plan.marks),
    }
}

impl Decision {
    fn has_work(&self) -> bool {
        self.plan.removes_packs() || !self.bury.is_empty() || self.merged_index_files() > 0
    }

    /// Index files that are written anew.
    fn merged_index_files(&self) -> usize {
        match self.plan.is_clock_wrong {
            true => 0,
            false => rewrite::replaced(&self.survey.index_files, &self.gone()).len(),
        }
    }

    /// Packs that go, whether their blobs move or not.
    fn gone(&self) -> HashSet<Digest> {
        self.plan.repack.iter().chain(&self.plan.remove).copied().collect()
    }

    /// Store once more what is needed of packs whose marks are due. Takes nothing away: copies in marked packs do not count
    /// any more where there are others, so that the next decision finds those packs unneeded.
    fn move_ahead(
        &self,
        repository: &Arc<Repository>,
        lease: &Lease,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<Moved> {
        let is_marked = |pack: &&Digest| self.plan.marks.contains_key(*pack);
        let due: HashSet<_> = self.plan.repack.iter().filter(is_marked).copied().collect();
        if due.is_empty() {
            return Ok(Moved::default());
        }
        let (kept, packs_all) = (self.survey.kept_blobs(&due), self.survey.packs.len());
        let new = rewrite::repack(repository, &kept, packs_all, &lease.guard(), progress, cancel)?;
        let bytes = kept.iter().map(|pack| crate::pack::len_of(&pack.blobs)).sum();
        Ok(Moved { packs: due, bytes, new: new.into_iter().collect() })
    }

    /// Step 2. The order is what makes it safe.
    fn carry_out(
        &self,
        repository: &Arc<Repository>,
        lease: &Lease,
        moved: &Moved,
        progress: &Progress,
        cancel: &CancelToken,
    ) -> Result<()> {
        let repacked: HashSet<_> = self.plan.repack.iter().copied().collect();
        let gone = self.gone();
        copies::verify_staying(repository, &self.survey, &gone, &moved.new, progress, cancel)?;
        let (kept, packs_all) = (self.survey.kept_blobs(&repacked), self.survey.packs.len());
        rewrite::repack(repository, &kept, packs_all, &lease.guard(), progress, cancel)?;
        lease.verify_kept()?;
        let old_files = {
            let packs = self.survey.packs.iter().filter(|pack| !pack.blobs.is_empty());
            let packs = packs.map(|pack| (&pack.id, &pack.blobs));
            rewrite::save_index_without(repository, &self.survey.index_files, packs, &gone)?
        };
        progress.begin("deleting", 0);
        let buried = self.survey.over.iter().filter(|deleted| self.bury.contains(&deleted.id));
        buried.into_iter().try_for_each(|deleted| {
            repository.bury_snapshot(deleted, self.survey.live.contains(&deleted.id))
        })?;
        let removal = Removal { repository, lease, progress, cancel };
        removal.remove(FileKind::Index, old_files)?;
        removal.remove(FileKind::Pack, gone.iter().copied().collect())?;
        let mut marks = self.plan.marks.clone();
        marks.retain(|pack, _| !gone.contains(pack));
        if marks != self.plan.marks {
            marks::save(repository, &marks)?;
        }
        self.clear_notes(repository)?;
        // Of what is gone nobody needs to know that it was damaged.
        let stays =
            |pack: &Digest| self.survey.packs.iter().any(|one| one.id == *pack) && !gone.contains(pack);
        broken::forget(repository, self.survey.broken.iter().filter(|pack| !stays(pack)))
    }

    /// Remove the notes of snapshots that are gone for ever.
    fn clear_notes(&self, repository: &Repository) -> Result<()> {
        let deleted = self.survey.cooling.iter().chain(&self.survey.over).map(|deleted| deleted.id);
        let mut known: HashSet<Digest> = deleted.filter(|id| !self.bury.contains(id)).collect();
        known.extend(&self.survey.live);
        for folder in NOTES_OF_SNAPSHOTS {
            for (name, _) in repository.list_notes(folder)? {
                let first = name.split('/').next().unwrap_or_default();
                if first.parse().is_ok_and(|id: Digest| !known.contains(&id)) {
                    repository.delete_note(&format!("{folder}/{name}"))?;
                }
            }
        }
        Ok(())
    }

    /// What this decision does when it is carried out.
    fn report(&self, now: Timestamp) -> PruneReport {
        let Self { survey, plan, bury } = self;
        let size = |ids: &[Digest]| -> u64 {
            let ids: HashSet<_> = ids.iter().collect();
            survey.uses.iter().filter(|pack| ids.contains(&pack.id)).map(|pack| pack.size).sum()
        };
        let moved = survey.kept_blobs(&plan.repack.iter().copied().collect());
        let moved: u64 = moved.iter().map(|pack| crate::pack::len_of(&pack.blobs)).sum();
        let (removed_bytes, repacked_bytes) = (size(&plan.remove), size(&plan.repack));
        let freed_bytes = (removed_bytes + repacked_bytes).saturating_sub(moved);
        PruneReport {
            marked: plan.marked,
            waiting: plan.waiting.len(),
            waiting_bytes: size(&plan.waiting),
            removed_packs: plan.remove.len(),
            removed_bytes,
            repacked_packs: plan.repack.len(),
            repacked_bytes,
            freed_bytes,
            kept_bytes: survey.stored_bytes() - freed_bytes,
            buried: bury.iter().filter(|id| !survey.live.contains(*id)).count(),
            merged_index_files: self.merged_index_files(),
            in_use_by: None,
            next_step: plan.next_step(now),
            gone_packs: plan.repack.iter().chain(&plan.remove).copied().collect(),
            is_clock_wrong: plan.is_clock_wrong,
        }
    }

    /// Packs that went because what was needed of them was stored once more before.
    fn count_moved(&self, moved: &Moved, report: &mut PruneReport) {
        let is_moved =
            |pack: &&usage::PackUse| moved.packs.contains(&pack.id) && self.plan.remove.contains(&pack.id);
        let packs: Vec<_> = self.survey.uses.iter().filter(is_moved).collect();
        report.count_moved(packs.len(), packs.iter().map(|pack| pack.size).sum(), moved.bytes);
    }

    /// What is left when somebody else keeps the second step from running.
    fn report_in_use(&self, moved: &Moved) -> PruneReport {
        let bytes = self.survey.stored_bytes() + moved.bytes;
        let marked = |pack: &&usage::PackUse| self.plan.marks.contains_key(&pack.id);
        PruneReport {
            marked: self.plan.marked,
            waiting: self.plan.marks.len(),
            waiting_bytes: self.survey.uses.iter().filter(marked).map(|pack| pack.size).sum(),
            kept_bytes: bytes,
            is_clock_wrong: self.plan.is_clock_wrong,
            ..PruneReport::default()
        }
    }
}
