//! `mainstay doctor`: what is wrong with this store, repository, machine or server, what is lost by it, and what to do.
//!
//! Nothing is changed: what a probe writes lies below `x/probe/` and is deleted again. Only that a store of ours behaves
//! otherwise than it did is written down, as `x/store/<time>`.

use std::sync::Arc;

use ::store::tiers::Tiers;
use config::configuration::Configuration;
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Doctor, Global};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{configured, password, place};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// `machine`, `config`, `store`, `protection`, `clock`, `repository`, `server`, `cluster`, `wal`.
    area: &'static str,
    /// `ok`, `unknown`, `warning` or `problem`.
    level: &'static str,
    message: String,
    lost: String,
    todo: String,
    /// Of a problem: what the exit code says.
    #[serde(skip)]
    kind: Option<Kind>,
}

impl Finding {
    fn ok(area: &'static str, message: impl Into<String>) -> Self {
        Self {
            area,
            level: "ok",
            message: message.into(),
            lost: String::new(),
            todo: String::new(),
            kind: None,
        }
    }

    /// As it should be, and could be better.
    fn note(area: &'static str, message: impl Into<String>, todo: &str) -> Self {
        Self { todo: todo.to_owned(), ..Self::ok(area, message) }
    }

    /// It cannot be seen from here.
    fn unknown(area: &'static str, message: impl Into<String>, todo: &str) -> Self {
        Self { level: "unknown", todo: todo.to_owned(), ..Self::ok(area, message) }
    }

    /// Backups are made, and something is lost nevertheless.
    fn warning(area: &'static str, message: impl Into<String>, lost: &str, todo: &str) -> Self {
        Self { level: "warning", lost: lost.to_owned(), ..Self::unknown(area, message, todo) }
    }

    /// Backups are not made.
    fn problem(area: &'static str, error: CliError, lost: &str) -> Self {
        let CliError { kind, message, hint, .. } = error;
        let todo = hint.unwrap_or_default();
        Self { level: "problem", kind: Some(kind), ..Self::warning(area, message, lost, &todo) }
    }
}

mod machine;
mod store;
mod repository;
mod cluster;
mod server;

use repository::Opened;
use store::Looked;

pub(crate) fn run(global: &Global, order: &Doctor, environment: &Environment, face: &Face) -> Result<()> {
    let mut findings = machine::look(order.server.pg_bin_dir.as_deref(), environment);
    let configuration = configured::load_if_any(global).unwrap_or_else(|error| {
        findings.push(Finding::problem("config", error, "nothing that is configured is carried out"));
        None
    });
    let configuration = configuration.unwrap_or_default();
    let (found, opened) = look_at_repository(global, &configuration, environment, face);
    findings.extend(found);
    findings.extend(server::look(&order.server, opened.as_ref(), environment, face));
    let bin_dir = order.server.pg_bin_dir.as_deref();
    findings.extend(cluster::look_at_configured(global, &configuration, bin_dir, environment, face));
    show(&findings, face);
    let problems: Vec<_> = findings.iter().filter_map(|finding| finding.kind).collect();
    match problems.first() {
        None => Ok(()),
        Some(first) => {
            Err(CliError::new(*first, format!("{} problems keep backups from being made", problems.len()))
                .hint("each is named above, with what to do about it"))
        }
    }
}

/// The repository that is named, or that of the only tenant that is configured, and the stores that it is in.
fn look_at_repository(
    global: &Global,
    configuration: &Configuration,
    environment: &Environment,
    face: &Face,
) -> (Vec<Finding>, Option<Opened>) {
    const AREA: &str = "repository";
    let lost = "there is nowhere to back up to";
    let mut global = global.clone();
    let is_open = global.of.is_none() && configuration.tenants.len() == 1;
    let settled = if is_open { configured::settled(&mut global, environment, face) } else { Ok(None) };
    let url = settled.and_then(|own| Ok((place::address(&global, environment)?, own)));
    let (url, own) = match url {
        Ok(found) => found,
        Err(_) if configuration.tenants.len() > 1 => {
            let todo = "have that of one tenant looked at with --of TENANT";
            return (vec![Finding::unknown(AREA, "several tenants are configured", todo)], None);
        }
        Err(error) => return (vec![Finding::problem(AREA, error, lost)], None),
    };
    let environment = own.as_ref().unwrap_or(environment);
    let (mut findings, mut looked) = store::look(&url, environment);
    if let Some(hot_url) = &global.repository_hot {
        let (found, hot) = store::look(hot_url, environment);
        findings.extend(found);
        looked = hot.zip(looked).map(|(hot, cold)| Looked {
            store: Arc::new(Tiers::new(hot.store, cold.store)),
            seen: [hot.seen, cold.seen].concat(),
        });
    }
    let Some(looked) = looked else { return (findings, None) };
    let password = password::current(&global, environment, face);
    let (found, repository) = repository::look(looked, password, environment);
    findings.extend(found);
    (findings, repository.map(|repository| Opened { repository, url }))
}

fn show(findings: &[Finding], face: &Face) {
    let count = |level: &str| findings.iter().filter(|finding| finding.level == level).count();
    let document =
        json!({ "findings": findings, "problems": count("problem"), "warnings": count("warning") });
    face.result(&document, || {
        let lines = findings.iter().flat_map(|finding| {
            let Finding { area, level, message, lost, todo, .. } = finding;
            let more = [("lost", lost), ("do", todo)].into_iter().filter(|(_, words)| !words.is_empty());
            let more = more.map(|(what, words)| format!("{:22}{what}: {words}", ""));
            std::iter::once(format!("{level:<9}{area:<12} {message}")).chain(more)
        });
        lines.collect::<Vec<_>>().join("\n")
    });
}
