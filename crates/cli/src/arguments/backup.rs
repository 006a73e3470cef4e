//! The command line of `mainstay backup …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use engine::back_up_cluster::Via;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::name::SourceName;
use model::set_mark::SetMark;

use super::afar::FarArguments;
use super::recovery::RecoveryArguments;
use super::server::ServerArgs;
use crate::rate::{moment, zone};
use crate::warm_arguments::WarmUpArguments;
use crate::wire_arguments::Destination;

/// `mainstay backup …`
#[derive(Subcommand)]
pub(crate) enum Backup {
    /// Back up a database, all databases of a server, a whole cluster, or a directory
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
        #[command(flatten)]
        warm_up: WarmUpArguments,
    },
    /// Restore a database, a directory or a whole cluster, to any point in time
    Restore(Box<Restore>),
    /// The dump itself, as pg_restore reads it
    Export {
        /// Id, or the beginning of one
        id: String,
        /// Write to this file instead of stdout; in a directory it is called like app-20261120T144005Z.dump
        #[arg(short, long, value_name = "FILE|DIR")]
        output: Option<PathBuf>,
        #[command(flatten)]
        warm_up: WarmUpArguments,
    },
    /// Dumps that others made, in pg_dump's custom format, become backups
    Import(Import),
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
    /// Leave out what matches, in .gitignore style; of --all-databases, names with *
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Leave out what is in directories with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Stay on the file system of the directory
    #[arg(long)]
    pub(crate) one_file_system: bool,
    /// Of a cluster: everything, also what earlier backups have
    #[arg(long, requires = "cluster")]
    pub(crate) full: bool,
    /// Of a cluster: read its data directory here, or let the server send it; by default, here where that can be done
    #[arg(long, requires = "cluster", value_name = "WAY")]
    pub(crate) via: Option<ViaArgument>,
    /// Of a cluster: read KiB a second at most, so that its server feels less of it
    #[arg(long, requires = "cluster", value_name = "KIB", value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    pub(crate) rate_kib_max: Option<u32>,
    /// Of a cluster: wait for the next checkpoint, in place of an immediate one that costs the server more
    #[arg(long, requires = "cluster")]
    pub(crate) spread_checkpoint: bool,
    #[command(flatten)]
    pub(crate) far: FarArguments,
    /// Of which run of which set it is one
    #[arg(skip)]
    pub(crate) set: Option<SetMark>,
    /// Other sources of the tenant, whose names no database may take
    #[arg(skip)]
    pub(crate) others: Vec<SourceName>,
}

/// How the files of a cluster come.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ViaArgument {
    /// From the data directory, on this machine
    Local,
    /// From the server, over the replication protocol
    Stream,
}

impl From<ViaArgument> for Via {
    fn from(argument: ViaArgument) -> Self {
        match argument {
            ViaArgument::Local => Self::Local,
            ViaArgument::Stream => Self::Stream,
        }
    }
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
    /// A directory: a path, sftp://user@host//path or ftps://user@host//path; sftp: is the one of SFTP_HOST and so on
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) directory: Option<PathBuf>,
    /// The whole cluster of the server, with the WAL that makes it consistent
    #[arg(long)]
    pub(crate) cluster: bool,
    /// A source of the tenant as it is configured
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

/// `mainstay backup import`
#[derive(Args)]
pub(crate) struct Import {
    /// The dumps
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Owner of the backups
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// Name of the source; the database's own by default
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// When it was made; by default what the name says, as in app-20261120-144005.dump, else the time of the file
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) created_at: Option<Timestamp>,
    /// Whose clocks the times in names are of
    #[arg(long, value_name = "ZONE", value_parser = zone, default_value = "UTC")]
    pub(crate) time_zone: TimeZone,
    /// Free text to find them by
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Say what would be imported
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `mainstay backup restore`
#[derive(Args, Clone)]
pub(crate) struct Restore {
    /// Id or the beginning of one, TENANT/SOURCE for its newest good backup, or TENANT/SET[@RUN] for all of a set
    pub(crate) id: String,
    /// Into this database; the backup's own by default; of a set, with {database} for the name of each. Of a cluster: only
    /// this database, beside those that come with a server
    #[arg(long, value_name = "DB")]
    pub(crate) database: Vec<String>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) clean: bool,
    /// Only this table; of a cluster, DB.SCHEMA.TABLE
    #[arg(long, value_name = "T")]
    pub(crate) table: Vec<String>,
    /// Tables of a cluster: into this database, by name or postgresql:// URI
    #[arg(long, value_name = "DB", requires = "table")]
    pub(crate) into_database: Option<String>,
    /// Tables of a cluster: where there is room for a throw-away server; $TMPDIR or /var/tmp by default
    #[arg(long, value_name = "DIR", requires = "into_database")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Only this schema
    #[arg(long, value_name = "S")]
    pub(crate) schema: Vec<String>,
    /// Create missing roles, memberships, and the database's settings and rights
    #[arg(long)]
    pub(crate) with_roles: bool,
    /// Leave owners and rights out
    #[arg(long, visible_alias = "no-acl")]
    pub(crate) no_owner: bool,
    /// Leave tablespaces out: everything goes into the database's own
    #[arg(long)]
    pub(crate) no_tablespaces: bool,
    /// Loaders at once, into a new database
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs: u32,
    /// Restore a directory, or a cluster's data directory, to this place; each one of a set to one of its own below it
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
    pub(crate) recovery: RecoveryArguments,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Run none of the commands that the configuration puts around a restore
    #[arg(long)]
    pub(crate) no_hooks: bool,
    /// Show the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Confirm that this database or directory is overwritten
    #[arg(long, value_name = "TARGET", require_equals = true)]
    pub(crate) yes: Option<String>,
    /// The set that it is one of was confirmed
    #[arg(skip)]
    pub(crate) is_confirmed: bool,
    /// It is one of a set that is restored
    #[arg(skip)]
    pub(crate) is_member: bool,
    #[command(flatten)]
    pub(crate) warm_up: WarmUpArguments,
}
