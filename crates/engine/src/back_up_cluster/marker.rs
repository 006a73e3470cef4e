//! The mark in a data directory that says which backup read it last.
//!
//! Form: `mainstay.marker`, 32 hexadecimal digits. Position, timeline and times of files come back when a machine is turned
//! back to an earlier state, or a restore is repeated; a random number that was not there then does not. It is in no backup,
//! so what is restored has none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use pg::data_directory::MARKER;

/// The mark, where there is one.
pub(super) fn read(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join(MARKER)).ok()?;
    Some(text.trim().to_owned()).filter(|mark| !mark.is_empty())
}

/// Make a new one, durably.
///
/// # Errors
/// Where the directory may not be written.
pub(super) fn write(data: &Path) -> io::Result<String> {
    let mark = format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?);
    let owner = fs::metadata(data)?;
    let mut file = tempfile::Builder::new().prefix(MARKER).tempfile_in(data)?;
    file.write_all(mark.as_bytes())?;
    fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    file.as_file().sync_all()?;
    file.persist(data.join(MARKER))?;
    File::open(data)?.sync_all()?;
    Ok(mark)
}
