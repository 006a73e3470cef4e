//! Restore of a set: the directories of one run, then its clusters, then its databases, by one command.
//!
//! Everything is planned before anything is written, so that what is refused is refused at once. The commands around it come
//! from the configuration, where it knows the set; the first failure stops all that would come behind it.

mod packs;
mod places;

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::{EngineError, catalog};
use model::backup::{BackupKind, BackupRecord};
use model::set_mark::{Member, SetMark, SetRun, runs};
use repo::Repository;
use serde_json::json;

use super::hooks;
use crate::arguments::{Global, RecoveryArguments, Restore};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::interrupt::Watch;
use packs::Packs;

/// Stands for a member's own database in `--database`.
const DATABASE: &str = "{database}";

/// One run of a set, as it is there.
pub(super) struct Found {
    tenant: String,
    mark: SetMark,
    missing: usize,
    /// What that is, in words.
    lacks: String,
    /// Members of which there is anything.
    count: usize,
    /// In the order in which they come back.
    backups: Vec<(Arc<Repository>, BackupRecord)>,
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
    let Some(chosen) = chosen else { return Err(none(&found, tenant, name, run)) };
    let records = chosen.chosen();
    let mut backups: Vec<_> =
        all.iter().filter(|(_, record)| records.iter().any(|one| one.id == record.id)).cloned().collect();
    backups.sort_by_key(|(_, record)| (turn(record.kind), record.created_at));
    Ok(Some(Found {
        tenant: tenant.to_owned(),
        mark: chosen.mark.clone(),
        missing: chosen.missing(),
        lacks: lacks(chosen),
        count: chosen.found().len(),
        backups,
    }))
}

/// Members of which there is something are named by it; of the others nobody knows the names.
fn lacks(run: &SetRun<'_>) -> String {
    let found = run.found().into_iter().filter(|(_, member)| !member.is_whole());
    let mut words: Vec<_> = found
        .map(|(name, Member { good, of })| match of {
            1 => format!("{name} has no good backup"),
            _ => format!("of {name} {good} of {of} are there"),
        })
        .collect();
    match run.missing().saturating_sub(words.len()) {
        0 => {}
        others => words.push(format!("{others} are in no backup of it")),
    }
    words.join(", ")
}

/// Which kind comes when: servers find their directories where they were, and databases need a server.
fn turn(kind: BackupKind) -> u8 {
    match kind {
        BackupKind::Directory => 0,
        BackupKind::Cluster => 1,
        BackupKind::Dump | BackupKind::Wal => 2,
    }
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
fn refuse_parts(order: &Restore, found: &Found) -> Result<()> {
    if !order.table.is_empty() || !order.schema.is_empty() || !order.path.is_empty() {
        return Err(
            CliError::usage("a set is restored whole").hint("restore parts of one member by its own id")
        );
    }
    if order.database.len() > 1 || order.database.iter().any(|name| !name.contains(DATABASE)) {
        return Err(CliError::usage("--database of a set names each of its databases")
            .hint(format!("write it like --database '{DATABASE}_restored'")));
    }
    let cluster = found.backups.iter().find(|(_, record)| record.kind == BackupKind::Cluster);
    match cluster {
        None if order.recovery.is_given() => {
            return Err(CliError::usage("this set has no cluster, and targets are for clusters"));
        }
        Some((_, record)) if order.to.is_none() => {
            let message = format!("{} is a cluster, and nobody said where it goes", record.id);
            return Err(CliError::usage(message).hint(format!(
                "say --to DIR: each directory and each data directory is one of its own below it, here DIR/{}",
                record.source
            )));
        }
        _ => {}
    }
    refuse_the_same_database(order, found)
}

/// Two servers may have a database of one name, and a set both of them.
fn refuse_the_same_database(order: &Restore, found: &Found) -> Result<()> {
    let mut seen = BTreeSet::new();
    let dumps = found.backups.iter().filter(|(_, record)| record.kind == BackupKind::Dump);
    let twice = dumps.map(|(_, record)| record).find(|record| !seen.insert(&record.database));
    let Some(record) = twice else { return Ok(()) };
    let message =
        format!("two members are databases called {:?}, which cannot be in one server", record.database);
    Err(CliError::new(Kind::Refused, message).hint(format!(
        "restore each by its own id ({} is one), with --database and the server that it belongs to{}",
        record.id,
        if order.to.is_some() { ", and directories by theirs" } else { "" }
    )))
}

/// Restore what was found, `one` after the other.
pub(super) fn run(
    global: &Global,
    found: &Found,
    order: &Restore,
    one: One<'_>,
    environment: &Environment,
    face: &Face,
    watch: &Watch,
) -> Result<()> {
    refuse_parts(order, found)?;
    let Found { tenant, mark, missing, lacks, count, backups } = found;
    places::refuse_shared(backups, order)?;
    let (name, run) = (format!("{tenant}/{}", mark.name), mark.run_name());
    // What each member says of itself is in words: of one command there is one document.
    let words = face.in_words();
    let in_backups =
        if backups.len() == *count { String::new() } else { format!(" in {} backups", backups.len()) };
    face.note(&format!("set {name}, run {run}: {count} members{in_backups}, directories first"));
    if *missing > 0 {
        face.warn(&format!("this run is INCOMPLETE: {missing} members are missing: {lacks}"));
    }
    let each = |dry_run: bool, is_meant: fn(BackupKind) -> bool| {
        backups.iter().filter(|(_, record)| is_meant(record.kind)).try_for_each(|(repository, record)| {
            watch.cancel.check().map_err(EngineError::from)?;
            let order = of_member(order, record, &name, dry_run);
            one(repository, record, &order, &words).map_err(|error| error.named(record.id.as_str()))
        })
    };
    let ids: Vec<_> = backups.iter().map(|(_, record)| &record.id).collect();
    let document =
        json!({ "set": name, "run": run, "members": ids, "missing": missing, "dryRun": order.dry_run });
    let overwrites = (order.clean || order.delta) && !order.warm_up.warm_up_only;
    hooks::around(hooks::of_set(global, order, tenant, mark)?, order, environment, face, watch, |begin| {
        each(true, |_| true)?;
        if order.dry_run {
            face.result(&document, String::new);
            return Ok(());
        }
        if overwrites && order.yes.as_deref() != Some(&name) {
            let message = format!("what set {name} is restored over would be overwritten");
            return Err(CliError::new(Kind::Refused, message)
                .hint(format!("the plan is above; to go on, confirm with --yes={name}")));
        }
        match packs::warm(global, backups, order, environment, face, &watch.cancel)? {
            Packs::Asked => return Ok(()),
            Packs::Warm { were: true } => {}
            // What is in a dump could not be told before.
            Packs::Warm { were: false } => each(true, |kind| kind == BackupKind::Dump)?,
        }
        begin.of_set()?;
        // What comes behind a member that is not whole is not touched any more: that is more than something lacking.
        each(false, |_| true).map_err(|error| match error.kind {
            Kind::Partial => CliError { kind: Kind::Failed, ..error },
            _ => error,
        })?;
        face.result(&document, String::new);
        end(found, &format!("set={name} run={run}"), face)
    })
}

/// What is there is back; a run that lacks a member is not a set that is restored.
fn end(found: &Found, of: &str, face: &Face) -> Result<()> {
    let Found { mark, missing, lacks, count, .. } = found;
    if *missing == 0 {
        face.status(&format!("restore ok {of} members={count}"));
        return Ok(());
    }
    face.status(&format!("restore INCOMPLETE {of} members={} missing={missing}", mark.members));
    let message = format!("of {} members {missing} are missing: {lacks}", mark.members);
    Err(CliError::new(Kind::Partial, message).hint("what this run has is restored"))
}

/// What is asked of one member.
fn of_member(order: &Restore, record: &BackupRecord, name: &str, dry_run: bool) -> Restore {
    let mut own = order.clone();
    own.id = record.id.to_string();
    own.dry_run = dry_run;
    own.is_confirmed = order.yes.as_deref() == Some(name);
    own.is_member = true;
    // For all of them it is done.
    own.warm_up.warm_up_only = false;
    let below = order.to.as_ref().map(|to| to.join(record.source.as_str()));
    if record.kind == BackupKind::Dump {
        own.to = None;
        own.database = order.database.iter().map(|form| form.replace(DATABASE, &record.database)).collect();
        (own.delta, own.delete) = (false, false);
    } else {
        own.to = below;
        own.database.clear();
        (own.clean, own.with_roles, own.no_owner, own.no_tablespaces) = (false, false, false, false);
    }
    own.recovery = match record.kind {
        // As it was when the other members were taken, and not with all that came later.
        BackupKind::Cluster => own.recovery.or_immediate(),
        _ => RecoveryArguments::none(),
    };
    own
}
