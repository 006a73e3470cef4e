//! What people and scripts see: results on stdout, everything else on stderr, one JSON document where asked for.
//!
//! Invariants: words that nobody can take (a full disk under a log) stop no verb; a result that cannot be written is a
//! failure at the end, unless its reader has gone.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Serialize;
use serde_json::Value;

use crate::arguments::Global;
use crate::error::{CliError, Kind};

/// Why a result is not on stdout.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// How to speak.
#[derive(Clone)]
pub(crate) struct Face {
    json: bool,
    quiet: bool,
    progress: bool,
    /// What everything is about, where several things are done at once.
    subject: Option<Arc<str>>,
    /// Where results go in place of stdout.
    gathered: Option<Gathered>,
}

/// Results that somebody puts together with others.
#[derive(Clone, Default)]
pub(crate) struct Gathered(Arc<Mutex<(Value, String)>>);

impl Gathered {
    /// The one that came, as JSON and in words.
    pub(crate) fn take(&self) -> (Value, String) {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Face {
    pub(crate) fn new(global: &Global) -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let progress = is_terminal && !global.no_progress && !global.quiet;
        Self { json: global.json, quiet: global.quiet, progress, subject: None, gathered: None }
    }

    /// One that says of what it speaks, and draws no line over those of others.
    pub(crate) fn about(&self, subject: &str) -> Self {
        Self { progress: false, subject: Some(subject.into()), ..self.clone() }
    }

    /// One whose result is kept.
    pub(crate) fn gathering(&self) -> (Self, Gathered) {
        let gathered = Gathered::default();
        (Self { gathered: Some(gathered.clone()), ..self.clone() }, gathered)
    }

    /// One that has no JSON: who speaks through it is a part of something.
    pub(crate) fn in_words(&self) -> Self {
        Self { json: false, ..self.clone() }
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
        if let Some(Gathered(gathered)) = &self.gathered {
            let value = serde_json::to_value(value).unwrap_or_default();
            *gathered.lock().unwrap_or_else(PoisonError::into_inner) = (value, text());
        } else if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(json) => write_result(&json),
                Err(error) => say(format_args!("error: {error}")),
            }
        } else {
            let text = text();
            if !text.is_empty() {
                write_result(text.trim_end());
            }
        }
    }

    /// Something by the way; not with `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            say(format_args!("{}{text}", self.prefix()));
        }
    }

    /// Something that must be seen.
    pub(crate) fn warn(&self, text: &str) {
        say(format_args!("{}warning: {text}", self.prefix()));
    }

    fn prefix(&self) -> String {
        self.subject.as_ref().map(|subject| format!("{subject}: ")).unwrap_or_default()
    }

    /// A line that scripts rely on, also with `--quiet`.
    pub(crate) fn status(&self, line: &str) {
        say(format_args!("{line}"));
    }

    /// The end of what went well: success, if its result was written too.
    pub(crate) fn end(&self) -> ExitCode {
        match UNWRITTEN.get() {
            None => ExitCode::SUCCESS,
            Some(cause) => {
                let error = CliError::new(Kind::Failed, format!("writing the result to stdout: {cause}"));
                self.show_error(&error.hint("what was asked for is done; only its result was not written"))
            }
        }
    }

    /// The end: what went wrong, what to do, and the exit code.
    pub(crate) fn show_error(&self, error: &CliError) -> ExitCode {
        say(format_args!("error: {}", error.message));
        if let Some(hint) = &error.hint {
            say(format_args!("hint: {hint}"));
        }
        ExitCode::from(error.kind as u8)
    }
}

/// A line on stderr, as far as it takes one.
fn say(line: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// A line on stdout. A reader that has gone, like `head`, wanted no more.
fn write_result(line: &str) {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(UNWRITTEN.set(error)),
        _ => {}
    }
}

/// The exit code of an error that was shown.
pub(crate) fn exit_with(error: &CliError) -> ExitCode {
    ExitCode::from(error.kind as u8)
}

/// What clap says of a wrong command line; help and version are no errors.
pub(crate) fn show_usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() { ExitCode::from(Kind::Usage as u8) } else { ExitCode::SUCCESS }
}
