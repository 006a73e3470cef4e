//! Commands that take care of a repository as a whole.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use crate::rate::zone;

use super::server::ServerArgs;
use crate::warm_arguments::WarmUpArguments;

/// `mainstay check`
#[derive(Args)]
pub(crate) struct Check {
    /// Read the data too: all of it, or N% of the packs
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    pub(crate) read_data: Option<String>,
    /// The repository of every configured tenant, one after the other
    #[arg(long, conflicts_with_all = ["repository", "of"])]
    pub(crate) all: bool,
}

/// `mainstay forget`
#[derive(Args)]
pub(crate) struct Forget {
    /// Only this tenant's backups
    pub(crate) tenant: Option<String>,
    /// Keep the newest N of each source
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<usize>,
    /// Keep all that are younger, like 30d or 12h
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_within: Option<String>,
    /// Of clusters keep what is needed to come back to every moment that is younger
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_wal_within: Option<String>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    pub(crate) keep_hourly: Option<usize>,
    /// The same of days
    #[arg(long, value_name = "N")]
    pub(crate) keep_daily: Option<usize>,
    /// The same of weeks, which begin on Monday
    #[arg(long, value_name = "N")]
    pub(crate) keep_weekly: Option<usize>,
    /// The same of months
    #[arg(long, value_name = "N")]
    pub(crate) keep_monthly: Option<usize>,
    /// The same of years
    #[arg(long, value_name = "N")]
    pub(crate) keep_yearly: Option<usize>,
    /// Whose clocks and calendars count for hours, days, weeks …, like Europe/Vienna; UTC by default
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(crate) time_zone: Option<TimeZone>,
    /// Say for each backup why it stays or goes, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mainstay consolidate`
#[derive(Args)]
pub(crate) struct Consolidate {
    /// Id or the beginning of one, or TENANT/SOURCE for its newest good backup
    pub(crate) id: String,
    /// Free text to find it by; by default it names the backup that it is made of
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Exempt it from retention
    #[arg(long)]
    pub(crate) hold: bool,
    /// Say what would be done, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) warm_up: WarmUpArguments,
}

/// `mainstay prune`
#[derive(Args)]
pub(crate) struct Prune {
    /// How long deleted backups can come back
    #[arg(long, value_name = "TIME", default_value = "72h")]
    pub(crate) cooling_off: String,
    /// Of archived WAL keep what leads to every moment that is younger, and what makes older base backups consistent; by
    /// default as retention of the configuration says, else all from the oldest base backup on
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_wal_within: Option<String>,
    /// Share of unused bytes that is not worth repacking
    #[arg(long, value_name = "N%", default_value = "5%")]
    pub(crate) max_unused: String,
    /// Say what would be done, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The repository of every configured tenant, one after the other
    #[arg(long, conflicts_with_all = ["repository", "of"])]
    pub(crate) all: bool,
}

/// `mainstay parity`
#[derive(Args)]
pub(crate) struct Parity {
    /// Packs of a set
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) packs: usize,
    /// Shards of a set: as many of its packs may be lost
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) shards: usize,
    /// Say what would be done, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mainstay repair`
#[derive(Args)]
pub(crate) struct Repair {
    /// One step alone; without it all, in this order: `hot` only with --repository-hot, and `packs` only without
    #[arg(value_enum)]
    pub(crate) step: Option<RepairStep>,
    /// Delete broken backups once their mended ones are there (undelete brings them back)
    #[arg(long)]
    pub(crate) replace: bool,
    /// Say what would be done, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) warm_up: WarmUpArguments,
}

/// A step of `mainstay repair`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum RepairStep {
    /// Make the hot part again from the cold one
    Hot,
    /// Compare the index with the packs that are there
    Index,
    /// Move what is sound out of damaged packs (reads all data)
    Packs,
    /// Make new backups without what is lost
    Snapshots,
}

/// `mainstay doctor`
#[derive(Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `mainstay mirror`
#[derive(Args)]
pub(crate) struct Mirror {
    /// The repository that has the backups
    pub(crate) from: String,
    /// The one that is to have all of them
    pub(crate) to: String,
    /// FROM's hot part, where its packs are cold
    #[arg(long, value_name = "URL")]
    pub(crate) from_hot: Option<String>,
    /// TO's hot part, where its packs are cold
    #[arg(long, value_name = "URL")]
    pub(crate) to_hot: Option<String>,
    /// File with FROM's password; the usual password by default
    #[arg(long, value_name = "FILE")]
    pub(crate) from_password_file: Option<PathBuf>,
    /// File with TO's password; the usual password by default
    #[arg(long, value_name = "FILE")]
    pub(crate) to_password_file: Option<PathBuf>,
    /// Give FROM up once TO has everything: it takes no more backups, and nothing in it is deleted
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) retire: bool,
    /// Say what is missing in TO, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mainstay copy`
#[derive(Args)]
pub(crate) struct Copy {
    /// Ids to copy; all by default
    pub(crate) ids: Vec<String>,
    /// The other repository
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Its hot part, where its packs are cold
    #[arg(long, value_name = "URL")]
    pub(crate) to_hot: Option<String>,
    /// File with the other repository's password; the same password by default
    #[arg(long, value_name = "FILE")]
    pub(crate) to_password_file: Option<PathBuf>,
    /// Leave archived WAL behind: base backups come back to their own end then
    #[arg(long)]
    pub(crate) no_wal: bool,
    /// Say what is missing there, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) warm_up: WarmUpArguments,
}
