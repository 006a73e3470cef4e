//! What would overwrite something, or run what somebody else wrote, asks for the target's name first.

use std::io::{BufRead, IsTerminal, Write};

use model::cancel::CancelToken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::arguments::Restore;
use crate::error::{CliError, Kind, Result};

/// Ask for the name of the target: the database or directory (`what`) that would be `done` to.
pub(super) fn confirm(
    name: &str,
    what: &str,
    done: &str,
    order: &Restore,
    cancel: &CancelToken,
) -> Result<()> {
    if order.is_confirmed {
        return Ok(());
    }
    let refused = |message: String| {
        Err(CliError::new(Kind::Refused, message).hint(format!("to go on, confirm with --yes={name}")))
    };
    if let Some(given) = &order.yes {
        return match given == name {
            true => Ok(()),
            false => refused(format!("--yes={given} does not name the {what} {name:?}")),
        };
    }
    if !std::io::stdin().is_terminal() {
        return refused(format!("{what} {name:?} would be {done}"));
    }
    let question = format!("{what} {name:?} will be {done}; type its name to go on: ");
    drop(std::io::stderr().write_all(question.as_bytes()));
    let line = read_line(cancel)?;
    if line.trim_end_matches('\n') == name {
        Ok(())
    } else {
        refused(format!("{what} {name:?} was not confirmed"))
    }
}

/// A line from the terminal. Signals are taken care of elsewhere and end no read, so the wish to stop is asked for.
fn read_line(cancel: &CancelToken) -> Result<String> {
    const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let stdin = std::io::stdin();
    while poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&POLL)).unwrap_or(0) == 0 {
        cancel.check().map_err(engine::EngineError::from)?;
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(CliError::io("reading the confirmation"))?;
    Ok(line)
}
