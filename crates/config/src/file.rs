//! One file as it is written, and the JSON schema of such files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use crate::error::{ConfigError, Result, line_of};
use crate::origin::{Given, Origin};
use crate::repository::RepositoryTable;
use crate::section::{Limits, Minimum, NotifyTable, Section, TenantTable, WatchTable};
use crate::written::Written;

/// The keys of `mainstay.toml`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mainstay.toml")]
pub(crate) struct Tables {
    /// The common repository: each tenant gets a prefix below it
    #[serde(default)]
    pub(crate) repository: RepositoryTable,
    /// More files, relative to this one, with * in their names
    #[serde(default)]
    pub(crate) include: Vec<Written<String>>,
    /// What this machine may be used for
    #[serde(default)]
    pub(crate) limits: Limits,
    /// What no source may fall short of without saying why
    #[serde(default)]
    pub(crate) minimum: Minimum,
    /// For every source that does not say otherwise
    #[serde(default)]
    pub(crate) defaults: Section,
    /// Who can be told of alarms
    #[serde(default)]
    pub(crate) notify: BTreeMap<String, Written<NotifyTable>>,
    /// The observer
    pub(crate) watch: Option<Written<WatchTable>>,
    /// Owners of backups
    #[serde(default)]
    pub(crate) tenants: BTreeMap<String, Written<TenantTable>>,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    pub(crate) path: PathBuf,
    text: String,
    pub(crate) tables: Tables,
}

impl File {
    /// Read `text`, the contents of `path`.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn parse(path: &Path, text: String) -> Result<Self> {
        let tables = toml::from_str(&text).map_err(|error| ConfigError::parsed(path, &text, &error))?;
        Ok(Self { path: path.to_owned(), text, tables })
    }

    /// The value and where it stands.
    pub(crate) fn given<T: Clone>(&self, written: &Written<T>) -> Given<T> {
        let origin = Origin::File { path: self.path.clone(), line: line_of(&self.text, written.start) };
        Given { value: written.value.clone(), origin }
    }

    /// A mistake in this value.
    pub(crate) fn mistake<T>(&self, written: &Written<T>, message: impl Into<String>) -> ConfigError {
        ConfigError::of_file(&self.path, message).at_line(line_of(&self.text, written.start))
    }
}

/// The JSON schema (draft 2020-12) of `mainstay.toml`.
pub fn schema() -> schemars::Schema {
    schema_for!(Tables)
}
