//! What is wrong, collected on the way, so that all of it is shown at once.

use crate::error::{ConfigError, Result};

/// Mistakes, and what should not stay as it is.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) warnings: Vec<ConfigError>,
}

impl Findings {
    /// The value, or none and its mistake noted.
    pub(super) fn noted<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }
}
