//! `mainstay config …`: check it, show it, and the schema of its files.

use config::error::ConfigError;
use config::file::schema;
use config::show::{Line, lines, opened_by, overridden};
use config::tenant_list;
use serde_json::json;

use crate::arguments::{Config, Global};
use crate::configured;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;

pub(crate) fn run(global: &Global, order: &Config, environment: &Environment, face: &Face) -> Result<()> {
    match order {
        Config::Schema => {
            let schema = schema();
            face.result(&schema, || serde_json::to_string_pretty(&schema).unwrap_or_default());
        }
        Config::Check => check(global, face)?,
        Config::Import { file } => {
            let text = std::fs::read_to_string(file)
                .map_err(CliError::io(&format!("reading {}", file.display())))?;
            let made = tenant_list::import(file, &text).map_err(|mistakes| configured::shown(&mistakes))?;
            face.result(&json!({ "toml": made }), || made.clone());
        }
        Config::Show { tenant } => show(global, tenant.as_deref(), environment, face)?,
    }
    Ok(())
}

fn check(global: &Global, face: &Face) -> Result<()> {
    let configuration = configured::required(global)?;
    configuration.tenants.iter().try_for_each(|tenant| configured::limits(tenant).map(drop))?;
    let sources = configuration.tenants.iter().map(|tenant| tenant.sources.len()).sum::<usize>();
    for warning in &configuration.warnings {
        face.warn(&warning.to_string());
    }
    let warning = |ConfigError { file, line, message, hint }: &ConfigError| json!({ "file": file, "line": line, "message": message, "hint": hint });
    let document = json!({
        "tenants": configuration.tenants.len(),
        "sources": sources,
        "warnings": configuration.warnings.iter().map(warning).collect::<Vec<_>>(),
    });
    face.result(&document, || format!("good: {} tenants, {sources} sources", configuration.tenants.len()));
    Ok(())
}

fn show(global: &Global, tenant: Option<&str>, environment: &Environment, face: &Face) -> Result<()> {
    let configuration = configured::required(global)?;
    let mut lines = lines(&configuration);
    add_what_is_stronger(&mut lines, global, environment);
    if let Some(name) = tenant {
        let prefix = format!("tenants.{}.", configured::tenant(&configuration, name)?.name);
        lines.retain(|line| line.key.starts_with(&prefix));
    }
    let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or_default();
    let (keys, values) = (width(|line| line.key.len()), width(|line| line.value.len()));
    face.result(&lines, || {
        let text = |line: &Line| format!("{:keys$} = {:values$}  # {}", line.key, line.value, line.origin);
        lines.iter().map(text).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

/// What flags, the environment and `.env` say in place of the files: a flag is shown as the variable that it stands for.
fn add_what_is_stronger(lines: &mut Vec<Line>, global: &Global, environment: &Environment) {
    let is_set = environment.get("MAINSTAY_PASSWORD").is_some();
    if is_set {
        // A tenant whose files name none has that one, whatever repository flags name.
        opened_by(lines, "MAINSTAY_PASSWORD");
    }
    let Some(url) = &global.repository else { return };
    overridden(lines, "repository.url", url, "MAINSTAY_REPOSITORY");
    if let Some(hot) = &global.repository_hot {
        overridden(lines, "repository.hot", hot, "MAINSTAY_REPOSITORY_HOT");
    }
    match &global.password_file {
        Some(file) => {
            let from = format!("file:{}", file.display());
            overridden(lines, "repository.password", &from, "MAINSTAY_PASSWORD_FILE");
        }
        None if is_set => {
            overridden(lines, "repository.password", "${MAINSTAY_PASSWORD}", "MAINSTAY_PASSWORD");
        }
        None => {}
    }
}
