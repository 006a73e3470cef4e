//! Physical replication: the commands of a WAL sender, and the stream of WAL.
//!
//! PostgreSQL manual, chapter 55.4. A name of a slot is checked here, since it goes into the command as it is.

mod commands;
mod wal_stream;

pub use commands::{
    BadSlotName, Identity, Slot, SlotName, create_mark, create_slot, drop_slot, drop_slot_if_there, hold_wal,
    identify_system, read_slot, segment_size, timeline_history,
};
pub use wal_stream::{Event, Flushed, Started, WalStream};
