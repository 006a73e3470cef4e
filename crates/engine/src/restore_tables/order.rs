//! What is asked for: which tables, as they were when, into which database; and what it would take.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::owner::Owners;
use files::space::Room;
use model::cancel::CancelToken;
use model::progress::Progress;
use model::recovery_target::{RecoveryTarget, TargetAction, TargetTimeline};
use pg::client::{Client, Clients};
use pg::connection::Session;
use pg::recovery::Recovery;
use pg::relations::TableName;
use pg::throwaway::WalRequests;
use pg::version::Version;

use crate::restore_cluster::{ClusterOrder, ClusterPlan};

/// What is asked for.
pub struct TablesOrder<'a> {
    /// The database that they were in.
    pub database: String,
    /// The tables.
    pub tables: Vec<TableName>,
    /// As they were here.
    pub target: RecoveryTarget,
    /// Whether the target itself is still part of it.
    pub inclusive: bool,
    /// Along which history.
    pub timeline: TargetTimeline,
    /// Segments of WAL that are archived behind the backup.
    pub wal_segments: u64,
    /// The programs of the cluster's major version, with a server among them.
    pub programs: Client,
    /// All client programs that are here.
    pub clients: &'a Clients,
    /// Where there is room for the cluster for a while.
    pub work_dir: PathBuf,
    /// The server with the database that they go into.
    pub session: Session,
    /// That database.
    pub into: String,
    /// Replace tables that are there.
    pub clean: bool,
    /// Leave out owners and rights.
    pub no_owner_no_acl: bool,
    /// Put them into the database's own tablespace.
    pub no_tablespaces: bool,
    /// Told in words of what deserves a look.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// How far it is.
    pub progress: Progress,
    /// The wish to stop.
    pub cancel: CancelToken,
}

/// What it would take.
pub struct TablesPlan {
    /// What is restored for a while.
    pub cluster: ClusterPlan,
    /// Bytes of WAL that lie beside it, at most.
    pub wal_bytes: u64,
    /// The room where that is.
    pub room: Room,
    /// Version of the server with the database.
    pub server: Version,
    /// Tables that are there already.
    pub existing: Vec<TableName>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablesReport {
    /// The tables, with the parts of those that are partitioned.
    pub tables: Vec<TableName>,
    /// Bytes of their dump.
    pub bytes: u64,
}

impl TablesPlan {
    /// Bytes that are needed in the private place, beside the dump of the tables.
    pub fn needed(&self) -> u64 {
        self.cluster.bytes.saturating_sub(self.cluster.holes) + self.wal_bytes
    }
}

impl TablesOrder<'_> {
    /// What the server for a moment is to do, in a directory with `run` beside it.
    pub(super) fn recovery(&self, run: &Path, is_partial: bool) -> Recovery {
        Recovery {
            target: self.target.clone(),
            inclusive: self.inclusive,
            timeline: self.timeline,
            action: TargetAction::Promote,
            standby: false,
            restore_command: WalRequests::command(run),
            continue_archiving: false,
            is_partial,
        }
    }

    /// The cluster, or as much of it as is needed, in `place`.
    pub(super) fn cluster(&self, place: &Path, is_partial: bool) -> ClusterOrder<'static> {
        ClusterOrder {
            place: place.join("data"),
            moves: vec![],
            spaces: Some(place.join("spaces")),
            databases: if is_partial { vec![self.database.clone()] } else { vec![] },
            delta: false,
            recovery: self.recovery(&place.join("run"), is_partial),
            // The server for a moment gets all of it; who owned it does not count here.
            owners: Arc::new(Owners::default()),
            tell: &|_| {},
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
        }
    }
}
