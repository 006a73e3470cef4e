//! The `sops` program, for files whose keys only it can ask: PGP, clouds, Shamir.

use std::path::{Path, PathBuf};
use std::process::Command;

use zeroize::Zeroizing;

use super::tree::Step;
use crate::command;
use crate::error::{SecretError, Variable};

/// Where it is, if it is in PATH.
pub(super) fn find(variable: &Variable<'_>) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(path.expose()).map(|folder| folder.join("sops")).find(|program| program.is_file())
}

/// The value at `way` in `file`, which it has proved by the seal.
pub(super) fn read(
    program: &Path,
    file: &Path,
    way: &[Step<'_>],
    variable: &Variable<'_>,
) -> Result<Zeroizing<String>, SecretError> {
    let mut order = Command::new(program);
    order.arg("--decrypt").arg("--extract").arg(extract(way)).arg(file);
    command::run(order, variable)
}

/// `["stringData"]["KEY"][0]`.
fn extract(way: &[Step<'_>]) -> String {
    let step = |step: &Step<'_>| match step {
        Step::Name(name) => format!("[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\"")),
        Step::Place(place) => format!("[{place}]"),
    };
    way.iter().map(step).collect()
}
