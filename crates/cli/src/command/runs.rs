//! `mainstay runs`: the history of this machine.

use daemon::history::{History, Run};
use daemon::hook::HookRun;
use daemon::restore_history::Restored;
use serde_json::{Value, json};

use super::sources::{self, Unlearned};
use crate::arguments::Global;
use crate::configured;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::table::table;

pub(crate) fn run(
    global: &Global,
    name: Option<&str>,
    last: usize,
    rebuild: bool,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let mut history = sources::history(environment, face)?;
    if rebuild {
        let configuration = configured::required(global)?;
        for tenant in &configuration.tenants {
            let url = &tenant.repository.url.value;
            match sources::learn(tenant, &mut history, environment, face) {
                Ok(count) => face.note(&format!("{count} runs learned from {url}")),
                Err(Unlearned::Unreadable(error) | Unlearned::Forgotten(error)) => {
                    face.warn(&format!("{url} is left out: {}", error.message));
                }
            }
        }
    }
    let (tenant, source) = parts(name);
    let runs = history.runs(tenant, source, last)?;
    if let (Some(name), []) = (name, &*runs) {
        face.note(&format!(
            "no run of {name} is remembered on this machine; --rebuild asks the repositories"
        ));
    }
    let values = runs.iter().map(|run| value(run, &history)).collect::<Result<Vec<_>>>()?;
    face.result(&json!({ "runs": values }), || {
        let header = ["BEGAN", "SOURCE", "OUTCOME", "SECONDS", "SIZE", "STORED", "BACKUP", "REASON"];
        let rows = std::iter::once(header.map(str::to_owned).to_vec()).chain(runs.iter().map(row));
        table(&rows.collect::<Vec<_>>())
    });
    Ok(())
}

/// `runs --restores`: restores around which commands ran.
pub(super) fn restores(
    name: Option<&str>,
    last: usize,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let (tenant, name) = parts(name);
    let restores = sources::history(environment, face)?.restores(tenant, name, last)?;
    let document = restores.iter().map(|one| {
        json!({
            "tenant": one.tenant,
            "name": one.name,
            "backup": one.backup,
            "began": one.began.to_string(),
            "ended": one.ended.to_string(),
            "outcome": one.outcome,
            "reason": one.reason,
            "hooks": one.hooks.iter().map(hook).collect::<Vec<_>>(),
        })
    });
    face.result(&json!({ "restores": document.collect::<Vec<_>>() }), || {
        let header = ["BEGAN", "NAME", "OUTCOME", "SECONDS", "BACKUP", "REASON"].map(str::to_owned).to_vec();
        let row = |one: &Restored| {
            vec![
                format!("{:.0}", one.began),
                format!("{}/{}", one.tenant, one.name),
                one.outcome.clone(),
                one.ended.duration_since(one.began).as_secs().to_string(),
                one.backup.clone(),
                one.reason.clone(),
            ]
        };
        table(&std::iter::once(header).chain(restores.iter().map(row)).collect::<Vec<_>>())
    });
    Ok(())
}

/// Of TENANT or TENANT/NAME.
fn parts(name: Option<&str>) -> (Option<&str>, Option<&str>) {
    match name.map(|name| name.split_once('/').ok_or(name)) {
        None => (None, None),
        Some(Ok((tenant, name))) => (Some(tenant), Some(name)),
        Some(Err(tenant)) => (Some(tenant), None),
    }
}

fn seconds(run: &Run) -> Option<i64> {
    Some(run.ended?.duration_since(run.began).as_secs())
}

fn row(run: &Run) -> Vec<String> {
    let size = |bytes: u64| model::size::ByteSize(bytes).to_string().replace(' ', "");
    vec![
        run.began.to_string(),
        format!("{}/{}", run.tenant, run.source),
        run.outcome.as_str().to_owned(),
        seconds(run).map(|seconds| seconds.to_string()).unwrap_or_default(),
        size(run.size),
        size(run.stored),
        run.backup.clone(),
        run.reason.clone(),
    ]
}

/// A command around a run.
pub(super) fn hook(hook: &HookRun) -> Value {
    let HookRun { stage, command, outcome, seconds, output } = hook;
    json!({
        "stage": stage, "command": command, "outcome": outcome, "seconds": seconds.to_string(), "output": output,
    })
}

fn value(run: &Run, history: &History) -> Result<Value> {
    let hooks = history.hooks(run.id)?;
    Ok(json!({
        "tenant": run.tenant,
        "source": run.source,
        "slot": run.slot.to_string(),
        "began": run.began.to_string(),
        "ended": run.ended.map(|ended| ended.to_string()).unwrap_or_default(),
        "outcome": run.outcome,
        "reason": run.reason,
        "backup": run.backup,
        "sizeBytes": run.size.to_string(),
        "storedBytes": run.stored.to_string(),
        "hooks": hooks.iter().map(hook).collect::<Vec<_>>(),
    }))
}
