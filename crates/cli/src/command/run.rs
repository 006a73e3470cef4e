//! `mainstay run`: back up configured sources, those of several tenants at one time.
//!
//! The timetable says what begins; one thread for each batch carries it out; only this thread writes the history. Ctrl-C
//! and SIGTERM stop what runs, and nothing new begins.

mod done;
mod hosts;
mod export;
mod job;
mod set;
mod due;
mod reading;
mod drive;
mod serve;

use daemon::timetable::{Job, Timetable};
use jiff::Timestamp;
use model::cancel::CancelToken;
use serde_json::{Value, json};

use super::sources::Configured;
use crate::arguments::{Create, Global, Run};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{configured, interrupt};
use done::{Done, Ended};
use drive::{Drive, Pace, Ran, Work};
use reading::{Reading, first_table};
pub(super) use serve::serve;

pub(crate) fn run(global: &Global, order: &Run, environment: &Environment, face: &Face) -> Result<()> {
    let environment = environment.again(face);
    let reading = Reading::of(configured::required(global)?, &order.names, environment, face)?;
    let sources = reading.sources();
    let now = Timestamp::now();
    let (history, mut table) = first_table(&reading, &sources, face, |entries| entries, now)?;
    if order.due {
        table.tick(now);
    } else {
        // What one asks for oneself is not skipped: nothing runs yet.
        for entry in 0..sources.len() {
            table.trigger(entry, now);
        }
    }
    if order.dry_run {
        return show_plan(&mut table, &sources, face);
    }
    let drive = Drive::new(global, face, interrupt::watch()?);
    let mut ran = vec![];
    std::thread::scope(|scope| {
        let mut work = Work::begin(scope, &drive, history);
        work.carry_out(&reading, &sources, &mut table, |_| Pace::UntilIdle, |one| ran.push(one));
    });
    show(&ran, face);
    end(ran, &drive.cancel)
}

/// `backup create TENANT --source NAME` as a run; what the configuration says of a source, flags cannot say otherwise.
pub(crate) fn of_source(order: &Create) -> Result<Run> {
    let name = order.what.source.as_deref().unwrap_or_default();
    if order.name.is_some() || !order.destination.dest.is_empty() || !order.label.is_empty() || order.hold {
        return Err(CliError::usage(
            "--source takes what the configuration says, and no other name, place, label or hold",
        )
        .hint("say what to back up with --database or --directory instead"));
    }
    Ok(Run { names: vec![format!("{}/{name}", order.tenant)], due: false, dry_run: false })
}

fn show_plan(table: &mut Timetable, sources: &[Configured<'_>], face: &Face) -> Result<()> {
    let now = Timestamp::now();
    let mut due = vec![];
    while let Some(batch) = table.start(now) {
        due.extend(batch.jobs);
        table.finished(batch.tenant);
    }
    let document: Vec<_> = due
        .iter()
        .map(|job| json!({ "name": sources[job.entry].name(), "slot": job.slot.to_string() }))
        .collect();
    face.result(&json!({ "due": document, "dryRun": true }), || {
        let row = |job: &Job| vec![sources[job.entry].name(), format!("{:.0}", job.slot)];
        let header = vec!["SOURCE".to_owned(), "FOR".to_owned()];
        let rows: Vec<_> = std::iter::once(header).chain(due.iter().map(row)).collect();
        format!("{}\n{} would run; nothing was done", crate::table::table(&rows), due.len())
    });
    Ok(())
}

fn show(ran: &[Ran], face: &Face) {
    let value = |Ran { name, slot, ended: Ended { done, hooks } }: &Ran| -> Value {
        let records = match done {
            Done::Made { records, .. } => json!(records),
            _ => json!([]),
        };
        json!({
            "name": name,
            "slot": slot.to_string(),
            "outcome": done.outcome(),
            "reason": done.reason(),
            "records": records,
            "hooks": hooks.iter().map(super::runs::hook).collect::<Vec<_>>(),
        })
    };
    face.result(&json!({ "runs": ran.iter().map(value).collect::<Vec<_>>() }), String::new);
}

/// What is skipped is no failure; what is missing is.
fn end(mut ran: Vec<Ran>, cancel: &CancelToken) -> Result<()> {
    cancel.check().map_err(engine::EngineError::from)?;
    let all = ran.len();
    ran.retain(|ran| !matches!(ran.ended.done.outcome(), "ok" | "skipped"));
    let some_made = ran.iter().any(|ran| matches!(ran.ended.done, Done::Made { .. }));
    let without = ran.iter().filter(|ran| !ran.ended.done.is_good()).count();
    match ran.len() {
        0 => Ok(()),
        bad if without == 0 => Err(CliError::new(
            Kind::Partial,
            format!("all {all} backups are good; behind {bad} of them something failed"),
        )
        .hint("`mainstay runs` shows each with its reason")),
        bad if bad < all || some_made => {
            Err(CliError::new(Kind::Partial, format!("{without} of {all} runs have no good backup"))
                .hint("`mainstay runs` shows each with its reason"))
        }
        1 => match ran.remove(0).ended.done {
            Done::Failed(error) => Err(error),
            _ => Ok(()),
        },
        bad => Err(CliError::new(Kind::Failed, format!("all {bad} runs failed"))
            .hint("`mainstay runs` shows each with its reason")),
    }
}
