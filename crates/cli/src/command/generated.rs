//! Completion scripts and man pages, made from the command line's own description.

use std::path::Path;

use clap::CommandFactory;

use crate::arguments::Arguments;
use crate::error::{CliError, Result};
use crate::face::Face;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Arguments::command(), "mainstay", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(CliError::io("writing the script"))
}

pub(crate) fn man(directory: &Path, face: &Face) -> Result<()> {
    let what = format!("writing man pages into {}", directory.display());
    std::fs::create_dir_all(directory).map_err(CliError::io(&what))?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(CliError::io(&what))?;
    face.note(&format!("man pages are in {}", directory.display()));
    Ok(())
}
