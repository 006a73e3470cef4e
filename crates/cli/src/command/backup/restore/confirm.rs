//! What would overwrite something asks for its name first.

use std::io::{BufRead, IsTerminal, Write};

use crate::arguments::Restore;
use crate::error::{CliError, Kind, Result};

/// Overwriting asks for the target's name.
pub(super) fn confirm(name: &str, what: &str, order: &Restore) -> Result<()> {
    let refused = |message: String| {
        Err(CliError::new(Kind::Refused, message).hint(format!("to overwrite it, confirm with --yes={name}")))
    };
    if let Some(given) = &order.yes {
        return match given == name {
            true => Ok(()),
            false => refused(format!("--yes={given} does not name the {what} {name:?}")),
        };
    }
    if !std::io::stdin().is_terminal() {
        return refused(format!("{what} {name:?} would be overwritten"));
    }
    drop(std::io::stderr().write_all(format!("type the name of the {what} to overwrite it: ").as_bytes()));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(CliError::io("reading the confirmation"))?;
    if line.trim_end_matches('\n') == name {
        Ok(())
    } else {
        refused(format!("{what} {name:?} was not confirmed"))
    }
}
