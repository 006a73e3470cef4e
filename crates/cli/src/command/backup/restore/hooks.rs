//! The commands around a restore, as the configuration has them for its source or its set.
//!
//! They begin when everything is planned and confirmed, so that nothing is stopped for what is refused. Invariant: where they began,
//! exactly one of `after` and `on_failure` runs, and what each of them said is kept.

use std::cell::RefCell;

use config::configuration::{Configuration, Hook, Hooks};
use daemon::restore_history::Restored;
use engine::EngineError;
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::set_mark::SetMark;

use super::super::super::sources::{self, is_of};
use crate::arguments::{Global, Restore};
use crate::around::{Around, Ending};
use crate::configured;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::interrupt::Watch;

/// What is called when everything is planned and confirmed, just before anything is written.
pub(super) struct Begin<'a> {
    /// The wish to stop.
    pub(super) watch: &'a Watch,
    begin: &'a dyn Fn(Option<&BackupRecord>) -> Result<()>,
}

impl Begin<'_> {
    /// It is this backup that is restored: where a source was named, that is known at the end of the plan.
    pub(super) fn of(&self, record: &BackupRecord) -> Result<()> {
        (self.begin)(Some(record))
    }

    /// It is a run of a set.
    pub(super) fn of_set(&self) -> Result<()> {
        (self.begin)(None)
    }
}

/// What is restored.
pub(super) struct Subject {
    tenant: String,
    /// Of a source or a set.
    name: String,
    /// The run of a set, or nothing.
    run: String,
    hooks: Hooks,
    variables: Vec<(&'static str, String)>,
}

/// What the configuration says of a backup's source.
pub(super) fn of_backup(global: &Global, order: &Restore, record: &BackupRecord) -> Result<Option<Subject>> {
    let configuration = configuration(global, order)?;
    let tenant = configuration.iter().flat_map(|configuration| &configuration.tenants);
    let Some(tenant) = tenant.into_iter().find(|tenant| tenant.name == record.tenant) else {
        return Ok(None);
    };
    let source = tenant.sources.iter().find(|source| is_of(tenant, source, record));
    let found = source.and_then(|source| Some((source, source.restore_hooks.as_ref()?)));
    Ok(found.map(|(source, hooks)| Subject {
        tenant: tenant.name.to_string(),
        name: source.name.to_string(),
        run: String::new(),
        hooks: hooks.value.clone(),
        variables: vec![
            ("MAINSTAY_TENANT", tenant.name.to_string()),
            ("MAINSTAY_SOURCE", source.name.to_string()),
        ],
    }))
}

/// What the configuration says of a set.
pub(super) fn of_set(
    global: &Global,
    order: &Restore,
    tenant: &str,
    mark: &SetMark,
) -> Result<Option<Subject>> {
    let configuration = configuration(global, order)?;
    let tenants = configuration.iter().flat_map(|configuration| &configuration.tenants);
    let known = tenants.into_iter().find(|one| one.name.as_str() == tenant);
    let set = known.and_then(|tenant| tenant.sets.iter().find(|set| set.name == mark.name));
    Ok(set.map(|set| Subject {
        tenant: tenant.to_owned(),
        name: set.name.to_string(),
        run: mark.run_name(),
        hooks: set.restore_hooks.clone(),
        variables: vec![
            ("MAINSTAY_TENANT", tenant.to_owned()),
            ("MAINSTAY_SET", set.name.to_string()),
            ("MAINSTAY_SET_RUN", mark.run_name()),
        ],
    }))
}

fn configuration(global: &Global, order: &Restore) -> Result<Option<Configuration>> {
    if order.no_hooks {
        return Ok(None);
    }
    configured::load_if_any(global).map_err(|error| {
        let mend = error.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
        error.hint(format!("{mend}--no-hooks restores without asking the configuration for commands"))
    })
}

/// Do `work`, with the commands of `subject` before and behind it, if there are any.
pub(super) fn around(
    subject: Option<Subject>,
    order: &Restore,
    environment: &Environment,
    face: &Face,
    watch: &Watch,
    work: impl FnOnce(&Begin<'_>) -> Result<()>,
) -> Result<()> {
    let Some(subject) = subject.filter(|subject| subject.hooks != Hooks::default()) else {
        return work(&Begin { watch, begin: &|_| Ok(()) });
    };
    let Subject { tenant, name, run, hooks, variables } = subject;
    // Of a member it was said when the set was planned.
    if order.dry_run || !order.is_member {
        face.note(&plan(&hooks));
    }
    let commands = RefCell::new(Around::new(Some(&hooks), variables, face));
    let (began, begun) = (Timestamp::now(), RefCell::new(None));
    let begin = |record: Option<&BackupRecord>| {
        // What is stopped now begins again, and that is remembered, however often somebody asks to stop.
        watch.be_patient();
        watch.cancel.check().map_err(EngineError::from)?;
        let id = record.map(|record| record.id.to_string());
        let mut commands = commands.borrow_mut();
        id.iter().for_each(|id| commands.tell("MAINSTAY_BACKUP_ID", id.clone()));
        begun.replace(Some(id));
        commands.before(&watch.cancel)
    };
    let done = work(&Begin { watch, begin: &begin });
    let mut commands = commands.into_inner();
    let Some(id) = begun.into_inner() else { return done };
    let (outcome, reason) = match &done {
        Ok(()) => ("ok", String::new()),
        Err(error) if error.kind == Kind::Partial => ("incomplete", error.message.clone()),
        Err(error) => ("failed", error.message.clone()),
    };
    let ending = Ending { outcome, reason: reason.clone(), backup: id.clone().unwrap_or_default() };
    let words = commands.behind(&ending);
    let outcome = if words.is_some() && done.is_ok() { "partial" } else { outcome };
    let reason = words.clone().filter(|_| done.is_ok()).unwrap_or(reason);
    let ended = Timestamp::now();
    let restored = Restored {
        tenant,
        name,
        backup: id.unwrap_or(run),
        began,
        ended,
        outcome: outcome.to_owned(),
        reason,
        hooks: commands.runs,
    };
    let remembered =
        sources::history(environment, face).and_then(|history| Ok(history.remember_restore(&restored)?));
    if let Err(error) = remembered {
        face.warn(&format!("what these commands said is not remembered: {}", error.message));
    }
    done?;
    match words {
        None => Ok(()),
        Some(words) => Err(CliError::new(Kind::Partial, words)
            .hint("everything is restored; what comes behind it is not done")),
    }
}

/// Which commands come.
fn plan(hooks: &Hooks) -> String {
    let stage = |name: &str, commands: &[Hook]| {
        let shown: Vec<_> = commands.iter().map(|hook| format!("`{}`", hook.command)).collect();
        (!shown.is_empty()).then(|| format!("\n  {name:<10} {}", shown.join(", ")))
    };
    let stages = [
        stage("before", &hooks.before),
        stage("after", &hooks.after),
        stage("on_failure", &hooks.on_failure),
    ];
    format!(
        "commands around it, which --no-hooks leaves out:{}",
        stages.into_iter().flatten().collect::<String>()
    )
}
