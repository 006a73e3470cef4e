//! What drives runs: batches begin, say what becomes of them, and end.
//!
//! Invariant: whoever carries a batch out says that it is over, whatever happens; so a tenant's place is always given back.

use std::sync::Arc;
use std::thread::Scope;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use daemon::history::{End, History, HistoryError};
use daemon::timetable::{Batch, Job, Skip, Timetable};
use jiff::Timestamp;
use model::cancel::CancelToken;

use super::super::sources::Configured;
use super::done::{Done, Ended};
use super::hosts::Hosts;
use super::job::Runner;
use super::reading::Reading;
use super::set::{Group, Step, groups};
use crate::arguments::Global;
use crate::face::Face;

/// How often the signals and the files of the configuration are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What holds as long as the process.
pub(super) struct Drive<'a> {
    global: &'a Global,
    face: &'a Face,
    pub(super) cancel: CancelToken,
    hosts: Hosts,
}

impl<'a> Drive<'a> {
    pub(super) fn new(global: &'a Global, face: &'a Face, cancel: CancelToken) -> Self {
        Self { global, face, cancel, hosts: Hosts::default() }
    }
}

/// Which run it is. Those of one tenant never overlap, so no two have the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    tenant: String,
    source: String,
    slot: Timestamp,
}

impl Name {
    fn of(one: &Configured<'_>, job: Job) -> Self {
        let (tenant, source) = one.parts();
        Self { tenant: tenant.to_owned(), source: source.to_owned(), slot: job.slot }
    }
}

/// What a batch says while it is carried out.
enum News {
    /// Of a source, or of a member of a set.
    Begins(Name, Option<String>),
    Ended(Name, Box<Ended>),
    Over {
        tenant: usize,
    },
}

/// A run that is over.
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) slot: Timestamp,
    pub(super) ended: Ended,
}

/// Whether more comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// What waits begins; the end is when nothing waits and nothing runs.
    UntilIdle,
    /// What waits and what becomes due begins.
    Going,
    /// What is due waits, or is skipped; nothing begins for now.
    Holding,
    /// Nothing begins any more; the end is when nothing runs.
    Ending,
    /// The end is here, and what runs goes on.
    Leaving,
}

/// Runs that are out, and their history.
pub(super) struct Work<'scope, 'env, 'a> {
    scope: &'scope Scope<'scope, 'env>,
    drive: &'scope Drive<'a>,
    pub(super) history: History,
    tell: Sender<News>,
    news: Receiver<News>,
    /// With their numbers in the history.
    begun: Vec<(Name, i64)>,
}

impl<'scope, 'env, 'a> Work<'scope, 'env, 'a> {
    pub(super) fn begin(
        scope: &'scope Scope<'scope, 'env>,
        drive: &'scope Drive<'a>,
        history: History,
    ) -> Self {
        let (tell, news) = unbounded();
        Self { scope, drive, history, tell, news, begun: vec![] }
    }

    /// Carry out what waits, by `reading`, at the `pace` that is asked for before each look around; `hear` of each run that is
    /// over.
    pub(super) fn carry_out(
        &mut self,
        reading: &Arc<Reading>,
        sources: &[Configured<'_>],
        table: &mut Timetable,
        mut pace: impl FnMut(&mut Timetable) -> Pace,
        mut hear: impl FnMut(Ran),
    ) {
        loop {
            let pace = if self.drive.cancel.is_cancelled() { Pace::Ending } else { pace(table) };
            let now = Timestamp::now();
            if matches!(pace, Pace::Going | Pace::Holding) {
                table.tick(now).iter().for_each(|skip| self.remember_skip(sources, skip, now));
            }
            while matches!(pace, Pace::Going | Pace::UntilIdle)
                && let Some(batch) = table.start(Timestamp::now())
            {
                self.spawn(reading, batch);
            }
            match pace {
                Pace::Leaving => return,
                Pace::UntilIdle if table.is_idle() => return,
                Pace::Ending if !table.is_running() => return,
                _ => {}
            }
            match self.news.recv_timeout(LOOK_EVERY) {
                Ok(News::Begins(name, set)) => self.remember_begin(name, set),
                Ok(News::Ended(name, ended)) => {
                    self.remember(&name, &ended);
                    let Name { tenant, source, slot } = name;
                    hear(Ran { name: format!("{tenant}/{source}"), slot, ended: *ended });
                }
                Ok(News::Over { tenant }) => table.finished(tenant),
                Err(_) => {}
            }
        }
    }

    fn spawn(&self, reading: &Arc<Reading>, batch: Batch) {
        let (reading, tell, drive) = (Arc::clone(reading), self.tell.clone(), self.drive);
        self.scope.spawn(move || {
            let over = Over { tell, tenant: batch.tenant };
            // The other end is there until every batch is over.
            let say = |news| drop(over.tell.send(news));
            let sources = reading.sources();
            let name = |job: Job| Name::of(&sources[job.entry], job);
            let runner = Runner {
                global: drive.global,
                sources: &sources,
                environment: &reading.environment,
                face: drive.face,
                cancel: drive.cancel.clone(),
                places: reading.places,
                hosts: &drive.hosts,
            };
            for group in groups(&batch.jobs, &sources) {
                if drive.cancel.is_cancelled() {
                    return;
                }
                match group {
                    Group::One(job) => {
                        say(News::Begins(name(job), None));
                        say(News::Ended(name(job), Box::new(runner.carry_out(job, None))));
                    }
                    Group::Set(set, jobs) => runner.carry_out_set(set, &jobs, |step| match step {
                        Step::Begins(job) => say(News::Begins(name(job), Some(set.name.to_string()))),
                        Step::Ended(job, ended) => say(News::Ended(name(job), Box::new(ended))),
                    }),
                }
            }
        });
    }

    /// Nothing rests on the history: where it cannot be written, backups go on.
    fn remembered<T>(&self, written: Result<T, HistoryError>) -> Option<T> {
        written.map_err(|error| self.drive.face.warn(&error.to_string())).ok()
    }

    fn remember_skip(&self, sources: &[Configured<'_>], skip: &Skip, now: Timestamp) {
        let one = &sources[skip.job.entry];
        let reason = format!("a run of this tenant is out since {:.0}", skip.running_since);
        self.drive.face.status(&format!("run skipped source={}: {reason}", one.name()));
        let (tenant, source) = one.parts();
        self.remembered(self.history.skipped(tenant, source, skip.job.slot, now, &reason));
    }

    fn remember_begin(&mut self, name: Name, set: Option<String>) {
        let id = self.history.begin(&name.tenant, &name.source, name.slot, Timestamp::now());
        let id = self.remembered(id);
        if let (Some(id), Some(set)) = (id, set) {
            self.remembered(self.history.belongs_to_set(id, &set));
        }
        self.begun.extend(id.map(|id| (name, id)));
    }

    fn remember(&mut self, name: &Name, ended: &Ended) {
        let done = &ended.done;
        if let Some(line) = line(&format!("{}/{}", name.tenant, name.source), done) {
            self.drive.face.status(&line);
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
        let Some(at) = self.begun.iter().position(|(one, _)| one == name) else { return };
        let (_, id) = self.begun.swap_remove(at);
        self.remembered(self.history.end(id, Timestamp::now(), &end));
        self.remembered(self.history.remember_hooks(id, &ended.hooks));
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
