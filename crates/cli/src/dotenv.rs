//! A file of variables beside the configuration: `NAME=value` lines, with `export`, quotes and comments as shells have
//! them, and nothing that a shell would carry out.
//!
//! Invariant: others cannot read it, or it is refused: secrets are what such files are for.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{CliError, Result};

/// Its variables, in the order of the lines; none where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>> {
    let what = format!("reading {}", path.display());
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        opened => opened.map_err(CliError::io(&what))?,
    };
    let mode = file.metadata().map_err(CliError::io(&what))?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!("{} can be read by others (mode {:03o})", path.display(), mode & 0o777);
        return Err(CliError::usage(message).hint(format!("`chmod 600 {}`", path.display())));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(CliError::io(&what))?;
    let variable = |(number, line): (usize, &str)| {
        // The line itself may be a secret.
        let wrong = || CliError::usage(format!("{}:{}: this is no NAME=value", path.display(), number + 1));
        variable(line).transpose().map(|found| found.map_err(|()| wrong()))
    };
    text.lines().enumerate().filter_map(variable).collect()
}

/// The variable of a line; `Ok(None)`: there is none, `Err`: it makes no sense.
fn variable(line: &str) -> std::result::Result<Option<(String, String)>, ()> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=').ok_or(())?;
    let name = name.trim();
    let is_name = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(());
    }
    let value = value.trim();
    let quoted = |quote| value.strip_prefix(quote).map(|rest: &str| rest.split_once(quote).ok_or(()));
    let value = match quoted('\'').or_else(|| quoted('"')) {
        Some(parts) => {
            let (inside, behind) = parts?;
            let is_comment = behind.trim().is_empty() || behind.trim_start().starts_with('#');
            if is_comment { inside } else { return Err(()) }
        }
        None => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    Ok(Some((name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_read_them_and_nothing_is_carried_out() {
        let table = [
            ("A=1", Some(("A", "1"))),
            ("export A = b c  # comment", Some(("A", "b c"))),
            ("A='x # y' # comment", Some(("A", "x # y"))),
            ("A=\"$(rm -rf /)\"", Some(("A", "$(rm -rf /)"))),
            ("A=p#q=r", Some(("A", "p#q=r"))),
            ("A=", Some(("A", ""))),
            ("  # comment", None),
            ("", None),
        ];
        for (line, expected) in table {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(variable(line), Ok(expected), "{line}");
        }
        for line in ["nonsense", "1A=x", "A B=x", "A='open", "A='x' y"] {
            assert_eq!(variable(line), Err(()), "{line}");
        }
    }
}
