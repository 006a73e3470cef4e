//! What lies in a data directory: what a base backup takes, and which files are made of pages.
//!
//! The rules are those of PostgreSQL's own `basebackup.c` (and of the manual, 26.3.4): what a running server makes
//! anew is left out, as are temporary and unlogged relations, whose content does not outlive a crash either.

use model::lsn::Timeline;

/// What becomes of an entry of the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is taken.
    Keep,
    /// The directory is taken, without what is in it.
    KeepEmpty,
    /// It is not there in the backup.
    LeaveOut,
}

/// A fork of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The relation itself.
    Main,
    /// Free space: has pages, but no LSNs.
    FreeSpace,
    /// Visibility: has pages; bits are taken away without a new LSN.
    Visibility,
    /// What an unlogged relation is after a crash.
    Init,
}

/// The name of a file of a relation, without its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    /// Number of the relation's files.
    pub number: u32,
    /// Fork.
    pub fork: Fork,
    /// Which gigabyte of it.
    pub segment: u32,
}

/// A file of ours: which backup has read the directory last.
pub const MARKER: &str = "mainstay.marker";

/// Directories of which only the name is kept: their content means nothing to another start.
const EMPTY: [&str; 9] = [
    "pg_stat_tmp",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
    "pg_wal/archive_status",
    "pg_wal/summaries",
];

/// Files that are the running server's, or that the backup makes itself.
const LEFT_OUT: [&str; 9] = [
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "current_logfiles",
    "backup_label",
    "tablespace_map",
    "backup_manifest",
    "postmaster.pid",
    "postmaster.opts",
    "global/pg_control.tmp",
];

/// What becomes of `path`, relative to the data directory (or below `pg_tblspc/<oid>`, to which it was led by a link).
pub fn treatment(path: &[u8]) -> Treatment {
    let is = |names: &[&str]| names.iter().any(|name| name.as_bytes() == path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let is_left_out = is(&LEFT_OUT)
        || name.starts_with(b"pgsql_tmp")
        || name.starts_with(b"pg_internal.init")
        || path.starts_with(MARKER.as_bytes())
        || is_temporary_relation(name)
        // The log itself is taken apart, as far as the backup needs it.
        || (path.starts_with(b"pg_wal/") && !is(&EMPTY));
    match is_left_out {
        true => Treatment::LeaveOut,
        false if is(&EMPTY) => Treatment::KeepEmpty,
        false => Treatment::Keep,
    }
}

/// The relation that a file belongs to, by its path relative to the data directory; nothing for other files.
pub fn relation_file(path: &[u8]) -> Option<RelationFile> {
    let mut parts = path.split(|byte| *byte == b'/');
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let name = match (parts.next()?, parts.next()?) {
        (b"global", name) => name,
        (b"base", database) if is_number(database) => parts.next()?,
        (b"pg_tblspc", space) if is_number(space) && parts.next()?.starts_with(b"PG_") => {
            parts.next().filter(|database| is_number(database))?;
            parts.next()?
        }
        _ => return None,
    };
    parts.next().is_none().then(|| RelationFile::parse(name)).flatten()
}

impl RelationFile {
    /// Read `16384`, `16384.1`, `16384_vm`, `16384_fsm.2`.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let (name, segment) = match name.split_once('.') {
            Some((name, segment)) => (name, number(segment).filter(|number| *number > 0)?),
            None => (name, 0),
        };
        let (name, fork) = match name.split_once('_') {
            None => (name, Fork::Main),
            Some((name, "fsm")) => (name, Fork::FreeSpace),
            Some((name, "vm")) => (name, Fork::Visibility),
            Some((name, "init")) => (name, Fork::Init),
            Some(_) => return None,
        };
        Some(Self { number: number(name)?, fork, segment })
    }

    /// The name of the file whose presence says that the relation is unlogged.
    pub fn init_name(self) -> String {
        format!("{}_init", self.number)
    }
}

/// The file of a timeline's history in `pg_wal`.
pub fn is_history(name: &[u8]) -> Option<Timeline> {
    match std::str::from_utf8(name).ok()?.parse().ok()? {
        model::wal_name::WalName::History(timeline) => Some(timeline),
        _ => None,
    }
}

/// `t3_16384`: of the session 3.
fn is_temporary_relation(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"t") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest.get(digits) == Some(&b'_') && RelationFile::parse(&rest[digits + 1..]).is_some()
}

/// A number as PostgreSQL writes it: no sign, no leading zeros.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn treatment_is_that_of_pg_basebackup() {
        use Treatment::{Keep, KeepEmpty, LeaveOut};
        for (path, want) in [
            ("PG_VERSION", Keep),
            ("base/5/16384", Keep),
            ("global/pg_control", Keep),
            ("pg_wal", Keep),
            ("pg_xact/0000", Keep),
            ("postgresql.auto.conf", Keep),
            ("log/postgresql.log", Keep),
            ("pg_logical/replorigin_checkpoint", Keep),
            ("tidy", Keep),
            ("base/5/t_5", Keep),
            ("pg_notify", KeepEmpty),
            ("pg_replslot", KeepEmpty),
            ("pg_wal/archive_status", KeepEmpty),
            ("pg_wal/000000010000000000000001", LeaveOut),
            ("postmaster.pid", LeaveOut),
            ("backup_label", LeaveOut),
            ("base/pgsql_tmp", LeaveOut),
            ("base/5/pg_internal.init", LeaveOut),
            ("global/pg_internal.init.123", LeaveOut),
            ("base/5/t3_16384", LeaveOut),
            ("base/5/t3_16384_fsm.1", LeaveOut),
            ("pg_tblspc/16385/PG_15_202209061/pgsql_tmp", LeaveOut),
        ] {
            assert_eq!(treatment(path.as_bytes()), want, "{path}");
        }
    }

    #[test]
    fn files_of_relations_are_told_from_others() {
        let file = |number, fork, segment| Some(RelationFile { number, fork, segment });
        for (path, want) in [
            ("base/5/16384", file(16384, Fork::Main, 0)),
            ("base/5/16384.12", file(16384, Fork::Main, 12)),
            ("base/5/16384_fsm.1", file(16384, Fork::FreeSpace, 1)),
            ("global/1262_vm", file(1262, Fork::Visibility, 0)),
            ("pg_tblspc/16385/PG_15_202209061/5/16386_init", file(16386, Fork::Init, 0)),
            ("base/5/PG_VERSION", None),
            ("base/5/pg_filenode.map", None),
            ("global/pg_control", None),
            ("base/5/16384.0", None),
            ("base/5/016384", None),
            ("base/5/16384_x", None),
            ("16384", None),
            ("base/5/x/16384", None),
            ("base/x/16384", None),
            ("pg_xact/0000", None),
            ("base/5/16384.x", None),
            ("pg_tblspc/16385/PG_15_202209061/16386", None),
            ("base/5/99999999999", None),
            ("base/5/", None),
        ] {
            assert_eq!(relation_file(path.as_bytes()), want, "{path}");
        }
    }
}
