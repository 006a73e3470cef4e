//! The mark in a data directory that says which backup read it last.
//!
//! Form: a random number of 32 hexadecimal digits in the file `mainstay.marker`; or, where the data directory is out of
//! reach, in the name of a physical replication slot that keeps no WAL and is used by nobody. Such a name says first whose it
//! is, so that sources and repositories leave each other's alone. Position, timeline and times of files come back when a
//! machine is turned back to an earlier state, or a restore is repeated; a random number that was not there then does not.
//! Neither file nor slots are in a backup, so what is restored has none, and what is promoted has no slot of its primary.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use model::name::{SourceName, TenantName};
use pg::backup_mode::MARK_SLOT;
use pg::data_directory::MARKER;
use pg::replication::{SlotName, create_mark, drop_slot_if_there};
use pg::wire::{Conversation, WireError};
use repo::Repository;
use repo::blob::id_of;

/// Digits that say whose a slot is: with those of the random number a name has the 63 characters that it may have.
const WHOSE_LEN: usize = 16;

/// The mark, where there is one.
pub(super) fn read(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join(MARKER)).ok()?;
    Some(text.trim().to_owned()).filter(|mark| !mark.is_empty())
}

/// Whether a mark is the name of a slot.
pub(super) fn is_slot(mark: &str) -> bool {
    mark.starts_with(MARK_SLOT)
}

/// How the names of slots begin that are marks of one source in one repository.
pub fn slots_of(repository: &Repository, tenant: &TenantName, source: &SourceName) -> String {
    let whose = format!("{}/{tenant}/{source}", repository.config().id);
    format!("{MARK_SLOT}{}_", &id_of(whose.as_bytes()).to_hex()[..WHOSE_LEN])
}

/// Make a slot that is a mark, whose name begins with `prefix`, in place of those that are `there`; without one, the next
/// increment has nothing to rest on, and that is told. `is_seen` says of a slot whether the server has it that is asked for
/// marks: where several hosts are named, the one that sends may be another, and what is known of the one does not hold of the
/// other.
pub(super) fn make_slot(
    server: &mut Conversation,
    (prefix, there): (&str, &[&str]),
    is_seen: &dyn Fn(&SlotName) -> bool,
    tell: &(dyn Fn(&str) + Sync),
) -> Option<String> {
    let made = replace_slots(server, prefix, there).map_err(|why| format!("the server makes none: {why}"));
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

fn replace_slots(server: &mut Conversation, prefix: &str, there: &[&str]) -> Result<SlotName, WireError> {
    // First, since a server has few. Another backup may have dropped one.
    for old in there.iter().filter_map(|old| old.parse::<SlotName>().ok()) {
        drop_slot_if_there(server, &old)?;
    }
    let mark = format!("{prefix}{}", random().map_err(WireError::Broken)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_the_longest_name_that_there_is() {
        let prefix = format!("{MARK_SLOT}{}_", "a".repeat(WHOSE_LEN));
        let name = format!("{prefix}{}", random().unwrap());
        assert!(name.len() == 63 && name.parse::<SlotName>().is_ok() && is_slot(&name), "{name}");
    }
}
