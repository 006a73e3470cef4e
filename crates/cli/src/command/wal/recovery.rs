//! What a server that recovers must never take for an answer: each error of `wal fetch` that does not say that there is no
//! such file, from the command line on.
//!
//! PostgreSQL takes exit codes from 1 to 125 for "no such file", ends its recovery there and promotes; at higher ones it
//! stops. A standby goes on asking, so it gets the code after which PostgreSQL does that.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use crate::error::{CliError, Kind, Result};
use crate::face;

/// One that asks; by its data directory, in which restore_command runs.
#[derive(Clone, Copy)]
pub(crate) struct Recovery {
    is_standby: bool,
}

/// Whether these arguments are of `wal fetch`, however wrong.
pub(crate) fn asked_by(arguments: &[OsString]) -> Option<Recovery> {
    let words: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let is_fetch = words.windows(2).any(|pair| pair[0] == "wal" && pair[1] == "fetch");
    is_fetch.then(|| Recovery::of(Path::new(".")))
}

impl Recovery {
    /// That of a data directory.
    pub(crate) fn of(data_directory: &Path) -> Self {
        Self { is_standby: data_directory.join("standby.signal").exists() }
    }

    /// What it is told of an error.
    pub(crate) fn error(self, error: CliError) -> CliError {
        error.of_recovery(self.is_standby)
    }

    /// What clap says of a wrong command line; help is no error.
    pub(crate) fn usage(self, error: &clap::Error) -> ExitCode {
        let shown = face::show_usage(error);
        match error.use_stderr() {
            true => face::exit_with(&self.error(CliError::usage("wrong command line"))),
            false => shown,
        }
    }

    /// `run`, where a bug is no answer either.
    pub(crate) fn unwinding(self, run: impl FnOnce() -> Result<()>) -> Result<()> {
        let end = catch_unwind(AssertUnwindSafe(run));
        end.unwrap_or_else(|_| Err(self.error(CliError::new(Kind::Failed, "mainstay itself is broken"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitfall_08_a_wrong_command_line_is_seen_for_what_it_is() {
        let asked = |line: &str| asked_by(&line.split(' ').map(OsString::from).collect::<Vec<_>>()).is_some();
        for line in
            ["mainstay wal fetch a b", "mainstay -r x wal fetch --typo a b", "mainstay --json wal fetch"]
        {
            assert!(asked(line), "{line}");
        }
        for line in ["mainstay wal push fetch", "mainstay wal", "mainstay fetch wal"] {
            assert!(!asked(line), "{line}");
        }
    }

    #[test]
    fn pitfall_08_a_bug_is_no_answer() {
        let broken = Recovery { is_standby: false }.unwinding(|| panic!("a bug, on purpose"));
        assert_eq!(broken.unwrap_err().kind, Kind::Unknown);
        let broken = Recovery { is_standby: true }.unwinding(|| panic!("a bug, on purpose"));
        assert_eq!(broken.unwrap_err().kind, Kind::Failed);
    }
}
