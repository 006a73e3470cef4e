//! Questions to a WAL sender, and slots.

use std::fmt;
use std::str::FromStr;

use model::lsn::{Lsn, SystemId, Timeline};
use model::wal_name::SegmentSize;

use crate::version::Version;
use crate::wire::{Conversation, Value, WireError};

/// Who a server is and where its log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's number.
    pub system_id: SystemId,
    /// Its timeline now.
    pub timeline: Timeline,
    /// How far its log is on disk.
    pub flushed: Lsn,
}

/// A physical slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// From where on the server keeps WAL for it; nothing until it was used or reserved.
    pub restart: Option<(Lsn, Timeline)>,
}

/// A name that slots can have: lower case letters, digits and underscores, 63 at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotName(String);

/// A text that no slot can be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a replication slot: lower case letters, digits and underscores, 63 at most")]
pub struct BadSlotName(String);

impl FromStr for SlotName {
    type Err = BadSlotName;

    fn from_str(text: &str) -> Result<Self, BadSlotName> {
        let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        match (1..=63).contains(&text.len()) && text.bytes().all(is_legal) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadSlotName(text.to_owned())),
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Who the server is.
///
/// # Errors
/// It refuses, or its answer makes no sense.
pub fn identify_system(server: &mut Conversation) -> Result<Identity, WireError> {
    let row = server.query_one("IDENTIFY_SYSTEM")?.only("IDENTIFY_SYSTEM", 3)?;
    Ok(Identity { system_id: read(&row, 0)?, timeline: timeline(&row, 1)?, flushed: read(&row, 2)? })
}

/// How large its segments are.
///
/// # Errors
/// As [`identify_system`].
pub fn segment_size(server: &mut Conversation) -> Result<SegmentSize, WireError> {
    let shown = server.show("wal_segment_size")?;
    let bytes = [("MB", 20), ("GB", 30)].iter().find_map(|(unit, bits)| {
        let number: u64 = shown.strip_suffix(unit)?.parse().ok()?;
        number.checked_shl(*bits)
    });
    bytes
        .and_then(SegmentSize::new)
        .ok_or_else(|| WireError::nonsense(format!("wal_segment_size is {shown:?}")))
}

/// What the server keeps for a slot; nothing where there is no such slot. Servers before 15 do not tell: nothing too.
///
/// # Errors
/// It is a logical slot, the server refuses, or its answer makes no sense.
pub fn read_slot(server: &mut Conversation, name: &SlotName) -> Result<Option<Slot>, WireError> {
    if server.version() < Version::new(15, 0) {
        return Ok(None);
    }
    let row = server.query_one(&format!("READ_REPLICATION_SLOT {name}"))?.only("READ_REPLICATION_SLOT", 3)?;
    if row[0].is_none() {
        return Ok(None);
    }
    let restart = match (&row[1], &row[2]) {
        (Some(_), Some(_)) => Some((read(&row, 1)?, timeline(&row, 2)?)),
        _ => None,
    };
    Ok(Some(Slot { restart }))
}

/// Make a physical slot for which the server keeps WAL from now on. One that is there already is fine.
///
/// # Errors
/// The server refuses: it has no room for slots, or the user may not.
pub fn create_slot(server: &mut Conversation, name: &SlotName) -> Result<(), WireError> {
    match server.query(&format!("CREATE_REPLICATION_SLOT {name} PHYSICAL RESERVE_WAL")) {
        // Duplicate object.
        Err(error) if error.sqlstate() == Some("42710") => server.ready(),
        made => made.map(drop),
    }
}

/// Make a physical slot that goes with this conversation, and for which the server keeps WAL from now on.
///
/// # Errors
/// As [`create_slot`]; the conversation can go on.
pub fn hold_wal(server: &mut Conversation, name: &SlotName) -> Result<(), WireError> {
    let made = server.query(&format!("CREATE_REPLICATION_SLOT {name} TEMPORARY PHYSICAL RESERVE_WAL"));
    if matches!(made, Err(WireError::Server(_))) {
        server.ready()?;
    }
    made.map(drop)
}

/// Make a physical slot for which the server keeps no WAL: it says by its name that somebody was here.
///
/// # Errors
/// The server refuses: it has no room for slots, or the user may not.
pub fn create_mark(server: &mut Conversation, name: &SlotName) -> Result<(), WireError> {
    server.query(&format!("CREATE_REPLICATION_SLOT {name} PHYSICAL")).map(drop)
}

/// Drop a slot, where there is one of that name.
///
/// # Errors
/// Somebody uses it, or the server refuses.
pub fn drop_slot_if_there(server: &mut Conversation, name: &SlotName) -> Result<(), WireError> {
    match drop_slot(server, name) {
        // Undefined object.
        Err(error) if error.sqlstate() == Some("42704") => server.ready(),
        dropped => dropped,
    }
}

/// Drop a slot.
///
/// # Errors
/// There is none, or somebody uses it.
pub fn drop_slot(server: &mut Conversation, name: &SlotName) -> Result<(), WireError> {
    server.query(&format!("DROP_REPLICATION_SLOT {name}")).map(drop)
}

/// The history file of a timeline, as the server has it in `pg_wal`.
///
/// # Errors
/// The server has none, as for the first timeline, or its answer makes no sense.
pub fn timeline_history(server: &mut Conversation, timeline: Timeline) -> Result<Vec<u8>, WireError> {
    let command = format!("TIMELINE_HISTORY {timeline}");
    let mut row = server.query_one(&command)?.only("TIMELINE_HISTORY", 2)?;
    row.swap_remove(1).ok_or_else(|| WireError::nonsense("a history without content"))
}

/// A value of a row.
pub(super) fn read<T: FromStr>(row: &[Value], column: usize) -> Result<T, WireError> {
    let text = row.get(column).and_then(Option::as_ref).and_then(|value| std::str::from_utf8(value).ok());
    let value = text.and_then(|text| text.parse().ok());
    value.ok_or_else(|| WireError::nonsense(format!("{text:?} in column {column} of an answer")))
}

/// A timeline in a row.
pub(super) fn timeline(row: &[Value], column: usize) -> Result<Timeline, WireError> {
    match read(row, column)? {
        0 => Err(WireError::nonsense("timeline 0")),
        number => Ok(Timeline(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slots_are_postgresqls() {
        assert!("mainstay_1".parse::<SlotName>().is_ok());
        for name in ["", "A", "a-b", "a b", "a\";", &"x".repeat(64)] {
            assert!(name.parse::<SlotName>().is_err(), "{name}");
        }
    }
}
