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

use std::thread::Scope;
use std::time::Duration;

use config::configuration::Configuration;
use crossbeam_channel::{Sender, unbounded};
use daemon::history::{End, History, HistoryError};
use daemon::timetable::{Batch, Job, Skip, Timetable};
use jiff::Timestamp;
use model::cancel::CancelToken;
use repo::budget::Budget;
use repo::threads::cores;
use serde_json::{Value, json};

use super::sources::{self, Configured};
use crate::arguments::{Create, Global, Run};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{configured, interrupt};
use done::{Done, Ended};
use due::Watched;
use hosts::Hosts;
use job::Runner;
use set::{Group, Step, groups};

pub(crate) fn run(global: &Global, order: &Run, environment: &Environment, face: &Face) -> Result<()> {
    let configuration = configured::required(global)?;
    let Set { sources, history, places, mut table } =
        Set::of(&configuration, &order.names, environment, face)?;
    let now = Timestamp::now();
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
    let cancel = interrupt::watch()?;
    let hosts = Hosts::default();
    let drive = Drive(Runner { global, sources: &sources, environment, face, cancel, places, hosts });
    let mut ran = vec![];
    drive.carry_out(&mut table, &history, |_| Pace::UntilIdle, |one| ran.push(one));
    show(&ran, face);
    end(ran, &drive.0.cancel)
}

/// What runs come from.
struct Set<'a> {
    sources: Vec<Configured<'a>>,
    history: History,
    /// Tenants at one time.
    places: usize,
    table: Timetable,
}

impl<'a> Set<'a> {
    /// The sources that `names` mean, and what is known of them.
    fn of(
        configuration: &'a Configuration,
        names: &[String],
        environment: &Environment,
        face: &Face,
    ) -> Result<Self> {
        configuration.warnings.iter().for_each(|warning| face.warn(&warning.to_string()));
        let sources = sources::chosen(configuration, names)?;
        let mut history = sources::history(environment, face)?;
        sources::learn_unknown(&sources, &mut history, environment, face)?;
        let entries = sources.iter().map(|source| source.entry(&history)).collect::<Result<Vec<_>>>()?;
        let places = places(configuration.tenants_max.as_ref().map(|max| max.value), environment.budget());
        let table = Timetable::new(entries, places, Timestamp::now());
        Ok(Self { sources, history, places, table })
    }
}

/// `mainstay serve`: whatever is due is carried out until a signal comes. A configuration that was changed is read again as
/// soon as nothing runs; one with a mistake is said, and the one before it goes on.
pub(crate) fn serve(global: &Global, environment: &Environment, face: &Face) -> Result<()> {
    let mut configuration = configured::required(global)?;
    let cancel = interrupt::watch()?;
    face.status("serving; a signal ends it when what runs has stopped");
    while !cancel.is_cancelled() {
        let mut seen = configured::stamp(global);
        let Set { sources, history, places, mut table } = Set::of(&configuration, &[], environment, face)?;
        let hosts = Hosts::default();
        let cancel = cancel.clone();
        let drive = Drive(Runner { global, sources: &sources, environment, face, cancel, places, hosts });
        let mut next = None;
        let mut watched = Watched::of(&sources, environment, face);
        let pace = |table: &mut Timetable| {
            let stamp = configured::stamp(global);
            if stamp != seen {
                seen = stamp;
                match configured::required(global) {
                    Ok(changed) => next = Some(changed),
                    Err(error) => face.warn(&format!("the configuration stays as it was: {}", error.message)),
                }
            }
            if next.is_some() {
                return Pace::Ending;
            }
            let now = Timestamp::now();
            table.tick(now).iter().for_each(|skip| drive.remember_skip(&history, skip, now));
            watched.trigger(table, now);
            Pace::Going
        };
        drive.carry_out(&mut table, &history, pace, drop);
        if let Some(changed) = next {
            face.note("the configuration was changed and is read again");
            configuration = changed;
        }
    }
    Ok(())
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

/// How often the signals and the files of the configuration are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tenants at one time: as said, else one for each core, and each with memory enough.
fn places(said: Option<usize>, budget: Budget) -> usize {
    let room = budget.bytes() / Budget::MIN.bytes();
    said.unwrap_or_else(cores).min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

/// What a batch says while it is carried out.
enum News {
    /// Of a source, or of a member of a set.
    Begins(Job, Option<String>),
    Ended(Job, Box<Ended>),
    Over {
        tenant: usize,
    },
}

/// A run that is over.
struct Ran {
    name: String,
    slot: Timestamp,
    ended: Ended,
}

/// What drives runs: batches begin, say what becomes of them, and end.
struct Drive<'a>(Runner<'a>);

/// Whether more comes.
#[derive(PartialEq, Eq)]
enum Pace {
    /// What waits begins; the end is when nothing waits and nothing runs.
    UntilIdle,
    /// What waits begins, and more will.
    Going,
    /// Nothing begins any more; the end is when nothing runs.
    Ending,
}

impl Drive<'_> {
    /// Carry out what waits at the `pace` that is asked for before each look around; `tell` hears of each run that is over.
    fn carry_out(
        &self,
        table: &mut Timetable,
        history: &History,
        mut pace: impl FnMut(&mut Timetable) -> Pace,
        mut tell: impl FnMut(Ran),
    ) {
        let (teller, news) = unbounded();
        let mut begun: Vec<(Job, i64)> = vec![];
        std::thread::scope(|scope| {
            loop {
                let pace = if self.0.cancel.is_cancelled() { Pace::Ending } else { pace(table) };
                while pace != Pace::Ending
                    && let Some(batch) = table.start(Timestamp::now())
                {
                    self.begin(scope, batch, teller.clone());
                }
                match pace {
                    Pace::UntilIdle if table.is_idle() => return,
                    Pace::Ending if !table.is_running() => return,
                    _ => {}
                }
                // Whoever carries a batch out says that it is over, whatever happens.
                match news.recv_timeout(LOOK_EVERY) {
                    Ok(News::Begins(job, set)) => {
                        let name = self.0.sources[job.entry].parts();
                        let id = history.begin(name.0, name.1, job.slot, Timestamp::now());
                        let id = self.remembered(id);
                        if let (Some(id), Some(set)) = (id, set) {
                            self.remembered(history.belongs_to_set(id, &set));
                        }
                        begun.extend(id.map(|id| (job, id)));
                    }
                    Ok(News::Ended(job, ended)) => {
                        let at = begun.iter().position(|(one, _)| *one == job);
                        self.remember(history, at.map(|at| begun.swap_remove(at).1), job, &ended);
                        tell(Ran { name: self.0.sources[job.entry].name(), slot: job.slot, ended: *ended });
                    }
                    Ok(News::Over { tenant }) => table.finished(tenant),
                    Err(_) => {}
                }
            }
        });
    }

    /// Nothing rests on the history: where it cannot be written, backups go on.
    fn remembered<T>(&self, written: Result<T, HistoryError>) -> Option<T> {
        written.map_err(|error| self.0.face.warn(&error.to_string())).ok()
    }

    fn remember_skip(&self, history: &History, skip: &Skip, now: Timestamp) {
        let one = &self.0.sources[skip.job.entry];
        let reason = format!("a run of this tenant is out since {:.0}", skip.running_since);
        self.0.face.status(&format!("run skipped source={}: {reason}", one.name()));
        let (tenant, source) = one.parts();
        self.remembered(history.skipped(tenant, source, skip.job.slot, now, &reason));
    }

    fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, batch: Batch, tell: Sender<News>) {
        scope.spawn(move || {
            let over = Over { tell, tenant: batch.tenant };
            // The other end is there until every batch is over.
            let say = |news| drop(over.tell.send(news));
            for group in groups(&batch.jobs, self.0.sources) {
                if self.0.cancel.is_cancelled() {
                    return;
                }
                match group {
                    Group::One(job) => {
                        say(News::Begins(job, None));
                        say(News::Ended(job, Box::new(self.0.carry_out(job, None))));
                    }
                    Group::Set(set, jobs) => self.0.carry_out_set(set, &jobs, |step| match step {
                        Step::Begins(job) => say(News::Begins(job, Some(set.name.to_string()))),
                        Step::Ended(job, ended) => say(News::Ended(job, Box::new(ended))),
                    }),
                }
            }
        });
    }

    fn remember(&self, history: &History, id: Option<i64>, job: Job, ended: &Ended) {
        let done = &ended.done;
        if let Some(line) = line(&self.0.sources[job.entry].name(), done) {
            self.0.face.status(&line);
        }
        let end = match done {
            Done::Made { records, failures, behind } => match (&**records, &**failures, &**behind) {
                ([first, ..], [], []) => End::Backup(first),
                ([first, ..], [], [words, ..]) => End::Partial(first, words),
                ([first, ..], [missing, ..], _) => End::Incomplete(first, missing),
                ([], [missing, ..], _) => End::Failed(missing),
                ([], [], _) => End::Failed("there was nothing to back up"),
            },
            Done::Failed(error) => End::Failed(&error.message),
            Done::Skipped(reason) => End::Skipped(reason),
        };
        if let Some(id) = id {
            self.remembered(history.end(id, Timestamp::now(), &end));
            self.remembered(history.remember_hooks(id, &ended.hooks));
        }
    }
}

/// Says that a batch is over, also where its thread panics.
struct Over {
    tell: Sender<News>,
    tenant: usize,
}

impl Drop for Over {
    fn drop(&mut self) {
        drop(self.tell.send(News::Over { tenant: self.tenant }));
    }
}

/// The line of a run that made no good backup; a good one has said so itself.
fn line(name: &str, done: &Done) -> Option<String> {
    match done {
        Done::Skipped(reason) => Some(format!("run skipped source={name}: {reason}")),
        Done::Failed(error) => Some(format!("run failed source={name}: {}", error.message)),
        Done::Made { failures, behind, .. } => match (&**failures, &**behind) {
            ([first, ..], _) => Some(format!("run incomplete source={name}: {first}")),
            ([], [first, ..]) => Some(format!("run partial source={name}: {first}")),
            ([], []) => None,
        },
    }
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
