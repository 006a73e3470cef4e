//! One command for every configured tenant: on the repository of each, one after the other.
//!
//! Invariant: what is wrong with one keeps no other from its turn, and each is named with its result or with what is wrong.

use engine::EngineError;
use serde_json::json;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::target::Target;
use crate::{configured, interrupt};

/// Carry out `verb` as `run` does it on one repository. Damage in one of them is the exit code of all; otherwise that which all
/// have, or that some are done.
pub(super) fn of_all(
    verb: &str,
    (global, environment, face): (&Global, &Environment, &Face),
    run: impl Fn(&Global, &Environment, &Face) -> Result<()>,
) -> Result<()> {
    let configuration = configured::required(global)?;
    let cancel = interrupt::watch()?;
    let (mut documents, mut failed) = (vec![], vec![]);
    for tenant in &configuration.tenants {
        if cancel.is_cancelled() {
            break;
        }
        let (mut own, name) = (global.clone(), tenant.name.as_str());
        let (its, results) = face.about(name).gathering();
        let target = Target::configured(&tenant.repository);
        let settled = target.settle(&mut own, environment, &its);
        let done = settled.and_then(|environment| run(&own, &environment, &its));
        let (value, words) = results.take();
        if !face.is_json() {
            let lines = words.lines().map(|line| format!("{name}: {line}"));
            face.result(&(), || lines.collect::<Vec<_>>().join("\n"));
        }
        let error = done.err();
        let words = error.as_ref().map(|error| error.message.clone()).unwrap_or_default();
        documents.push(json!({ "tenant": name, "result": value, "error": words }));
        if let Some(error) = error {
            let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            face.warn(&format!("{name}: {}{hint}", error.message));
            failed.push(error.kind);
        }
    }
    if face.is_json() {
        face.result(&json!({ "tenants": documents }), String::new);
    }
    // What is done of the others is shown, and told to be not all.
    cancel.check().map_err(EngineError::from)?;
    let all = configuration.tenants.len();
    let Some(first) = failed.first().copied() else { return Ok(()) };
    let kind = match () {
        () if failed.contains(&Kind::Damaged) => Kind::Damaged,
        () if failed.len() == all && failed.iter().all(|kind| *kind == first) => first,
        () => Kind::Partial,
    };
    Err(CliError::new(kind, format!("{verb} did not end well for {} of {all} tenants", failed.len()))
        .hint("each is named above"))
}
