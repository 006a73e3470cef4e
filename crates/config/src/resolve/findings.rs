//! What is wrong, collected on the way, so that all of it is shown at once.

use crate::address::{NO_PASSWORDS, has_password};
use crate::error::{ConfigError, Result};
use crate::file::File;
use crate::written::Written;

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

    /// A mistake where somebody wrote a password into an address; `path` names it in words.
    pub(super) fn refuse_password(&mut self, file: &File, address: &Written<String>, path: &str, hint: &str) {
        if has_password(&address.value) {
            self.mistakes.push(file.mistake(address, format!("{path}: {NO_PASSWORDS}")).hint(hint));
        }
    }
}
