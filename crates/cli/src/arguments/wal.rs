//! `mainstay wal …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use model::lsn::SystemId;
use model::size::ByteSize;
use model::wal_name::{SegmentName, WalName};
use pg::replication::SlotName;

use super::server::ServerArgs;
use crate::rate::{duration, stored};

/// Archive WAL, and fetch it for a server that recovers.
#[derive(Subcommand)]
pub(crate) enum Wal {
    /// Archive a file of pg_wal: archive_command = 'mainstay wal push %p'
    Push(Push),
    /// Fetch a file of pg_wal: restore_command = 'mainstay wal fetch %f "%p"'
    Fetch(Fetch),
    /// Receive WAL as the server writes it, and archive it; as a synchronous standby no commit is lost
    Receive(Receive),
    /// What is archived: from where to where each timeline goes without a gap, and how fast it grows
    Status(WalStatus),
    /// Write what is archived into a directory, as plain files
    Export(WalExport),
    /// Keep a repository open for push and fetch, which start it by themselves
    #[command(hide = true)]
    Agent(Agent),
}

/// Whose repository, and with whose help.
#[derive(Args, Clone)]
pub(crate) struct WalPlace {
    /// The configured source whose tenant's repository it is
    #[arg(long, value_name = "TENANT[/SOURCE]", conflicts_with_all = ["repository", "of"])]
    pub(crate) source: Option<String>,
    /// Open the repository here and now, which takes its key derivation each time
    #[arg(long, env = "MAINSTAY_NO_AGENT", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_agent: bool,
}

/// `mainstay wal push`
#[derive(Args)]
pub(crate) struct Push {
    /// The file, as archive_command's %p names it
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) place: WalPlace,
    /// Archive this file's timeline from now on, although another cluster did: only where that one will never go on
    #[arg(long)]
    pub(crate) take_over: bool,
    /// File with the token by which a cluster is known from its copies; never inside the data directory
    #[arg(long, value_name = "FILE", env = "MAINSTAY_OWNER_FILE")]
    pub(crate) owner_file: Option<PathBuf>,
}

/// `mainstay wal fetch`
#[derive(Args)]
pub(crate) struct Fetch {
    /// Which file, as restore_command's %f names it
    pub(crate) name: WalName,
    /// Where to put it, as restore_command's %p names it
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) place: WalPlace,
    /// How long to go on trying when it is not known whether there is such a file
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Of which cluster; that of the data directory by default
    #[arg(long, value_name = "ID")]
    pub(crate) system_id: Option<SystemId>,
}

/// `mainstay wal receive`
#[derive(Args)]
pub(crate) struct Receive {
    /// Directory on a disk of this machine, where WAL lies until the repository has it
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: PathBuf,
    /// Archive all that is in the spool, the unfinished segment too, and end: for when the server is gone for good
    #[arg(long, conflicts_with_all = ["slot", "create_slot", "accept_gap"])]
    pub(crate) flush_spool: bool,
    /// The replication slot for which the server keeps WAL while this does not run
    #[arg(long, value_name = "NAME")]
    pub(crate) slot: Option<SlotName>,
    /// Make the slot if it is not there
    #[arg(long, requires = "slot")]
    pub(crate) create_slot: bool,
    /// How the server knows this receiver, as in synchronous_standby_names
    #[arg(long, value_name = "NAME")]
    pub(crate) application_name: Option<String>,
    /// Go on behind WAL that is gone; no recovery leads across the gap
    #[arg(long)]
    pub(crate) accept_gap: bool,
    /// With more than this in the spool no more is received, as when the repository is away for long
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = stored)]
    pub(crate) spool_max: ByteSize,
    /// The configured source whose tenant's repository it is
    #[arg(long, value_name = "TENANT[/SOURCE]", conflicts_with_all = ["repository", "of"])]
    pub(crate) source: Option<String>,
    /// Archive these timelines from now on, although another one did: only where that one will never go on
    #[arg(long)]
    pub(crate) take_over: bool,
    /// File with the token by which who archives is known; the same as that of `wal push`, where both archive
    #[arg(long, value_name = "FILE", env = "MAINSTAY_OWNER_FILE")]
    pub(crate) owner_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `mainstay wal status`
#[derive(Args)]
pub(crate) struct WalStatus {
    /// The configured source whose tenant's repository it is; one that is a cluster is asked how far its log is
    #[arg(long, value_name = "TENANT[/SOURCE]", conflicts_with_all = ["repository", "of"])]
    pub(crate) source: Option<String>,
    /// Only this cluster's
    #[arg(long, value_name = "ID")]
    pub(crate) system_id: Option<SystemId>,
    /// Nothing archived for so long is worth an alarm
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_lag: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `mainstay wal export`
#[derive(Args)]
pub(crate) struct WalExport {
    /// The directory, which is made
    pub(crate) directory: PathBuf,
    /// The configured source whose tenant's repository it is
    #[arg(long, value_name = "TENANT[/SOURCE]", conflicts_with_all = ["repository", "of"])]
    pub(crate) source: Option<String>,
    /// Of which cluster, where there are several
    #[arg(long, value_name = "ID")]
    pub(crate) system_id: Option<SystemId>,
    /// The first segment
    #[arg(long, value_name = "SEGMENT")]
    pub(crate) from: Option<SegmentName>,
    /// The last segment
    #[arg(long, value_name = "SEGMENT")]
    pub(crate) to: Option<SegmentName>,
}

/// `mainstay wal agent`
#[derive(Args)]
pub(crate) struct Agent {
    /// Where it listens
    pub(crate) socket: PathBuf,
}

impl Wal {
    /// The tenant that `--source` names.
    pub(crate) fn tenant(&self) -> Option<&str> {
        let source = match self {
            Self::Push(order) => &order.place.source,
            Self::Fetch(order) => &order.place.source,
            Self::Receive(order) => &order.source,
            Self::Status(order) => &order.source,
            Self::Export(order) => &order.source,
            Self::Agent(_) => return None,
        };
        source.as_deref().and_then(|source| source.split('/').next())
    }
}
