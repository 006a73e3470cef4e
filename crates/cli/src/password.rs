//! Where the repository's password comes from: a file, the environment, or the terminal; never a command line.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use config::configuration::{Source, What};
use model::reference::SecretReference;
use model::secret::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrets::{KeeperError, SecretError, SopsError};

use crate::arguments::{Global, NewPassword};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;

/// The password that opens the repository.
pub(crate) fn current(global: &Global, environment: &Environment, face: &Face) -> Result<Secret> {
    if let Some(file) = &global.password_file {
        return from_file(file, face);
    }
    match environment.secret("MAINSTAY_PASSWORD") {
        Some(password) => Ok(password),
        None => ask("password for the repository: ").ok_or_else(missing)?,
    }
}

/// A secret that the configuration names.
pub(crate) fn referenced(reference: &SecretReference, environment: &Environment) -> Result<Secret> {
    let fetched = environment.secrets().fetch(reference, &|name| environment.secret(name));
    fetched.map_err(|error| match &error {
        SecretError::Exposed { path, .. } => {
            CliError::usage(error.to_string()).hint(format!("`chmod 600 {}`", path.display()))
        }
        SecretError::Sops { cause: SopsError::Tampered(_), .. } => {
            CliError::new(Kind::Damaged, error.to_string())
                .hint("look at the history of the file before you trust it")
        }
        SecretError::Keeper { cause, .. } if is_outage(cause) => {
            CliError::new(Kind::Failed, error.to_string())
        }
        _ => CliError::usage(error.to_string()),
    })
}

/// Whether a keeper is down, where other errors need another configuration.
fn is_outage(cause: &KeeperError) -> bool {
    matches!(cause, KeeperError::Unreachable { .. } | KeeperError::Outage { .. } | KeeperError::Answer { .. })
}

/// What opens the place of a source, by the name of the variable in which it is looked for.
pub(crate) fn of_source(source: &Source, environment: &Environment) -> Result<Option<(String, String)>> {
    let variable = match &source.what.value {
        What::Directory(_) => "MAINSTAY_FTP_PASSWORD",
        _ => "PGPASSWORD",
    };
    let secret = source.password.as_ref().map(|given| referenced(&given.value, environment)).transpose()?;
    Ok(secret.map(|secret| (variable.to_owned(), secret.expose().to_owned())))
}

/// That there is none.
pub(crate) fn missing() -> CliError {
    CliError::usage("the repository needs a password")
        .hint("set MAINSTAY_PASSWORD_FILE or MAINSTAY_PASSWORD, or use --password-file")
}

/// A password for a new key.
pub(crate) fn new(order: &NewPassword, face: &Face) -> Result<Secret> {
    if let Some(file) = &order.generate_password {
        return generate(file);
    }
    let password = match &order.new_password_file {
        Some(file) => from_file(file, face)?,
        None => ask_twice()?,
    };
    warn_if_weak(&password, face);
    Ok(password)
}

/// Say so where a password is easier to guess than a generated one.
pub(crate) fn warn_if_weak(password: &Secret, face: &Face) {
    if let Some(reason) = password.weakness() {
        face.warn(&format!("the password is weak ({reason}); `mainstay key generate` draws one that is not"));
    }
}

/// Draw a password and keep it in a new file that only its owner reads.
pub(crate) fn generate(file: &Path) -> Result<Secret> {
    let password = Secret::generate().map_err(|error| CliError::new(Kind::Failed, error.to_string()))?;
    let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut opened = match options {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CliError::new(Kind::Refused, format!("{} exists already", file.display()))
                .hint("a password file is never overwritten: it may be the only way into a repository"));
        }
        other => other.map_err(CliError::io(&format!("creating {}", file.display())))?,
    };
    let written =
        opened.write_all(format!("{}\n", password.expose()).as_bytes()).and_then(|()| opened.sync_all());
    written.map_err(CliError::io(&format!("writing {}", file.display())))?;
    Ok(password)
}

/// The first line of a file.
pub(crate) fn from_file(file: &Path, face: &Face) -> Result<Secret> {
    let what = format!("reading the password file {}", file.display());
    let text = fs::read_to_string(file).map_err(|error| CliError::usage(format!("{what}: {error}")))?;
    if let Ok(about) = fs::metadata(file)
        && about.is_file()
        && about.permissions().mode() & 0o077 != 0
    {
        face.warn(&format!("{} can be read by others; `chmod 600` it", file.display()));
    }
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(CliError::usage(format!("the password file {} is empty", file.display()))),
    }
}

fn ask_twice() -> Result<Secret> {
    let one = ask("new password: ").ok_or_else(missing)??;
    let other = ask("once more: ").ok_or_else(missing)??;
    if one == other { Ok(one) } else { Err(CliError::usage("the two passwords differ")) }
}

/// Ask on the terminal without echo; `None` where there is no terminal.
fn ask(question: &str) -> Option<Result<Secret>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let before = tcgetattr(&stdin).ok()?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).ok()?;
    drop(std::io::stderr().write_all(question.as_bytes()));
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before).ok();
    drop(std::io::stderr().write_all(b"\n"));
    let password = Secret::new(line.trim_end_matches(['\r', '\n']));
    zeroize::Zeroize::zeroize(&mut line);
    Some(match read {
        Ok(_) if !password.expose().is_empty() => Ok(password),
        Ok(_) => Err(CliError::usage("no password was given")),
        Err(error) => Err(CliError::io("reading the password")(error)),
    })
}
