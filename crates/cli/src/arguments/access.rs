//! The command line of what opens a repository: its passwords, and which repositories are known.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `mainstay repositories …`
#[derive(Subcommand)]
pub(crate) enum Repositories {
    /// Show those that `--dest` used from here, the last one first
    List,
    /// Look into one no more; the repository itself stays as it is
    Forget {
        /// Its address
        url: String,
    },
}

/// `mainstay key …`
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Show the passwords' keys
    List,
    /// Add another password
    Add(NewPassword),
    /// Replace the password in use; no data is rewritten
    Rotate(NewPassword),
    /// Take a password away
    Remove {
        /// Id of its key, or the beginning of one
        id: String,
    },
    /// Print a new random password of 64 letters and digits
    Generate,
}

/// A new password: from a file, drawn, or asked for.
#[derive(Args)]
pub(crate) struct NewPassword {
    /// File with the new password
    #[arg(long, value_name = "FILE", conflicts_with = "generate_password")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Draw it and write it into a new file (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub(crate) generate_password: Option<PathBuf>,
}
