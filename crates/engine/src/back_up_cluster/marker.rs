//! The mark in a data directory that says which backup read it last.
//!
//! Form: a random number of 32 hexadecimal digits in the file `mainstay.marker`; or, where the data directory is out of
//! reach, in the name of a physical replication slot that keeps no WAL and is used by nobody. Position, timeline and times
//! of files come back when a machine is turned back to an earlier state, or a restore is repeated; a random number that was
//! not there then does not. Neither file nor slots are in a backup, so what is restored has none, and what is promoted has
//! no slot of its primary.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use pg::backup_mode::MARK_SLOT;
use pg::data_directory::MARKER;
use pg::replication::{SlotName, create_mark, drop_slot_if_there};
use pg::wire::{Conversation, WireError};

/// The mark, where there is one.
pub(super) fn read(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join(MARKER)).ok()?;
    Some(text.trim().to_owned()).filter(|mark| !mark.is_empty())
}

/// Whether a mark is the name of a slot.
pub(super) fn is_slot(mark: &str) -> bool {
    mark.starts_with(MARK_SLOT)
}

/// Make a slot that is a mark in place of those that there are; without one, the next increment has nothing to rest on, and
/// that is told. `is_seen` says of a slot whether the server has it that is asked for marks: where several hosts are named,
/// the one that sends may be another, and what is known of the one does not hold of the other.
pub(super) fn make_slot(
    server: &mut Conversation,
    there: &[String],
    is_seen: &dyn Fn(&SlotName) -> bool,
    tell: &(dyn Fn(&str) + Sync),
) -> Option<String> {
    let made = replace_slots(server, there).map_err(|why| format!("the server makes none: {why}"));
    let kept = made.and_then(|name| match is_seen(&name) {
        true => Ok(name.to_string()),
        false => {
            let dropped = drop_slot_if_there(server, &name);
            let left = dropped.err().map(|why| format!(" ({name} is left there: {why})"));
            let left = left.unwrap_or_default();
            Err(format!("the server that sends is another one than the one that answers statements{left}"))
        }
    });
    if let Err(why) = &kept {
        tell(&format!(
            "no replication slot can be the mark of this backup, so the next one over the stream is a full one: {why}"
        ));
    }
    kept.ok()
}

fn replace_slots(server: &mut Conversation, there: &[String]) -> Result<SlotName, WireError> {
    // First, since a server has few. Another backup may have dropped one.
    for old in there.iter().filter_map(|old| old.parse::<SlotName>().ok()) {
        drop_slot_if_there(server, &old)?;
    }
    let mark = format!("{MARK_SLOT}{}", random().map_err(WireError::Broken)?);
    let name = mark.parse::<SlotName>().map_err(|error| WireError::Broken(io::Error::other(error)))?;
    create_mark(server, &name)?;
    Ok(name)
}

/// A name for the slot of one backup: no mark, and gone with its session.
pub(super) fn held_slot() -> io::Result<SlotName> {
    format!("mainstay_backup_{}", random()?).parse().map_err(io::Error::other)
}

fn random() -> io::Result<String> {
    Ok(format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?))
}

/// Make a new one, durably.
///
/// # Errors
/// Where the directory may not be written.
pub(super) fn write(data: &Path) -> io::Result<String> {
    let mark = random()?;
    let owner = fs::metadata(data)?;
    let mut file = tempfile::Builder::new().prefix(MARKER).tempfile_in(data)?;
    file.write_all(mark.as_bytes())?;
    fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    file.as_file().sync_all()?;
    file.persist(data.join(MARKER))?;
    File::open(data)?.sync_all()?;
    Ok(mark)
}
