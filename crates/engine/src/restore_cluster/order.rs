//! What a restore of a cluster is asked for, and what it would do.

use std::path::PathBuf;
use std::sync::Arc;

use files::owner::Owners;
use files::space::Room;
use model::cancel::CancelToken;
use model::lsn::{Lsn, SystemId, Timeline};
use model::progress::Progress;
use model::wal_name::SegmentSize;
use pg::recovery::Recovery;

/// How to restore.
pub struct ClusterOrder<'a> {
    /// The data directory to be.
    pub place: PathBuf,
    /// Tablespaces that go elsewhere.
    pub moves: Vec<TablespaceMove>,
    /// All others go below this place, each in a directory of its number; where nothing is said, to where they were.
    pub spaces: Option<PathBuf>,
    /// Only these databases are whole, beside those that come with a server; all, where none is named.
    pub databases: Vec<String>,
    /// Write over what is there, and only where it differs.
    pub delta: bool,
    /// What the cluster does when it is started.
    pub recovery: Recovery,
    /// Names of users and groups.
    pub owners: Arc<Owners>,
    /// Told in words of what could not be restored of owners, modes and the like.
    pub tell: &'a (dyn Fn(&str) + Sync),
    /// How far it is.
    pub progress: Progress,
    /// The wish to stop.
    pub cancel: CancelToken,
}

/// A tablespace that goes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablespaceMove {
    /// Where it was, or its number.
    pub from: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
}

/// A place, before anything is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The tablespace; nothing for the data directory itself.
    pub oid: Option<u32>,
    /// Where it was, as far as the backup says.
    pub was: Option<PathBuf>,
    /// Where it goes.
    pub place: PathBuf,
    /// Whether something is there.
    pub is_occupied: bool,
    /// Bytes that the disk has to have room for, at most.
    pub bytes: u64,
    /// The file system.
    pub room: Room,
}

/// What a restore would do.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// The cluster.
    pub system: SystemId,
    /// Major version of the server that it needs.
    pub major: u32,
    /// First WAL that is needed.
    pub start: Lsn,
    /// From here on it is consistent; up to here its WAL is in the backup.
    pub stop: Lsn,
    /// Where the last record before `stop` begins, where a standby was backed up: its log may end there, and a server that
    /// looks for the earliest consistent point asks for one more.
    pub last_record: Option<Lsn>,
    /// The timeline that the backup was taken on.
    pub timeline: Timeline,
    /// Bytes of a segment of WAL.
    pub segment_size: SegmentSize,
    /// Links of the chain.
    pub links: usize,
    /// Files to write.
    pub files: u64,
    /// Bytes to write at most.
    pub bytes: u64,
    /// Bytes to read from the repository at most.
    pub stored_bytes: u64,
    /// Databases whose files are zeros.
    pub left_out: Vec<String>,
    /// Their numbers.
    pub left_out_numbers: Vec<u32>,
    /// Numbers of the databases that were asked for by their names.
    pub chosen: Vec<u32>,
    /// Bytes of files that are zeros, at most; on the disk they are holes.
    pub zeros: u64,
    /// Of `bytes` those that are holes on the disk, as far as is known without reading.
    pub holes: u64,
    /// Where it goes.
    pub destinations: Vec<Destination>,
    /// Whether `postgresql.conf` is in the data directory: a server of Debian has it elsewhere, and needs it.
    pub has_configuration: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterReport {
    /// Files that were written, or were there already.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// With `delta`: what was there and is not in the backup.
    pub deleted: u64,
}
