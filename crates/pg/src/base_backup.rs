//! A base backup as the server streams it: `BASE_BACKUP`, taken apart into files.
//!
//! [`BaseBackup::start`] gives the start, then [`BaseBackup::next_entry`] one file after the other, each with its content,
//! and at last [`BaseBackup::finish`] the stop and the server's manifest. Paths are those of a data directory: what lies in
//! a tablespace is `pg_tblspc/<oid>/…`, and `tablespace_map` stands beside `backup_label`. Invariant: nothing is finished
//! that was not read to its end.

mod options;
mod tar;
mod archives;
mod backup;

pub use archives::Tablespace;
pub use backup::{BaseBackup, Entry, Finished};
pub use options::{INCREMENTS, Options};
pub use tar::Kind;
