//! The step `hot`: the hot part of a repository on two stores, made again from the cold one.

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use model::size::ByteSize;
use repo::RepoError;
use repo::hot::{HotPlan, Look, fill_hot, plan_hot};
use serde_json::{Value, json};

use crate::arguments::{Global, Repair};
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::warm::Warmer;
use crate::{pair, password, place};

/// What was missing in hot, and what cold could not give.
pub(super) struct HotReport {
    plan: HotPlan,
    /// Damaged in cold, and passed over.
    damaged: Vec<String>,
}

impl HotReport {
    /// Objects that hot still lacks, as far as anybody can say.
    pub(super) fn left(&self) -> usize {
        self.plan.unreadable.len() + self.damaged.len()
    }
}

/// Copy what is missing or damaged in the hot part; what was done, or would be; `None` where packs were only asked for.
pub(super) fn run(
    global: &Global,
    order: &Repair,
    environment: &Environment,
    face: &Face,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Option<HotReport>> {
    let Some(hot_url) = &global.repository_hot else {
        return Err(CliError::usage("no hot part was named").hint("use --repository-hot URL"));
    };
    let password = password::current(global, environment, face)?;
    let cold = place::open_at(&place::address(global, environment)?, &password, environment, face)?;
    let (hot, versions) = (environment.wire().open(hot_url)?, environment.wire().versions(hot_url));
    let hot = if order.dry_run { hot } else { pair::kept(&cold, &hot, hot_url, versions, face)? };
    progress.begin("comparing hot and cold", 0);
    let plan = plan_hot(&cold, &*hot, Look::Read)?;
    if order.dry_run {
        return Ok(Some(HotReport { plan, damaged: vec![] }));
    }
    let warmer = Warmer::of(global, &order.warm_up, environment, cancel, face)?;
    if !warmer.warm(warmer.look_at(|| Ok(plan.packs.clone()))?)? {
        return Ok(None);
    }
    let damaged = fill_hot(&cold, &*hot, &plan, progress, cancel)?;
    Ok(Some(HotReport { plan, damaged: damaged.iter().map(RepoError::to_string).collect() }))
}

pub(super) fn to_json(HotReport { plan, damaged }: &HotReport) -> Value {
    json!({
        "missing": plan.len(),
        "packs": plan.packs.len(),
        "bytes": plan.bytes().to_string(),
        "unreadableIndexFiles": plan.unreadable.iter().copied().map(Digest::to_hex).collect::<Vec<_>>(),
        "damaged": damaged,
    })
}

pub(super) fn describe(HotReport { plan, damaged }: &HotReport, dry_run: bool) -> String {
    let done = if dry_run { "missing or damaged" } else { "copied from the cold part" };
    let (count, packs) = (plan.len() - damaged.len(), plan.packs.len());
    let bytes = ByteSize(plan.bytes());
    let mut lines =
        vec![format!("hot       {count} objects {done}, {packs} of them packs of trees ({bytes})")];
    lines.extend(damaged.iter().map(|damage| format!("          not copied: {damage}")));
    let lines_of_index = plan.unreadable.iter().map(|id| {
        format!("          not copied: index {id} is damaged in the cold part; nor packs that it alone names")
    });
    lines.extend(lines_of_index);
    lines.join("\n")
}
