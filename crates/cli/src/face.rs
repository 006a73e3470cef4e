//! What people and scripts see: results on stdout, everything else on stderr, one JSON document where asked for.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the face")]

use std::process::ExitCode;

use serde::Serialize;

use crate::arguments::Global;
use crate::error::{CliError, Kind};

/// How to speak.
#[derive(Clone, Copy)]
pub(crate) struct Face {
    json: bool,
    quiet: bool,
    progress: bool,
}

impl Face {
    pub(crate) fn new(global: &Global) -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let progress = is_terminal && !global.no_progress && !global.quiet;
        Self { json: global.json, quiet: global.quiet, progress }
    }

    /// Whether to print a JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether to draw a progress line.
    pub(crate) fn has_progress(&self) -> bool {
        self.progress
    }

    /// The result: `value` as JSON, or the words of `text`.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(json) => println!("{json}"),
                Err(error) => eprintln!("error: {error}"),
            }
        } else {
            let text = text();
            if !text.is_empty() {
                println!("{}", text.trim_end());
            }
        }
    }

    /// Something by the way; not with `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Something that must be seen.
    pub(crate) fn warn(&self, text: &str) {
        eprintln!("warning: {text}");
    }

    /// A line that scripts rely on, also with `--quiet`.
    pub(crate) fn status(&self, line: &str) {
        eprintln!("{line}");
    }

    /// The end: what went wrong, what to do, and the exit code.
    pub(crate) fn show_error(&self, error: &CliError) -> ExitCode {
        eprintln!("error: {}", error.message);
        if let Some(hint) = &error.hint {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(error.kind as u8)
    }
}

/// What clap says of a wrong command line; help and version are no errors.
pub(crate) fn show_usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() { ExitCode::from(Kind::Usage as u8) } else { ExitCode::SUCCESS }
}
