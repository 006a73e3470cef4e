//! Sources that belong together: a set says when its members run, and each source is in one set at most.

use std::collections::BTreeMap;

use model::name::SourceName;

use super::choice::Choice;
use super::findings::Findings;
use crate::configuration::{Source, SourceSet, What};
use crate::error::ConfigError;
use crate::file::File;
use crate::hooks::HooksTable;
use crate::keep::Span;
use crate::origin::Given;
use crate::section::{Section, SetTable, TenantTable};
use crate::written::Written;

/// What sets say of their members, by the names of these.
pub(super) type Said = BTreeMap<String, Section>;

/// What the sets of a tenant say of their members.
pub(super) fn said(table: &TenantTable) -> Said {
    let of_set = |set: &Written<SetTable>| {
        let SetTable { members, schedule, time_zone, jitter, .. } = &set.value;
        let (schedule, time_zone, jitter) = (schedule.clone(), time_zone.clone(), jitter.clone());
        let section = Section { schedule, time_zone, jitter, ..Section::default() };
        members.value.iter().map(move |name| (name.clone(), section.clone())).collect::<Vec<_>>()
    };
    table.sets.values().flat_map(of_set).collect()
}

impl Findings {
    /// The sets of a tenant, whose sources are known.
    pub(super) fn sets(
        &mut self,
        path: &str,
        file: &File,
        table: &TenantTable,
        sources: &[Source],
    ) -> Vec<SourceSet> {
        let mut sets: Vec<SourceSet> = vec![];
        for (name, written) in &table.sets {
            let path = format!("{path}.sets.{name}");
            if let Some(set) = self.set(&path, name, file, written, table, sources) {
                let twice =
                    set.members.iter().find(|member| sets.iter().any(|other| other.members.contains(member)));
                if let Some(member) = twice {
                    self.mistakes.push(
                        file.mistake(&written.value.members, format!("{path}: {member} is in two sets")),
                    );
                }
                sets.push(set);
            }
        }
        sets
    }

    fn set(
        &mut self,
        path: &str,
        name: &str,
        file: &File,
        written: &Written<SetTable>,
        table: &TenantTable,
        sources: &[Source],
    ) -> Option<SourceSet> {
        let SetTable { members, max_age, hooks, restore_hooks, .. } = &written.value;
        let named =
            name.parse::<SourceName>().map_err(|error| file.mistake(written, format!("set: {error}")));
        let named = self.noted(named);
        if table.sources.contains_key(name) {
            self.mistakes.push(file.mistake(written, format!("{path}: a source is called so")));
        }
        if members.value.is_empty() {
            self.mistakes.push(file.mistake(members, format!("{path}: it has no members")));
        }
        let mut found: Vec<SourceName> = vec![];
        for member in &members.value {
            // A source with a mistake of its own has been told of.
            let Some(own) = table.sources.get(member) else {
                let hint =
                    format!("known are {}", table.sources.keys().cloned().collect::<Vec<_>>().join(", "));
                self.mistakes
                    .push(file.mistake(members, format!("{path}: no source is called {member}")).hint(hint));
                continue;
            };
            let Section { schedule, time_zone, jitter, .. } = &own.value;
            if schedule.is_some() || time_zone.is_some() || jitter.is_some() {
                let message = format!("{path}: {member} says schedule, time_zone or jitter itself");
                self.mistakes.push(file.mistake(own, message).hint("the set says when all of them run"));
            }
            let Some(source) = sources.iter().find(|source| source.name.as_str() == member) else { continue };
            if found.contains(&source.name) {
                self.mistakes.push(file.mistake(members, format!("{path}: {member} is named twice")));
            }
            found.push(source.name.clone());
        }
        let mut around = |table: &Option<Written<HooksTable>>| {
            let table = table.as_ref()?;
            let wrong = |words| -> ConfigError { file.mistake(table, format!("{path}: {words}")) };
            self.noted(table.value.read().map_err(wrong))
        };
        let (hooks, restore_hooks) =
            (around(hooks).unwrap_or_default(), around(restore_hooks).unwrap_or_default());
        let max_age = max_age.as_ref().map(|written| {
            let Given { value: Span(value), origin } = file.given(written);
            Given { value, origin }
        });
        let origin = file.given(members).origin;
        Some(SourceSet { name: named?, members: found, origin, max_age, hooks, restore_hooks })
    }

    /// What is said of a source and cannot be for its kind.
    pub(super) fn warn_of_what_does_not_fit(&mut self, choice: &Choice<'_>, what: Option<&What>) {
        let is_directory = matches!(what, Some(What::Directory(_)));
        if is_directory {
            self.warnings.extend(choice.is_for_others("export", "databases", |section| &section.export));
        }
    }
}
