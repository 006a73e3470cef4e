//! One reading of the configuration, and what is reached with it.
//!
//! Invariant: a run that began with it ends with it, whatever the files say by then.

use std::sync::Arc;

use config::configuration::Configuration;
use daemon::history::History;
use daemon::timetable::{Entry, Timetable};
use jiff::Timestamp;
use repo::budget::Budget;
use repo::threads::cores;

use super::super::sources::{self, Configured};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

/// What holds for the runs that begin now.
pub(super) struct Reading {
    configuration: Configuration,
    /// Which sources are meant; all without names.
    names: Vec<String>,
    /// With the variables that a file had then.
    pub(super) environment: Environment,
    /// Tenants at one time.
    pub(super) places: usize,
}

impl Reading {
    /// Of the sources that `names` mean.
    pub(super) fn of(
        configuration: Configuration,
        names: &[String],
        environment: Environment,
        face: &Face,
    ) -> Result<Arc<Self>> {
        sources::chosen(&configuration, names)?;
        configuration.warnings.iter().for_each(|warning| face.warn(&warning.to_string()));
        let said = configuration.tenants_max.as_ref().map(|max| max.value);
        let places = places(said, environment.budget());
        Ok(Arc::new(Self { configuration, names: names.to_vec(), environment, places }))
    }

    /// The sources, by their numbers.
    pub(super) fn sources(&self) -> Vec<Configured<'_>> {
        // The names were found when it was made.
        sources::chosen(&self.configuration, &self.names).unwrap_or_default()
    }
}

/// The history, and what is due by it of the `sources` of a `reading`, each entry as `number` leaves it.
pub(super) fn first_table(
    reading: &Reading,
    sources: &[Configured<'_>],
    face: &Face,
    number: impl FnOnce(Vec<Entry>) -> Vec<Entry>,
    now: Timestamp,
) -> Result<(History, Timetable)> {
    let (history, entries) = sources::remembered(sources, &reading.environment, face, |history| {
        sources.iter().map(|one| one.entry(history)).collect::<Result<Vec<_>>>()
    })?;
    Ok((history, Timetable::new(number(entries), reading.places, now)))
}

/// Tenants at one time: as said, else one for each core, and each with memory enough.
fn places(said: Option<usize>, budget: Budget) -> usize {
    let room = budget.bytes() / Budget::MIN.bytes();
    said.unwrap_or_else(cores).min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}
