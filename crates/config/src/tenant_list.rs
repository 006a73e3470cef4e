//! The list of tenants of another system, made into a configuration: lines of `<tenant> <db> [PW_ENV]`.
//!
//! `PW_ENV` names the variable of the environment that holds the database's password.

use std::collections::BTreeMap;
use std::path::Path;

use model::name::{SourceName, TenantName};

use crate::error::ConfigError;

/// When that system ran, and by how much it spread its runs.
const SCHEDULE: &str = "30 2 * * *";
const JITTER: &str = "15min";

/// A database of a tenant.
struct Listed {
    database: String,
    variable: Option<String>,
}

/// The tables of `mainstay.toml` that say what `text`, the contents of `file`, says.
///
/// # Errors
/// Everything that is wrong, line by line.
pub fn import(file: &Path, text: &str) -> Result<String, Vec<ConfigError>> {
    let mut tenants: BTreeMap<TenantName, BTreeMap<SourceName, Listed>> = BTreeMap::new();
    let mut mistakes = vec![];
    for (number, line) in text.lines().enumerate() {
        match read(line) {
            Ok(None) => {}
            Ok(Some((tenant, source, listed))) => {
                if tenants.entry(tenant).or_default().insert(source, listed).is_some() {
                    mistakes.push(ConfigError::of_file(file, "it is there twice").at_line(number + 1));
                }
            }
            Err(words) => mistakes.push(ConfigError::of_file(file, words).at_line(number + 1)),
        }
    }
    match mistakes.is_empty() {
        true => Ok(tables(&tenants)),
        false => Err(mistakes),
    }
}

fn read(line: &str) -> Result<Option<(TenantName, SourceName, Listed)>, String> {
    let line = line.split('#').next().unwrap_or_default();
    let words: Vec<_> = line.split_whitespace().collect();
    let (tenant, database, variable) = match *words {
        [] => return Ok(None),
        [tenant, database] => (tenant, database, None),
        [tenant, database, variable] => (tenant, database, Some(variable)),
        _ => return Err("a line is a tenant, a database and perhaps a variable".to_owned()),
    };
    let is_variable = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    // It may be the password itself, which is not repeated.
    if variable.is_some_and(|name| !is_variable(name)) {
        return Err("the third word is no name of a variable".to_owned());
    }
    let tenant = tenant.parse().map_err(|error| format!("tenant: {error}"))?;
    let source = SourceName::derived_from(database);
    let listed = Listed { database: database.to_owned(), variable: variable.map(str::to_owned) };
    Ok(Some((tenant, source, listed)))
}

fn tables(tenants: &BTreeMap<TenantName, BTreeMap<SourceName, Listed>>) -> String {
    let mut lines = vec![];
    for (tenant, sources) in tenants {
        for (source, Listed { database, variable }) in sources {
            lines.push(format!("[tenants.{}.sources.{}]", quoted(tenant.as_str()), quoted(source.as_str())));
            lines.push(format!("database = {}", quoted(database)));
            lines.extend(
                variable.iter().map(|name| format!("password = {}", quoted(&format!("${{{name}}}")))),
            );
            lines.push(format!("schedule = {}", quoted(SCHEDULE)));
            lines.push(format!("jitter   = {}\n", quoted(JITTER)));
        }
    }
    lines.join("\n")
}

/// As a string of TOML.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c20_lines_become_sources_and_mistakes_have_their_lines() {
        let made = import(
            Path::new("tenants.conf"),
            "# tenants\nacme app ACME_PW\n\nacme shop\nbeta app  # no password\n",
        )
        .unwrap();
        assert!(
            made.contains(
                "[tenants.\"acme\".sources.\"app\"]\ndatabase = \"app\"\npassword = \"${ACME_PW}\"\n"
            ),
            "{made}"
        );
        assert_eq!(made.matches("schedule = \"30 2 * * *\"").count(), 3);
        assert_eq!(made.matches("password").count(), 1);
        let wrong =
            import(Path::new("tenants.conf"), "acme\n../x app\nacme app s3cr-t!\na b c d\na b\na b\n")
                .unwrap_err();
        let lines: Vec<_> = wrong.iter().filter_map(|mistake| mistake.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 6]);
        assert!(!wrong.iter().any(|mistake| mistake.to_string().contains("s3cr")));
    }
}
