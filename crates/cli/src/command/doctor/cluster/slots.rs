//! Slots that nobody uses: the server keeps WAL for them until its disk is full.

use model::size::ByteSize;
use pg::cluster_state::IdleSlot;

use super::{AREA, Seen};
use crate::command::doctor::Finding;

/// As the server says that there is no limit.
const UNLIMITED: i64 = -1;
const MIB: u64 = 1 << 20;

pub(super) fn look(seen: &Seen<'_>) -> Vec<Finding> {
    let limit = seen.state.number("max_slot_wal_keep_size").unwrap_or(UNLIMITED);
    seen.state.idle_slots.iter().map(|slot| finding(slot, limit)).collect()
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
