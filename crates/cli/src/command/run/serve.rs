//! `mainstay serve`: whatever is due is carried out until a signal comes.
//!
//! Files that are changed are read again at once: what runs goes on as it began, and all else goes by what they say now.
//! Invariant: a configuration with a mistake, and a history that cannot be read, are said and stop nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use daemon::history::History;
use daemon::timetable::{Entry, Timetable};
use jiff::Timestamp;

use super::super::sources::{self, Configured};
use super::drive::{Drive, Pace, Work};
use super::due::Watched;
use super::reading::{Reading, first_table};
use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::{configured, interrupt};

pub(crate) fn serve(global: &Global, environment: &Environment, face: &Face) -> Result<()> {
    let read_again = || {
        let (seen, read) = configured::read_again(global, environment, face);
        let read = read.and_then(|(configuration, own)| Reading::of(configuration, &[], own, face));
        (seen, read)
    };
    let (mut seen, reading) = read_again();
    let mut reading = reading?;
    let drive = Drive::new(global, face, interrupt::watch()?);
    face.status("serving; a signal ends it when what runs has stopped");
    let mut numbers = Numbers::default();
    let (history, mut table) = {
        let (sources, now) = (reading.sources(), Timestamp::now());
        first_table(&reading, &sources, face, |entries| numbers.put_into(entries, &sources), now)?
    };
    std::thread::scope(|scope| {
        let mut work = Work::begin(scope, &drive, history);
        let (mut left, mut coming) = (None, None);
        loop {
            let sources = reading.sources();
            let mut watched = Watched::of(&sources, &reading.environment, face, left.take());
            let mut next: Option<Arc<Reading>> = None;
            let mut is_holding = false;
            let pace = |table: &mut Timetable| {
                if seen.has_changed() {
                    let (now_seen, read) = read_again();
                    seen = now_seen;
                    match read {
                        Ok(read) => coming = Some((Arc::clone(&read), ask(read, face.clone()))),
                        Err(error) => {
                            face.warn(&format!("the configuration stays as it was: {}", error.message));
                        }
                    }
                }
                if let Some((ready, _)) = coming.take_if(|(_, asking)| asking.is_finished()) {
                    next = Some(ready);
                }
                match &next {
                    // Each has its share of the memory, and shares of another size would be more than all of it.
                    Some(next) if next.places != reading.places && table.is_running() => {
                        if !std::mem::replace(&mut is_holding, true) {
                            let words = "another number of tenants at one time waits for what runs";
                            face.note(&format!("{words}; nothing begins until that has ended"));
                        }
                        Pace::Holding
                    }
                    Some(_) => Pace::Leaving,
                    None => {
                        watched.trigger(table, Timestamp::now());
                        Pace::Going
                    }
                }
            };
            work.carry_out(&reading, &sources, &mut table, pace, drop);
            let Some(next) = next else { break };
            face.note("the configuration was changed and is read again");
            table = next_table(&table, (&sources, &next), &work.history, &mut numbers, face);
            left = watched.leave();
            drop(sources);
            reading = next;
        }
    });
    Ok(())
}

/// Of each tenant the number that it keeps for the life of the process: what runs is known by it.
#[derive(Default)]
struct Numbers(HashMap<String, usize>);

impl Numbers {
    /// The entries of `sources`, with these numbers.
    fn put_into(&mut self, mut entries: Vec<Entry>, sources: &[Configured<'_>]) -> Vec<Entry> {
        for (entry, one) in entries.iter_mut().zip(sources) {
            let next = self.0.len();
            entry.tenant = *self.0.entry(one.tenant.name.to_string()).or_insert(next);
        }
        entries
    }
}

/// Ask the repositories of those who are new in `reading` what they have. That may take its time, and nobody waits for it: it has a
/// connection of its own to the history.
fn ask(reading: Arc<Reading>, face: Face) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (sources, own) = (reading.sources(), &reading.environment);
        let asked = sources::history(own, &face)
            .and_then(|mut history| sources::learn_unknown(&sources, &mut history, own, &face));
        if let Err(error) = asked {
            face.warn(&error.message);
        }
    })
}

/// The table of the `next` reading, in which what is out and what waits is as it was in `table`.
fn next_table(
    table: &Timetable,
    (before, next): (&[Configured<'_>], &Reading),
    history: &History,
    numbers: &mut Numbers,
    face: &Face,
) -> Timetable {
    let sources = next.sources();
    // Of a source that is not new the table knows as much as the history.
    let entries = sources.iter().map(|one| {
        one.entry(history).unwrap_or_else(|error| {
            face.warn(&error.message);
            one.entry_of_new()
        })
    });
    let entries = numbers.put_into(entries.collect(), &sources);
    let known: HashMap<_, _> = sources.iter().enumerate().map(|(number, one)| (one.name(), number)).collect();
    let same = |number: usize| known.get(&before[number].name()).copied();
    table.replaced(entries, next.places, same, Timestamp::now())
}
