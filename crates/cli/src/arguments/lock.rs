//! The command line of locks.

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;

use crate::rate::moment;

/// `mainstay lock …`
#[derive(Subcommand)]
pub(crate) enum Lock {
    /// Lock what backups rest on for longer; no lock is ever shortened
    Extend(Extend),
}

/// `mainstay lock extend`
#[derive(Args)]
#[command(group = ArgGroup::new("day").required(true))]
pub(crate) struct Extend {
    /// From now on for so long, like 30d
    #[arg(long = "for", value_name = "SPAN", group = "day")]
    pub(crate) span: Option<String>,
    /// Until this time, like 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment, group = "day")]
    pub(crate) until: Option<Timestamp>,
    /// Leave locks alone that end at most so much earlier: who comes every day then extends each one once a week
    #[arg(long, value_name = "SPAN", default_value = "0d")]
    pub(crate) slack: String,
    /// Say how many calls it would take and what they cost, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}
