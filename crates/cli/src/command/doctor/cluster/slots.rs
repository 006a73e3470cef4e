//! Slots that nobody uses: the server keeps WAL for them until its disk is full. Those that are marks of backups keep none,
//! and are told of where no backup here left them.

use std::collections::BTreeSet;

use engine::back_up_cluster::slots_of;
use model::lsn::SystemId;
use model::size::ByteSize;
use pg::cluster_state::IdleSlot;
use repo::Repository;
use repo::snapshot_file::SnapshotFile;

use super::{AREA, Seen};
use crate::command::doctor::Finding;

/// As the server says that there is no limit.
const UNLIMITED: i64 = -1;
const MIB: u64 = 1 << 20;

pub(super) fn look(seen: &Seen<'_>) -> Vec<Finding> {
    let limit = seen.state.number("max_slot_wal_keep_size").unwrap_or(UNLIMITED);
    let idle = seen.state.idle_slots.iter().map(|slot| finding(slot, limit));
    idle.chain(foreign_marks(seen)).collect()
}

/// Marks of which no source in the repository says that they are its own.
fn foreign_marks(seen: &Seen<'_>) -> Option<Finding> {
    let marks = &seen.state.marks;
    let repository = seen.asked.repository.filter(|_| !marks.is_empty())?;
    let known = prefixes(repository, seen.state.system_id)?;
    let is_foreign = |mark: &&String| !known.iter().any(|prefix| mark.starts_with(prefix));
    let foreign: Vec<_> = marks.iter().filter(is_foreign).map(String::as_str).collect();
    let first = foreign.first()?;
    Some(Finding::note(
        AREA,
        format!("of no backup in this repository are the marks {}", foreign.join(", ")),
        &format!(
            "where none of another repository left them over the stream, SELECT pg_drop_replication_slot('{first}'): \
             each takes one of max_replication_slots"
        ),
    ))
}

/// How the marks of sources begin that have backups of this cluster; nothing where not all of them can be read.
fn prefixes(repository: &Repository, system: SystemId) -> Option<BTreeSet<String>> {
    let snapshots = repository.load_snapshots().ok()?;
    let system = system.to_string();
    let of_it = snapshots.iter().map(|(_, snapshot)| snapshot).filter(|snapshot| {
        snapshot.tag("kind") == Some("cluster") && snapshot.tag("system") == Some(system.as_str())
    });
    let prefix = |snapshot: &SnapshotFile| {
        let (tenant, source) = (snapshot.tag("tenant")?.parse().ok()?, snapshot.tag("source")?.parse().ok()?);
        Some(slots_of(repository, &tenant, &source))
    };
    Some(of_it.filter_map(prefix).collect())
}

fn finding(slot: &IdleSlot, limit: i64) -> Finding {
    let name = &slot.name;
    let drop = format!("start who used it, or SELECT pg_drop_replication_slot('{name}')");
    if slot.is_lost {
        return Finding::warning(
            AREA,
            format!("slot {name} has lost WAL that it was to keep"),
            "whoever used it cannot go on: what it received has a gap",
            &drop,
        );
    }
    let kept = ByteSize(slot.kept.unwrap_or_default().max(0).unsigned_abs());
    match u64::try_from(limit) {
        Ok(limit) => Finding::warning(
            AREA,
            format!("nobody uses slot {name}, for which {kept} of WAL are kept"),
            &format!("beyond {} (max_slot_wal_keep_size) its user cannot go on", ByteSize(limit * MIB)),
            &drop,
        ),
        Err(_) => Finding::warning(
            AREA,
            format!(
                "nobody uses slot {name}, for which {kept} of WAL are kept, and max_slot_wal_keep_size is no limit"
            ),
            "the server's disk fills, and then it stops",
            &format!("{drop}; and set max_slot_wal_keep_size below the room that pg_wal has"),
        ),
    }
}
