//! The command line of `mainstay manifests`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestKind {
    /// A service and a timer, and services that stay
    Systemd,
    /// A file for /etc/cron.d
    Cron,
}

/// `mainstay manifests`
#[derive(Args)]
pub(crate) struct Manifests {
    /// systemd or cron
    pub(crate) kind: ManifestKind,
    /// Write into this directory instead of stdout
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that are there and differ
    #[arg(long)]
    pub(crate) force: bool,
    /// Who runs it
    #[arg(long, default_value = "mainstay")]
    pub(crate) user: String,
    /// The program
    #[arg(long, value_name = "FILE", default_value = "/usr/local/bin/mainstay")]
    pub(crate) binary: PathBuf,
    /// When: OnCalendar of systemd, or five fields of cron; every night at half past two by default
    #[arg(long, value_name = "TIMES")]
    pub(crate) calendar: Option<String>,
    /// systemd: begin up to so many seconds later
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub(crate) delay: u32,
}
