//! `mainstay forget`: drop backups by a policy, or say for each why it stays or goes.

use std::path::PathBuf;

use config::configuration::{Configuration, Tenant};
use engine::{catalog, forget};
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use model::retention::{Every, Policy, Verdict};
use model::span::{parse_span, show_span};
use serde_json::json;
use store::open::local_path;

use crate::arguments::{Forget, Global};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::table::table;
use crate::{configured, interrupt, place};

pub(crate) fn run(global: &Global, order: &Forget, environment: &Environment, face: &Face) -> Result<()> {
    let policy = policy(order)?;
    if policy.is_empty() {
        return Err(CliError::usage("no policy was given")
            .hint("use --keep-last, --keep-within, --keep-daily and the like, or several of them"));
    }
    judge_by_minimum(global, order, &policy, environment, face)?;
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let plan = |now| {
        let mut records = catalog::list(&repository)?;
        let is_meant = |record: &BackupRecord| {
            order.tenant.as_deref().is_none_or(|tenant| record.tenant.as_str() == tenant)
        };
        records.retain(is_meant);
        forget::plan(&repository, &policy, records, now)
    };
    let now = Timestamp::now();
    let (plan, forgotten) = match order.dry_run {
        true => (plan(now)?, vec![]),
        false => forget::forget(&repository, plan, &place::identity(environment), now, &cancel)?,
    };
    show(&plan, &forgotten, order.dry_run, face);
    Ok(())
}

/// A policy under which backups go that the configuration asks to keep is refused, unless somebody says why.
fn judge_by_minimum(
    global: &Global,
    order: &Forget,
    policy: &Policy,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    if let Some(why) = &order.below_minimum {
        if why.trim().is_empty() {
            return Err(
                CliError::usage("--below-minimum says nothing").hint("write why these backups may go")
            );
        }
        face.warn(&format!("[minimum] is left aside: {why}"));
        return Ok(());
    }
    let configuration = configured::load_if_any(global).map_err(|error| {
        // Whoever has to free a disk needs no sound configuration, and says so.
        let mend = error.hint.as_ref().map(|hint| format!("{hint}; ")).unwrap_or_default();
        error
            .hint(format!("{mend}--below-minimum=WHY forgets without asking the configuration for a minimum"))
    })?;
    let Some(configuration) = configuration else { return Ok(()) };
    let address = place::address(global, environment)?;
    let Some(words) = too_short(&configuration, order.tenant.as_deref(), &address, policy) else {
        return Ok(());
    };
    if order.dry_run {
        face.warn(&words);
        return Ok(());
    }
    Err(CliError::new(Kind::Refused, words).hint("keep more, or say why with --below-minimum=WHY"))
}

/// Which source of the repository at `address` would be kept for less time than `[minimum]` says, in words.
fn too_short(
    configuration: &Configuration,
    named: Option<&str>,
    address: &str,
    policy: &Policy,
) -> Option<String> {
    let asked = configuration.minimum.retention.as_ref()?;
    let is_meant = |tenant: &&Tenant| named.is_none_or(|name| tenant.name.as_str() == name);
    configuration.tenants.iter().filter(is_meant).find_map(|tenant| {
        let source =
            tenant.sources.iter().filter(|source| source.below_minimum.is_none()).find(|source| {
                let mut places = std::iter::once(&tenant.repository).chain(&source.copies.value);
                places.any(|place| is_same(&place.url.value, address)) && source.reach(policy) < asked.value
            })?;
        let reach = show_span(source.reach(policy));
        let (name, least) = (&source.name, show_span(asked.value));
        Some(format!(
            "backups of {}/{name} would be kept for {reach}, and [minimum] asks for {least}",
            tenant.name
        ))
    })
}

/// Whether two addresses are spelt for the same place.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |url: &str| match local_path(url) {
        Ok(path) => path.canonicalize().unwrap_or(path),
        Err(_) => PathBuf::from(url.trim_end_matches('/')),
    };
    plain(one) == plain(other)
}

fn policy(order: &Forget) -> Result<Policy> {
    let slots = [
        (Every::Hours(1), order.keep_hourly),
        (Every::Day, order.keep_daily),
        (Every::Week, order.keep_weekly),
        (Every::Month, order.keep_monthly),
        (Every::Year, order.keep_yearly),
    ];
    Ok(Policy {
        keep_last: order.keep_last,
        keep_within: order.keep_within.as_deref().map(duration).transpose()?,
        keep_wal_within: order.keep_wal_within.as_deref().map(duration).transpose()?,
        calendar: slots.into_iter().filter_map(|(every, keep)| Some((every, keep?))).collect(),
        tiers: vec![],
        zone: order.time_zone.clone(),
    })
}

/// A time span like `72h`, `30d`, `2 weeks`; days have 24 hours.
pub(crate) fn duration(text: &str) -> Result<SignedDuration> {
    let wrong = || CliError::usage(format!("{text:?} is no time span")).hint("write it like 12h, 30d or 2w");
    parse_span(text).ok_or_else(wrong)
}

fn show(plan: &[(BackupRecord, Verdict)], forgotten: &[BackupRecord], dry_run: bool, face: &Face) {
    let reason = |verdict: &Verdict| match verdict {
        Verdict::Keep(reason) => *reason,
        Verdict::Forget => "beyond the policy",
    };
    let goes = |verdict: &Verdict| *verdict == Verdict::Forget;
    let document: Vec<_> = plan
        .iter()
        .map(|(record, verdict)| json!({ "id": record.id, "forget": goes(verdict), "reason": reason(verdict) }))
        .collect();
    let ids: Vec<_> = forgotten.iter().map(|record| record.id.as_str()).collect();
    face.result(&json!({ "plan": document, "forgotten": ids, "dryRun": dry_run }), || {
        let header = ["ID", "CREATED", "ACTION", "REASON"].map(str::to_owned).to_vec();
        let row = |(record, verdict): &(BackupRecord, Verdict)| {
            let action = if goes(verdict) { "forget" } else { "keep" };
            let reason = reason(verdict).replace(' ', "-");
            vec![record.id.to_string(), format!("{:.0}", record.created_at), action.to_owned(), reason]
        };
        let count = plan.iter().filter(|(_, verdict)| goes(verdict)).count();
        let end = match dry_run {
            true => format!("{count} would be forgotten; nothing was changed"),
            false => format!(
                "{} forgotten; `mainstay backup undelete` brings one back until prune",
                forgotten.len()
            ),
        };
        format!("{}\n{end}", table(&std::iter::once(header).chain(plan.iter().map(row)).collect::<Vec<_>>()))
    });
}
