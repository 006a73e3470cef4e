//! The commands around a run: before it, and behind it the one road or the other.
//!
//! Invariant: exactly one of `after` and `on_failure` runs, and neither where the run was skipped. The first command that fails
//! ends its chain.

use std::time::Duration;

use config::configuration::{Hook, Hooks};
use daemon::hook::{self, HookRun};
use model::cancel::CancelToken;

use crate::error::{CliError, Kind, Result};
use crate::face::Face;

/// The commands, and what became of them so far.
pub(crate) struct Around<'a> {
    hooks: Option<&'a Hooks>,
    variables: Vec<(&'static str, String)>,
    face: &'a Face,
    /// In their order.
    pub(crate) runs: Vec<HookRun>,
}

/// How what they are around has ended.
pub(crate) struct Ending<'a> {
    /// `ok`, `partial`, `incomplete` or `failed`.
    pub(crate) outcome: &'a str,
    /// Why, where it is not ok.
    pub(crate) reason: String,
    /// The backup, or nothing.
    pub(crate) backup: String,
}

impl<'a> Around<'a> {
    /// Of what these `variables` tell them.
    pub(crate) fn new(
        hooks: Option<&'a Hooks>,
        variables: Vec<(&'static str, String)>,
        face: &'a Face,
    ) -> Self {
        Self { hooks, variables, face, runs: vec![] }
    }

    /// They are told this, too.
    pub(crate) fn tell(&mut self, name: &'static str, value: String) {
        self.variables.push((name, value));
    }

    /// All that come before it.
    pub(crate) fn before(&mut self, cancel: &CancelToken) -> Result<()> {
        let Some(hooks) = self.hooks else { return Ok(()) };
        self.chain("before", &hooks.before, &[], cancel).map_err(|words| CliError::new(Kind::Failed, words))
    }

    /// All that come behind it; in words which one failed. They run also where everything is to stop: what was stopped
    /// before the run begins again by them.
    pub(crate) fn behind(&mut self, ending: &Ending<'_>) -> Option<String> {
        let hooks = self.hooks?;
        let is_good = matches!(ending.outcome, "ok" | "partial");
        let (stage, commands) =
            if is_good { ("after", &hooks.after) } else { ("on_failure", &hooks.on_failure) };
        let variables = [
            ("MAINSTAY_OUTCOME", ending.outcome.to_owned()),
            ("MAINSTAY_REASON", ending.reason.clone()),
            ("MAINSTAY_BACKUP_ID", ending.backup.clone()),
        ];
        self.chain(stage, commands, &variables, &CancelToken::new()).err()
    }

    fn chain(
        &mut self,
        stage: &str,
        commands: &[Hook],
        more: &[(&'static str, String)],
        cancel: &CancelToken,
    ) -> Result<(), String> {
        for Hook { command, timeout } in commands {
            let stage_of = [("MAINSTAY_STAGE", stage.to_owned())];
            let variables: Vec<_> = self.variables.iter().chain(more).chain(&stage_of).cloned().collect();
            let timeout = Duration::try_from(*timeout).unwrap_or_default();
            let ran = hook::run(stage, command, timeout, &variables, cancel);
            let failed = (!ran.is_good()).then(|| {
                let last = ran.output.lines().last().unwrap_or_default();
                let said = if last.is_empty() { String::new() } else { format!(": {last}") };
                format!("hook {stage} `{command}`: {}{said}", ran.outcome)
            });
            self.runs.push(ran);
            if let Some(words) = failed {
                self.face.warn(&words);
                return Err(words);
            }
        }
        Ok(())
    }
}
