//! Restore of a set: the directories of one run, then its databases, by one command.
//!
//! Everything is planned before anything is written, so that what is refused is refused at once. The commands around it come
//! from the configuration, where it knows the set; the first failure stops all that would come behind it.

use std::sync::Arc;

use config::configuration::Hooks;
use engine::catalog;
use model::backup::{BackupKind, BackupRecord};
use model::set_mark::{SetMark, SetRun, runs};
use repo::Repository;
use serde_json::json;

use crate::arguments::{Global, Restore};
use crate::around::{Around, Ending};
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{configured, interrupt};

/// Stands for a member's own database in `--database`.
const DATABASE: &str = "{database}";

/// One run of a set, as it is there.
pub(super) struct Found {
    tenant: String,
    mark: SetMark,
    missing: usize,
    /// In the order in which they come back.
    members: Vec<(Arc<Repository>, BackupRecord)>,
}

/// The run that `name` means: NAME for the newest complete one, NAME@TIME for one of them; none where no set is called so.
pub(super) fn find(repositories: &[Arc<Repository>], tenant: &str, name: &str) -> Result<Option<Found>> {
    let (name, run) = name.split_once('@').map_or((name, None), |(name, run)| (name, Some(run)));
    let mut all: Vec<(Arc<Repository>, BackupRecord)> = vec![];
    for repository in repositories {
        for record in catalog::list_readable(repository)?.records {
            // A copy elsewhere is the same backup.
            if SetMark::of(&record).is_some() && !all.iter().any(|(_, known)| known.id == record.id) {
                all.push((Arc::clone(repository), record));
            }
        }
    }
    let found = runs(all.iter().map(|(_, record)| record), tenant, name);
    if found.is_empty() {
        return Ok(None);
    }
    let chosen = match run {
        Some(run) => found.iter().find(|one| one.mark.run_name() == run),
        None => found.iter().find(|one| one.missing() == 0),
    };
    let Some(SetRun { mark, records }) = chosen else { return Err(none(&found, tenant, name, run)) };
    let mut members: Vec<_> =
        all.iter().filter(|(_, record)| records.iter().any(|one| one.id == record.id)).cloned().collect();
    members.sort_by_key(|(_, record)| (record.kind != BackupKind::Directory, record.created_at));
    let missing = chosen.map(SetRun::missing).unwrap_or_default();
    Ok(Some(Found { tenant: tenant.to_owned(), mark: mark.clone(), missing, members }))
}

fn none(found: &[SetRun<'_>], tenant: &str, name: &str, run: Option<&str>) -> CliError {
    let known = |one: &SetRun<'_>| match one.missing() {
        0 => one.mark.run_name(),
        missing => format!("{} (INCOMPLETE: {missing} missing)", one.mark.run_name()),
    };
    let known = found.iter().map(known).collect::<Vec<_>>().join(", ");
    match run {
        Some(run) => CliError::new(Kind::NotFound, format!("set {tenant}/{name} has no run {run}"))
            .hint(format!("its runs are {known}")),
        None => CliError::new(Kind::Refused, format!("no run of set {tenant}/{name} is complete"))
            .hint(format!("name one with {tenant}/{name}@RUN to restore what it has: {known}")),
    }
}

/// What asks for one member, with the face through which it speaks.
pub(super) type One<'a> = &'a dyn Fn(&Arc<Repository>, &BackupRecord, &Restore, &Face) -> Result<()>;

/// What a set cannot be asked for.
fn refuse_parts(order: &Restore) -> Result<()> {
    if !order.table.is_empty() || !order.schema.is_empty() || !order.path.is_empty() {
        return Err(
            CliError::usage("a set is restored whole").hint("restore parts of one member by its own id")
        );
    }
    if order.database.iter().any(|name| !name.contains(DATABASE)) {
        return Err(CliError::usage("--database of a set names each of its databases")
            .hint(format!("write it like --database '{DATABASE}_restored'")));
    }
    Ok(())
}

/// Restore what was found, `one` after the other.
pub(super) fn run(global: &Global, found: &Found, order: &Restore, one: One<'_>, face: &Face) -> Result<()> {
    refuse_parts(order)?;
    let Found { tenant, mark, missing, members } = found;
    let name = format!("{tenant}/{}", mark.name);
    // What each member says of itself is in words: of one command there is one document.
    let words = face.in_words();
    face.note(&format!("set {name}, run {}: {} members, directories first", mark.run_name(), members.len()));
    if *missing > 0 {
        face.warn(&format!("this run is INCOMPLETE: {missing} members are missing"));
    }
    let each = |dry_run: bool| {
        members.iter().try_for_each(|(repository, record)| {
            let order = of_member(order, record, &name, dry_run);
            one(repository, record, &order, &words).map_err(|error| error.named(record.id.as_str()))
        })
    };
    each(true)?;
    let ids: Vec<_> = members.iter().map(|(_, record)| &record.id).collect();
    let document = json!({
        "set": name, "run": mark.run_name(), "members": ids, "missing": missing, "dryRun": order.dry_run,
    });
    if order.dry_run {
        face.result(&document, String::new);
        return Ok(());
    }
    let overwrites = order.clean || order.delta;
    if overwrites && order.yes.as_deref() != Some(&name) {
        return Err(CliError::new(
            Kind::Refused,
            format!("what set {name} is restored over would be overwritten"),
        )
        .hint(format!("the plan is above; to go on, confirm with --yes={name}")));
    }
    let hooks = hooks(global, tenant, mark)?;
    let variables = vec![
        ("MAINSTAY_TENANT", tenant.clone()),
        ("MAINSTAY_SET", mark.name.to_string()),
        ("MAINSTAY_SET_RUN", mark.run_name()),
    ];
    let mut around = Around::new(hooks.as_ref(), variables, face);
    let done = around.before(&interrupt::watch()?).and_then(|()| each(false));
    let (outcome, reason) = match &done {
        Ok(()) => ("ok", String::new()),
        Err(error) => ("failed", error.message.clone()),
    };
    let words = around.behind(&Ending { outcome, reason, backup: String::new() });
    done?;
    face.result(&document, String::new);
    if let Some(words) = words {
        return Err(CliError::new(Kind::Partial, words)
            .hint("every member is restored; what comes behind it is not done"));
    }
    face.status(&format!("restore ok set={name} run={} members={}", mark.run_name(), members.len()));
    match missing {
        0 => Ok(()),
        missing => {
            Err(CliError::new(Kind::Partial, format!("{missing} members are in no backup of this run")))
        }
    }
}

/// What is asked of one member.
fn of_member(order: &Restore, record: &BackupRecord, name: &str, dry_run: bool) -> Restore {
    let mut own = order.clone();
    own.id = record.id.to_string();
    own.dry_run = dry_run;
    own.is_confirmed = order.yes.as_deref() == Some(name);
    if record.kind == BackupKind::Directory {
        own.to = order.to.as_ref().map(|to| to.join(record.source.as_str()));
        own.database.clear();
        (own.clean, own.with_roles, own.no_owner) = (false, false, false);
    } else {
        own.to = None;
        own.database = order.database.iter().map(|form| form.replace(DATABASE, &record.database)).collect();
        (own.delta, own.delete) = (false, false);
    }
    own
}

/// The commands around a restore, as far as this machine's configuration knows the set.
fn hooks(global: &Global, tenant: &str, mark: &SetMark) -> Result<Option<Hooks>> {
    let Some(configuration) = configured::load_if_any(global)? else { return Ok(None) };
    let tenant = configuration.tenants.iter().find(|one| one.name.as_str() == tenant);
    let set = tenant.and_then(|tenant| tenant.sets.iter().find(|set| set.name == mark.name));
    Ok(set.map(|set| set.restore_hooks.clone()))
}
