//! The command line: every command and flag, as `docs/reference/commands.md` describes them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use crate::rate::moment;
use crate::wire_arguments::WireArguments;

mod access;
mod afar;
mod server;
mod recovery;
mod backup;
mod care;
mod lock;
mod wal;
mod manifests;

pub(crate) use access::{Key, NewPassword, Repositories};
pub(crate) use afar::FarArguments;
pub(crate) use backup::{Backup, Create, Import, Restore, What};
pub(crate) use care::{Check, Consolidate, Copy, Doctor, Forget, Mirror, Parity, Prune, Repair, RepairStep};
pub(crate) use lock::{Extend, Lock};
pub(crate) use manifests::{ManifestKind, Manifests};
pub(crate) use recovery::RecoveryArguments;
pub(crate) use server::ServerArgs;
pub(crate) use wal::{Agent, Fetch, Push, Receive, Wal, WalExport, WalStatus};

/// Backups of PostgreSQL and directories that prove they can be restored.
#[derive(Parser)]
#[command(name = "mainstay", version, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Clone)]
pub(crate) struct Global {
    /// The configuration; ./mainstay.toml, else /etc/mainstay/mainstay.toml by default
    #[arg(long, global = true, value_name = "FILE", env = "MAINSTAY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where the repository is: a directory, file:///path, sftp://user@host//path, s3://, gs:// or az://bucket/prefix
    /// (also: MAINSTAY_REPOSITORY, where no --of is given)
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) repository: Option<String>,
    /// The repository of this configured tenant
    #[arg(long = "of", global = true, value_name = "TENANT", conflicts_with = "repository")]
    pub(crate) of: Option<String>,
    /// Read the repository as it was at this time, like 2026-11-21T03:00:00Z, from the versions that its S3 bucket keeps
    #[arg(long, global = true, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Timestamp>,
    /// The hot part of a repository whose packs are cold: a second place for what is read every day
    /// (also: MAINSTAY_REPOSITORY_HOT)
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) repository_hot: Option<String>,
    /// File with the repository's password (also: MAINSTAY_PASSWORD)
    #[arg(long, global = true, value_name = "FILE", env = "MAINSTAY_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors only
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// No progress line
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    #[command(flatten)]
    pub(crate) wire: WireArguments,
}

/// The verbs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create the repository
    Init(Init),
    /// Back up configured sources now: all of them, those that are named, or those that are due
    Run(Run),
    /// Back up configured sources as they are due, until it is told to stop
    Serve,
    /// Look at what there is, and alarm on backups that are missing, late, incomplete, shrunk or cannot be read
    Watch {
        /// Look once, for cron, instead of again and again
        #[arg(long)]
        once: bool,
        /// Take the repository of this tenant and its keys, as they are now, for the right ones
        #[arg(long, value_name = "TENANT", conflicts_with = "once")]
        accept: Option<String>,
    },
    /// Each configured source: its last good backup, what may be lost now, when it runs next
    Status {
        /// Only these: TENANT or TENANT/SOURCE
        names: Vec<String>,
        /// Look into every repository, and not only into those whose backups this machine thinks late
        #[arg(long)]
        refresh: bool,
    },
    /// What ran, what was skipped, what failed, and why; the newest first
    Runs {
        /// Only this one's: TENANT or TENANT/SOURCE
        name: Option<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 50)]
        last: usize,
        /// Fill the history again from the backups that the repositories hold
        #[arg(long)]
        rebuild: bool,
        /// Restores around which commands ran, in place of backups
        #[arg(long, conflicts_with = "rebuild")]
        restores: bool,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Make, list, verify and restore backups
    #[command(subcommand)]
    Backup(Backup),
    /// Archive WAL, fetch it, and see what there is
    #[command(subcommand)]
    Wal(Wal),
    /// Repositories that are looked into where none is named
    #[command(subcommand)]
    Repositories(Repositories),
    /// Examine the repository
    Check(Check),
    /// Raw, stored and saved bytes
    Stats {
        /// Count the bytes that nothing needs, too (slower)
        #[arg(long)]
        waste: bool,
    },
    /// Drop backups by a policy
    Forget(Forget),
    /// Delete what no backup needs any more
    Prune(Prune),
    /// Make a damaged repository give what it still has
    Repair(Repair),
    /// Store parity, from which `repair` computes lost packs again
    Parity(Parity),
    /// Locks on what backups rest on, in S3 buckets with Object Lock
    #[command(subcommand)]
    Lock(Lock),
    /// Copy backups to another repository
    Copy(Copy),
    /// Make a full backup of a cluster out of increments, in the repository, without touching the server
    Consolidate(Consolidate),
    /// What is wrong with this store, repository, machine or server, and what to do about it; nothing is changed
    Doctor(Doctor),
    /// Make another repository have every backup of this one, compare them, and give this one up
    Mirror(Mirror),
    /// Passwords that open the repository
    #[command(subcommand)]
    Key(Key),
    /// What systemd or cron needs to run what is due
    Manifests(Manifests),
    /// Back up, damage, restore and compare a throw-away PostgreSQL
    Demo(Demo),
    /// Print a completion script for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    Man {
        /// The directory
        directory: PathBuf,
    },
}

/// `mainstay run`
#[derive(Args)]
pub(crate) struct Run {
    /// TENANT, TENANT/SOURCE or TENANT/SET; all that is configured by default
    pub(crate) names: Vec<String>,
    /// Only what its schedule says, for cron, systemd timers and CronJobs
    #[arg(long)]
    pub(crate) due: bool,
    /// Say what would run
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mainstay config …`
#[derive(Subcommand)]
pub(crate) enum Config {
    /// Say what is wrong with it: file, line, key, and what was probably meant
    Check,
    /// Show every value that holds and where it was said; secrets are not shown
    Show {
        /// Only this tenant's
        tenant: Option<String>,
    },
    /// Print the JSON schema of mainstay.toml
    Schema,
    /// Print what a list of tenants says, lines of `<tenant> <db> [PW_ENV]`, as a part of mainstay.toml
    Import {
        /// The list
        file: PathBuf,
    },
}

/// `mainstay init`
#[derive(Args)]
pub(crate) struct Init {
    /// Draw a password and write it into a new file (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub(crate) generate_password: Option<PathBuf>,
    /// Make no recovery key
    #[arg(long)]
    pub(crate) no_recovery_key: bool,
    /// Begin anew in a place whose repository is gone
    #[arg(long)]
    pub(crate) again: bool,
}

/// `mainstay demo`
#[derive(Args)]
pub(crate) struct Demo {
    /// Rows of the largest table
    #[arg(long, default_value_t = 200_000)]
    pub(crate) rows: u32,
    /// Directory of the PostgreSQL programs to use
    #[arg(long, value_name = "DIR", env = "MAINSTAY_PG_BIN_DIR")]
    pub(crate) pg_bin_dir: Option<PathBuf>,
}
