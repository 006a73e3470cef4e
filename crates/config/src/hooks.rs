//! Commands around a run, as they are written in the file.

use std::fmt;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::keep::Span;

/// How long a command may take where nobody says it.
const TIMEOUT_USUAL: SignedDuration = SignedDuration::from_mins(10);

/// Commands around a run, each by the shell, in order.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HooksTable {
    /// Before it: one that fails stops all that would come behind it
    #[serde(default)]
    before: Vec<HookTable>,
    /// When it went well
    #[serde(default)]
    after: Vec<HookTable>,
    /// When it did not
    #[serde(default)]
    on_failure: Vec<HookTable>,
}

/// A command: itself, or with how long it may take.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
enum HookTable {
    Command(String),
    Timed(TimedTable),
}

/// A command and its time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TimedTable {
    /// For /bin/sh
    command: String,
    /// It is killed after this; 10min by default
    timeout: Option<Span>,
}

/// Commands around a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before it.
    pub before: Vec<Hook>,
    /// When it went well.
    pub after: Vec<Hook>,
    /// When it did not.
    pub on_failure: Vec<Hook>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// For the shell.
    pub command: String,
    /// How long it may take.
    pub timeout: SignedDuration,
}

impl HooksTable {
    /// What it means.
    ///
    /// # Errors
    /// In words, where a command is empty or has no time at all.
    pub(crate) fn read(&self) -> Result<Hooks, String> {
        let all = |tables: &[HookTable]| tables.iter().map(HookTable::read).collect::<Result<Vec<_>, _>>();
        Ok(Hooks { before: all(&self.before)?, after: all(&self.after)?, on_failure: all(&self.on_failure)? })
    }
}

impl HookTable {
    fn read(&self) -> Result<Hook, String> {
        let (command, timeout) = match self {
            Self::Command(command) => (command, TIMEOUT_USUAL),
            Self::Timed(TimedTable { command, timeout }) => {
                (command, timeout.map_or(TIMEOUT_USUAL, |span| span.0))
            }
        };
        if command.trim().is_empty() || timeout <= SignedDuration::ZERO {
            return Err("hooks: a command is not empty, and has some time".to_owned());
        }
        Ok(Hook { command: command.clone(), timeout })
    }
}

impl<'de> Deserialize<'de> for HookTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = HookTable;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a command, or { command = …, timeout = … }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HookTable, E> {
                Ok(HookTable::Command(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HookTable, A::Error> {
                TimedTable::deserialize(MapAccessDeserializer::new(map)).map(HookTable::Timed)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
