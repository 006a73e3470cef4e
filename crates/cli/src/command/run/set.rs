//! One run of a set: its members in their order, the commands around all of them, and nobody else at it meanwhile.
//!
//! Every member is tried, whatever became of the others. Invariant: each of its backups says of which run of which set it is, and
//! how many there should be; so a run that lacks one is seen by whoever lists the repository.

use std::sync::Arc;

use config::configuration::SourceSet;
use daemon::timetable::Job;
use engine::catalog;
use jiff::Timestamp;
use model::name::SourceName;
use model::set_mark::{SetMark, runs};
use repo::Repository;
use repo::lease::Lease;

use super::super::sources::Configured;
use super::done::{Done, Ended};
use super::job::Runner;
use crate::around::{Around, Ending};
use crate::error::{CliError, Result};
use crate::place;

/// What is said on the way.
pub(super) enum Step {
    Begins(Job),
    Ended(Job, Ended),
}

/// Jobs that belong together.
pub(super) enum Group<'a> {
    One(Job),
    Set(&'a SourceSet, Vec<Job>),
}

/// In the order of their first jobs. A member of a set whose others are not asked for is a source like any other.
pub(super) fn groups<'a>(jobs: &[Job], sources: &[Configured<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = vec![];
    for job in jobs {
        let one = sources[job.entry];
        let whole =
            one.tenant.set_of(&one.source.name).and_then(|set| Some((set, together(set, jobs, sources)?)));
        match whole {
            None => groups.push(Group::One(*job)),
            Some((set, _))
                if groups
                    .iter()
                    .any(|group| matches!(group, Group::Set(known, _) if known.name == set.name)) => {}
            Some((set, jobs)) => groups.push(Group::Set(set, jobs)),
        }
    }
    groups
}

/// The jobs of all members, in the order of the set, where all of them are there.
fn together(set: &SourceSet, jobs: &[Job], sources: &[Configured<'_>]) -> Option<Vec<Job>> {
    let of = |name: &SourceName| jobs.iter().find(|job| sources[job.entry].source.name == *name).copied();
    set.members.iter().map(of).collect()
}

/// Why a set does not run, or what keeps others away while it does.
enum Turn {
    Ours(#[expect(dead_code, reason = "it is held until it is dropped")] Lease),
    Skipped(String),
}

impl Runner<'_> {
    /// Carry out a set, and `say` what becomes of each member.
    pub(super) fn carry_out_set(&self, set: &SourceSet, jobs: &[Job], mut say: impl FnMut(Step)) {
        let Some(first) = jobs.first() else { return };
        let one = self.sources[first.entry];
        let mark =
            SetMark { name: set.name.clone(), run: first.slot, members: set.members.len(), part: None };
        let face = self.face.about(&format!("{}/{}", one.tenant.name, set.name));
        let variables = vec![
            ("MAINSTAY_TENANT", one.tenant.name.to_string()),
            ("MAINSTAY_SET", set.name.to_string()),
            ("MAINSTAY_SET_RUN", mark.run_name()),
        ];
        let mut around = Around::new(Some(&set.hooks), variables, &face);
        let turn = self.turn(one, &mark, *first);
        let (turn, begun) = match turn {
            Ok(Turn::Skipped(reason)) => {
                for job in jobs {
                    say(Step::Begins(*job));
                    say(Step::Ended(*job, Ended { done: Done::Skipped(reason.clone()), hooks: vec![] }));
                }
                return;
            }
            Ok(ours) => (Some(ours), around.before(&self.cancel)),
            Err(error) => (None, Err(error)),
        };
        let (mut missing, mut last) = (vec![], None);
        for job in jobs {
            last.take().into_iter().for_each(&mut say);
            say(Step::Begins(*job));
            let mut ended = match &begun {
                Ok(()) => self.carry_out(*job, Some(&mark)),
                Err(error) => Ended { done: Done::Failed(error.again()), hooks: vec![] },
            };
            ended.hooks.splice(0..0, std::mem::take(&mut around.runs));
            if !ended.done.is_good() {
                missing.push(self.sources[job.entry].source.name.to_string());
            }
            last = Some(Step::Ended(*job, ended));
        }
        drop(turn);
        let reason = match missing.is_empty() {
            true => String::new(),
            false => format!("missing {}", missing.join(", ")),
        };
        let outcome = if missing.is_empty() { "ok" } else { "incomplete" };
        let words = around.behind(&Ending { outcome, reason, backup: String::new() });
        if let Some(Step::Ended(_, ended)) = &mut last {
            ended.hooks.append(&mut around.runs);
            if let (Some(words), Done::Made { behind, .. }) = (words, &mut ended.done) {
                behind.push(words);
            }
        }
        last.into_iter().for_each(&mut say);
        let name = format!("{}/{}", one.tenant.name, set.name);
        match missing.is_empty() {
            true => {
                face.note(&format!("set ok name={name} run={} members={}", mark.run_name(), mark.members))
            }
            false => self.face.status(&format!(
                "set INCOMPLETE name={name} run={} missing={}",
                mark.run_name(),
                missing.join(",")
            )),
        }
    }

    /// Whether it is ours to run it: the one who holds the tenant's lease, where no run of this time is there already.
    fn turn(&self, one: Configured<'_>, mark: &SetMark, job: Job) -> Result<Turn> {
        let face = self.face.about(&one.name());
        let environment = self.environment_of(one.tenant, one.source, &face)?;
        let targets = self.targets(one.tenant, one.source, &environment, &face)?;
        let first = targets.first().ok_or_else(|| CliError::usage("no repository is named"))?;
        let repository: Arc<Repository> = first.open(&environment, &face)?;
        let holder = format!("run-{}", one.tenant.name);
        let Some(lease) = Lease::recurring(&repository, &holder, &place::identity(&environment))? else {
            return Ok(Turn::Skipped(format!(
                "another mainstay backs {} up at this moment",
                one.tenant.name
            )));
        };
        let records = catalog::list_readable(&repository)?.records;
        let made = runs(&records, one.tenant.name.as_str(), mark.name.as_str());
        let is_it = |run: Timestamp| run.as_second() >= job.slot.as_second() && run <= Timestamp::now();
        let newer = made.iter().find(|run| is_it(run.mark.run) && run.missing() == 0);
        Ok(match newer {
            Some(run) => Turn::Skipped(format!("run {} of the set was made meanwhile", run.mark.run_name())),
            None => Turn::Ours(lease),
        })
    }
}
