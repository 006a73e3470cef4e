//! `backup_label` and `tablespace_map`: what makes a copy of a running cluster a backup.
//!
//! Form: lines of words, as `pg_backup_stop` gives them (PostgreSQL source, `access/transam/xlogbackup.c`). In the map a
//! line break or a backslash in a path stands behind a backslash; a line is the tablespace's number, a space, its place.
//! A backup without its label would start from whatever pg_control says and be silently wrong (pitfall 11).

use std::path::PathBuf;

use model::lsn::{Lsn, Timeline};

/// Name of the label, in the data directory.
pub const BACKUP_LABEL: &str = "backup_label";
/// Name of the map, in the data directory.
pub const TABLESPACE_MAP: &str = "tablespace_map";

/// What a label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// First WAL that is needed.
    pub start: Lsn,
    /// The checkpoint that recovery begins with.
    pub checkpoint: Lsn,
    /// Timeline it was begun on.
    pub timeline: Timeline,
    /// Whether a standby was backed up.
    pub from_standby: bool,
    /// Where the backup before an incremental one began: such a directory must be combined before it is started.
    pub incremental_from: Option<Lsn>,
}

/// A tablespace and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedTablespace {
    /// Its number, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Where it was.
    pub place: PathBuf,
}

/// A text that is none of both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A line that every label has.
    #[error("backup_label has no sound line {0:?}")]
    Missing(&'static str),
    /// A line of the map.
    #[error("tablespace_map has a line that makes no sense: {0:?}")]
    BadLine(String),
}

impl BackupLabel {
    /// Read the text of `backup_label`.
    ///
    /// # Errors
    /// [`LabelError::Missing`].
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let lsn = |name: &'static str| {
            let word = line(name).and_then(|rest| rest.split(' ').next());
            word.and_then(|word| word.parse().ok()).ok_or(LabelError::Missing(name))
        };
        let timeline = line("START TIMELINE").and_then(|number| number.parse().ok());
        Ok(Self {
            start: lsn("START WAL LOCATION")?,
            checkpoint: lsn("CHECKPOINT LOCATION")?,
            timeline: timeline.map(Timeline).ok_or(LabelError::Missing("START TIMELINE"))?,
            from_standby: line("BACKUP FROM") == Some("standby"),
            incremental_from: line("INCREMENTAL FROM LSN")
                .map(|_| lsn("INCREMENTAL FROM LSN"))
                .transpose()?,
        })
    }
}

/// Read the bytes of `tablespace_map`.
///
/// # Errors
/// [`LabelError::BadLine`].
pub fn parse_tablespace_map(bytes: &[u8]) -> Result<Vec<MappedTablespace>, LabelError> {
    let (mut lines, mut line, mut is_escaped) = (vec![], vec![], false);
    for byte in bytes {
        match byte {
            b'\\' if !is_escaped => is_escaped = true,
            b'\n' | b'\r' if !is_escaped => lines.push(std::mem::take(&mut line)),
            _ => {
                line.push(*byte);
                is_escaped = false;
            }
        }
    }
    lines.push(line);
    lines.iter().filter(|line| !line.is_empty()).map(|line| mapped(line)).collect()
}

fn mapped(line: &[u8]) -> Result<MappedTablespace, LabelError> {
    let bad = || LabelError::BadLine(String::from_utf8_lossy(line).into_owned());
    let at = line.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
    let oid = std::str::from_utf8(&line[..at]).ok().and_then(|oid| oid.parse().ok()).ok_or_else(bad)?;
    let place = &line[at + 1..];
    if !place.starts_with(b"/") || place.contains(&0) {
        return Err(bad());
    }
    Ok(MappedTablespace { oid, place: path(place) })
}

/// The bytes of a `tablespace_map` with these lines.
pub fn write_tablespace_map(tablespaces: &[MappedTablespace]) -> Vec<u8> {
    let mut bytes = vec![];
    for MappedTablespace { oid, place } in tablespaces {
        bytes.extend_from_slice(format!("{oid} ").as_bytes());
        for byte in std::os::unix::ffi::OsStrExt::as_bytes(place.as_os_str()) {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                bytes.push(b'\\');
            }
            bytes.push(*byte);
        }
        bytes.push(b'\n');
    }
    bytes
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-30 01:45:38 UTC\nLABEL: START TIMELINE: 7\nSTART TIMELINE: 3\n";

    #[test]
    fn a_label_says_where_recovery_begins() {
        let label = BackupLabel::parse(LABEL).unwrap();
        let (start, checkpoint) = (Lsn(0x200_0028), Lsn(0x200_0060));
        let expected = BackupLabel {
            start,
            checkpoint,
            timeline: Timeline(3),
            from_standby: false,
            incremental_from: None,
        };
        assert_eq!(label, expected);
        let increment = format!("{LABEL}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n");
        assert_eq!(BackupLabel::parse(&increment).unwrap().incremental_from, Some(Lsn(0x100_0028)));
        for name in ["START WAL LOCATION", "CHECKPOINT LOCATION", "START TIMELINE"] {
            let without: String =
                LABEL.lines().filter(|line| !line.starts_with(name)).flat_map(|line| [line, "\n"]).collect();
            assert_eq!(BackupLabel::parse(&without), Err(LabelError::Missing(name)));
        }
    }

    #[test]
    fn a_map_is_read_as_it_was_written_whatever_the_paths() {
        let of = |oid, place: &str| MappedTablespace { oid, place: place.into() };
        let spaces = [of(16384, "/srv/fast disk"), of(4_294_967_295, "/a\\b\nc\rd"), of(1, "/")];
        let bytes = write_tablespace_map(&spaces);
        assert_eq!(parse_tablespace_map(&bytes).unwrap(), spaces);
        assert_eq!(parse_tablespace_map(b"").unwrap(), []);
        assert_eq!(parse_tablespace_map(b"5 /x\r\n6 /y").unwrap(), [of(5, "/x"), of(6, "/y")]);
        for line in ["16384", "x /a", "5 relative", "-1 /a", "5 /a\0b"] {
            assert!(parse_tablespace_map(line.as_bytes()).is_err(), "{line:?}");
        }
    }
}
