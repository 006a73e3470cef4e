//! What can go wrong with WAL.

use std::path::PathBuf;

use model::lsn::{SystemId, Timeline};
use pg::timeline_history::BadHistory;
use pg::wal_segment::SegmentError;

/// An error of archiving or fetching WAL.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// It has no name that files of `pg_wal` have.
    #[error("{} is no WAL file", .0.display())]
    Name(PathBuf),
    /// It is not the segment that its name says, or not whole.
    #[error("{}: {cause}", path.display())]
    Segment {
        /// Which file.
        path: PathBuf,
        /// What does not fit.
        cause: SegmentError,
    },
    /// It is no history of a timeline.
    #[error("{}: {cause}", path.display())]
    History {
        /// Which file.
        path: PathBuf,
        /// What makes no sense.
        cause: BadHistory,
    },
    /// It is not the note of a base backup.
    #[error("{} is not the note of a base backup", .0.display())]
    Backup(PathBuf),
    /// The archive has something else under that name.
    #[error("{name} is archived in {place} with other bytes; it was left as it is")]
    Differs {
        /// Its name.
        name: String,
        /// Where.
        place: String,
    },
    /// WAL is gone before it could be received.
    #[error("{0}")]
    Gap(String),
    /// Another cluster archives there.
    #[error(
        "timeline {timeline} of the cluster {system_id} is archived here by {owner}, and not by this one"
    )]
    Owned {
        /// Whose WAL it is.
        system_id: SystemId,
        /// Which timeline.
        timeline: Timeline,
        /// Who archives it.
        owner: String,
    },
    /// Two repositories say that two clusters archive one timeline.
    #[error(
        "timeline {timeline} of the cluster {system_id} is archived by {owner} in {place}, and by {other} in the \
         repository that it would be copied from; nothing of it was copied"
    )]
    OwnersDiffer {
        /// Whose WAL it is.
        system_id: SystemId,
        /// Which timeline.
        timeline: Timeline,
        /// The repository that is copied into.
        place: String,
        /// Who archives it there.
        owner: String,
        /// Who archives it where it comes from.
        other: String,
    },
    /// The timeline leaves one that somebody else goes on with.
    #[error(
        "timeline {timeline} left timeline {parent} of the cluster {system_id} at {fork}, and {owner} has gone on with \
         that one: this is a copy"
    )]
    Forked {
        /// Whose WAL it is.
        system_id: SystemId,
        /// The new timeline.
        timeline: Timeline,
        /// The one that it left.
        parent: Timeline,
        /// Where.
        fork: model::lsn::Lsn,
        /// Who archives the parent.
        owner: String,
    },
    /// Who owns a timeline cannot be told from others.
    #[error("{} lies in the data directory {}, of which copies have it too", token.display(), data_directory.display())]
    TokenInside {
        /// The file with the token.
        token: PathBuf,
        /// The data directory.
        data_directory: PathBuf,
    },
    /// Something that should be there is not: nothing can be said of what else is.
    #[error("{place} has no configuration any more, so nothing is known of {name}")]
    Unhealthy {
        /// Where.
        place: String,
        /// What was asked for.
        name: String,
    },
}
