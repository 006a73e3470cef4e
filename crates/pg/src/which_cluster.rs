//! Which cluster a data directory belongs to.
//!
//! Form: `global/pg_control` begins with the system identifier, 8 bytes as the machine has them, here little-endian
//! (PostgreSQL source, `catalog/pg_control.h`). It is never changed, so it may be read while the server writes the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use model::lsn::SystemId;

/// The identifier of the cluster whose data directory this is.
///
/// # Errors
/// Where there is no `global/pg_control`, or it is empty.
pub fn system_id(data_directory: &Path) -> io::Result<SystemId> {
    let mut first = [0; 8];
    File::open(data_directory.join("global/pg_control"))?.read_exact(&mut first)?;
    match u64::from_le_bytes(first) {
        0 => Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no system identifier")),
        number => Ok(SystemId(number)),
    }
}
