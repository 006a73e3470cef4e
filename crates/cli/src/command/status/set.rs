//! Sets in `mainstay status`: whether the newest run has all of its members.

use daemon::history::History;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::sources::Configured;
use crate::error::Result;

/// What is known of a set.
pub(super) struct SetState {
    pub(super) name: String,
    pub(super) tenant: String,
    /// The newest run.
    run: Option<Timestamp>,
    /// The newest one that has all of its members.
    complete: Option<Timestamp>,
    missing: Vec<String>,
    is_running: bool,
    pub(super) is_late: bool,
}

/// The sets of which sources were chosen, each once.
pub(super) fn states(chosen: &[Configured<'_>], history: &History, now: Timestamp) -> Result<Vec<SetState>> {
    let mut states: Vec<SetState> = vec![];
    for one in chosen {
        let Some(set) = one.tenant.set_of(&one.source.name) else { continue };
        let name = format!("{}/{}", one.tenant.name, set.name);
        if states.iter().any(|known| known.name == name) {
            continue;
        }
        let members = || set.members.iter().map(|name| name.as_str());
        let runs = history.set_runs(one.tenant.name.as_str(), set.name.as_str())?;
        let complete = runs.iter().find(|run| run.missing(members()).is_empty()).map(|run| run.slot);
        let newest = runs.first();
        let missing = newest.map(|run| run.missing(members())).unwrap_or_default();
        let is_old = |max| complete.is_none_or(|complete| now.duration_since(complete) > max);
        states.push(SetState {
            name,
            tenant: one.tenant.name.to_string(),
            run: newest.map(|run| run.slot),
            complete,
            missing: missing.into_iter().map(str::to_owned).collect(),
            is_running: newest.is_some_and(|run| run.is_running()),
            is_late: set.max_age.as_ref().is_some_and(|max| is_old(max.value)),
        });
    }
    Ok(states)
}

impl SetState {
    fn state(&self) -> String {
        match () {
            () if self.run.is_none() => "never-run".to_owned(),
            () if self.is_running => "running".to_owned(),
            () if !self.missing.is_empty() => format!("INCOMPLETE:{}", self.missing.join(",")),
            () if self.is_late => "late".to_owned(),
            () => "ok".to_owned(),
        }
    }

    pub(super) fn row(&self) -> Vec<String> {
        let time = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}")).unwrap_or_default();
        let name = format!("{}(set)", self.name);
        let empty = String::new;
        vec![name, time(self.complete), empty(), empty(), time(self.run), empty(), empty(), self.state()]
    }

    pub(super) fn value(&self) -> Value {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        json!({
            "name": self.name,
            "lastRun": time(self.run),
            "lastComplete": time(self.complete),
            "missing": self.missing,
            "state": self.state().split(':').next().unwrap_or_default(),
        })
    }
}
