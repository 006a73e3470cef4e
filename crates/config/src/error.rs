//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// A mistake in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; none where the mistake is in no single line.
    pub line: Option<usize>,
    /// What is wrong. Names the key, never a value that could be a secret.
    pub message: String,
    /// What to write instead, where that can be told.
    pub hint: Option<String>,
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, ConfigError>;

/// Alike enough that it was probably meant (Jaro-Winkler).
const ALIKE_MIN: f64 = 0.8;

impl ConfigError {
    /// A mistake of a whole file.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, message: message.into(), hint: None }
    }

    /// The same with a line.
    #[must_use]
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the parser says about `text`, which is the contents of `file`.
    pub(crate) fn parsed(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim_end().to_owned();
        let hint = suggestion(&message);
        let said = Self { hint, ..Self::of_file(file, without_list(&message)) };
        match error.span() {
            Some(span) => said.at_line(line_of(text, span.start)),
            None => said,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{}:{line}: {}", self.file.display(), self.message),
            None => write!(out, "{}: {}", self.file.display(), self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The line that byte `offset` of `text` is in, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Of "unknown field `x`, expected one of `a`, `b`" the name that is most like `x`; serde's words.
fn suggestion(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    let known: Vec<_> = quoted.collect();
    let alike = |name: &&str| strsim::jaro_winkler(wrong, name);
    let nearest = known.iter().copied().max_by(|one, other| alike(one).total_cmp(&alike(other)))?;
    Some(match alike(&nearest) >= ALIKE_MIN {
        true => format!("perhaps {nearest} was meant"),
        false => format!("known are {}", known.join(", ")),
    })
}

/// The list of what is expected goes into the hint.
fn without_list(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((wrong, _)) if message.starts_with("unknown field ") => {
            wrong.replacen("unknown field", "unknown key", 1)
        }
        _ => message.to_owned(),
    }
}
