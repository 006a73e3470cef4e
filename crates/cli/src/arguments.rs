//! The command line: every command and flag, as `docs/reference/commands.md` describes them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::wire_arguments::{Destination, WireArguments};

mod access;
mod server;
mod care;

pub(crate) use access::{Key, NewPassword, Repositories};
pub(crate) use care::{Check, Copy, Doctor, Forget, Mirror, Parity, Prune, Repair, RepairStep};
pub(crate) use server::ServerArgs;

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
    /// Where the repository is: a directory, file:///path, sftp://user@host//path, s3://, gs:// or az://bucket/prefix
    #[arg(short, long, global = true, value_name = "URL", env = "MAINSTAY_REPOSITORY")]
    pub(crate) repository: Option<String>,
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
    /// Make, list, verify and restore backups
    #[command(subcommand)]
    Backup(Backup),
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
    /// Copy backups to another repository
    Copy(Copy),
    /// What is wrong with this store, repository, machine or server, and what to do about it; nothing is changed
    Doctor(Doctor),
    /// Make another repository have every backup of this one, compare them, and give this one up
    Mirror(Mirror),
    /// Passwords that open the repository
    #[command(subcommand)]
    Key(Key),
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

/// `mainstay backup …`
#[derive(Subcommand)]
pub(crate) enum Backup {
    /// Back up a database, all databases of a server, or a directory
    Create(Box<Create>),
    /// List backups, newest first
    List {
        /// Only this tenant's
        tenant: Option<String>,
    },
    /// Show one backup
    Get {
        /// Id, or the beginning of one
        id: String,
    },
    /// Compare every byte with its hashes; touches no database
    Verify {
        /// Id, or the beginning of one
        id: String,
    },
    /// Restore a database or a directory
    Restore(Box<Restore>),
    /// The dump itself, as pg_restore reads it
    Export {
        /// Id, or the beginning of one
        id: String,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Exempt a backup from retention
    Hold {
        /// Id, or the beginning of one
        id: String,
    },
    /// Take the exemption away
    Unhold {
        /// Id, or the beginning of one
        id: String,
    },
    /// Delete a backup; `undelete` brings it back until prune runs after the cooling-off time
    Delete {
        /// Id, or the beginning of one
        id: String,
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring a deleted backup back; without an id, show which ones can come back
    Undelete {
        /// Id, or the beginning of one
        id: Option<String>,
    },
}

/// `mainstay backup create`
#[derive(Args)]
pub(crate) struct Create {
    /// Owner of the backup
    #[arg(default_value = "default")]
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) what: What,
    /// Name of the source, where the database's or directory's own does not suit
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// Allow `--dest local` on the file system of the data itself
    #[arg(long)]
    pub(crate) allow_same_disk: bool,
    /// Free text to find it by
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Exempt it from retention
    #[arg(long)]
    pub(crate) hold: bool,
    /// zstd level
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) compression: Option<i32>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Leave owners out of the dump
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Leave rights out of the dump
    #[arg(long)]
    pub(crate) no_acl: bool,
    /// Give up if a table is locked for longer than this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lock_wait_timeout: Option<u64>,
    /// Leave out what matches, in .gitignore style
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Leave out what is in directories with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Stay on the file system of the directory
    #[arg(long)]
    pub(crate) one_file_system: bool,
}

/// What to back up: exactly one.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// A database, by name or postgresql:// URI
    #[arg(long, value_name = "DB")]
    pub(crate) database: Option<String>,
    /// Every non-template database of the server
    #[arg(long)]
    pub(crate) all_databases: bool,
    /// A directory
    #[arg(long, value_name = "PATH")]
    pub(crate) directory: Option<PathBuf>,
}

/// `mainstay backup restore`
#[derive(Args)]
pub(crate) struct Restore {
    /// Id or the beginning of one, or TENANT/SOURCE for its newest good backup
    pub(crate) id: String,
    /// Into this database; the backup's own by default
    #[arg(long, value_name = "DB", conflicts_with = "to")]
    pub(crate) database: Option<String>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) clean: bool,
    /// Only this table
    #[arg(long, value_name = "T")]
    pub(crate) table: Vec<String>,
    /// Only this schema
    #[arg(long, value_name = "S")]
    pub(crate) schema: Vec<String>,
    /// Create missing roles, memberships, and the database's settings and rights
    #[arg(long)]
    pub(crate) with_roles: bool,
    /// Leave owners and rights out
    #[arg(long, visible_alias = "no-acl")]
    pub(crate) no_owner: bool,
    /// Loaders at once, into a new database
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs: u32,
    /// Restore a directory to this place
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Only this path of a directory backup
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<PathBuf>,
    /// Restore over an existing directory: write only what differs
    #[arg(long)]
    pub(crate) delta: bool,
    /// Give files the owners' numbers of the backup, not those that their names have here
    #[arg(long)]
    pub(crate) numeric_owner: bool,
    /// With --delta: remove what the backup does not have
    #[arg(long, requires = "delta")]
    pub(crate) delete: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Show the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Confirm that this database or directory is overwritten
    #[arg(long, value_name = "TARGET", require_equals = true)]
    pub(crate) yes: Option<String>,
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
