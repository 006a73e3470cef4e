//! pg_restore, run to its end: from a file, or fed from a stream.
//!
//! Invariant: the first error ends it (`--exit-on-error` always), and success means that pg_restore said so; a
//! stream that breaks off, or was not read to its end, is never a success (pitfall 30).

use std::io::{self, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use model::cancel::CancelToken;
use rustix::event::PollFlags;

use crate::archive::Section;
use crate::client::Client;
use crate::connection::Session;
use crate::program::{ProgramError, Running, input_pipe, wait_ready};
use crate::version::Version;

/// Bytes read from a stream at once; the pipe holds as many.
const BUFFER_LEN: usize = 1 << 20;

/// pg_restore versions that a crafted archive cannot make run code on this machine, one per major version: those
/// with the fix of CVE-2026-116314 (missing validation of archives that are not plain text), published 2026-11-12:
/// "versions before PostgreSQL 18.7, 17.12, 16.16, 15.20, and 14.25 are affected". They hold the fixes of
/// CVE-2025-8715 (statements smuggled in by newlines in names; 17.6, 16.10, 15.14, 14.19) too. CVE-2025-8714 and
/// CVE-2026-18408 (18.6, 17.11, 16.15, 15.19, 14.24) need psql or plain text, which we use for no archive.
/// Source: https://www.postgresql.org/support/security/, and the same ids in the CVE list. Major versions above the
/// table are newer than the fixes, those below never got them. Later advisories raise these numbers.
const PATCHED: [Version; 5] = [
    Version::new(14, 25),
    Version::new(15, 20),
    Version::new(16, 16),
    Version::new(17, 12),
    Version::new(18, 7),
];

/// Who made an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This system, and its hashes were verified.
    Own,
    /// Somebody else.
    Foreign,
}

/// A restore that was refused or went wrong.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// pg_restore refused; the words are its own.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The archive could not be read to its end.
    #[error("cannot read the archive: {0}")]
    Source(io::Error),
    /// Foreign archives need a patched pg_restore.
    #[error(
        "pg_restore {found} may not touch an archive that mainstay did not write: it can make that program run code \
         on this machine (CVE-2026-116314); {needed}"
    )]
    Unpatched {
        /// The version at hand.
        found: Version,
        /// What would do.
        needed: String,
    },
}

/// Whether pg_restore of this version may restore an archive of this origin.
pub fn verify_version(origin: Origin, version: Version) -> Result<(), RestoreError> {
    let patched = PATCHED.iter().find(|patched| patched.same_major(version));
    let needed = match patched {
        _ if origin == Origin::Own || version > PATCHED[PATCHED.len() - 1] => return Ok(()),
        Some(patched) if version >= *patched => return Ok(()),
        Some(patched) => format!("install {patched} or later"),
        None => format!("install {} or later", PATCHED[PATCHED.len() - 1]),
    };
    Err(RestoreError::Unpatched { found: version, needed })
}

/// How to restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Leave out owners: who restores owns everything. pg_dump's own `--no-owner` does nothing to an archive.
    pub no_owner: bool,
    /// Leave out rights.
    pub no_acl: bool,
    /// Leave out tablespaces: everything goes to the default one.
    pub no_tablespaces: bool,
    /// Drop what is there first (C11: `--clean --if-exists`).
    pub clean: bool,
    /// All or nothing. Excludes `jobs`.
    pub single_transaction: bool,
    /// Only these schemas.
    pub schemas: Vec<String>,
    /// Only these tables, by name without schema.
    pub tables: Vec<String>,
    /// Only what this list names, as [`crate::archive::list_of_schemas`] makes it.
    pub list: Option<PathBuf>,
    /// Only this section.
    pub section: Option<Section>,
    /// Connections at once, for a file; 0 and 1 mean one.
    pub jobs: u32,
}

impl RestoreOptions {
    /// What pg_restore is called with, besides where to connect and what to read.
    pub fn arguments(&self) -> Vec<String> {
        let flags = [
            (true, "--exit-on-error"),
            (self.no_owner, "--no-owner"),
            (self.no_acl, "--no-acl"),
            (self.no_tablespaces, "--no-tablespaces"),
            (self.clean, "--clean"),
            (self.clean, "--if-exists"),
            (self.single_transaction, "--single-transaction"),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| (*flag).to_owned());
        let mut arguments: Vec<_> = flags.collect();
        arguments.extend(self.schemas.iter().map(|name| format!("--schema={name}")));
        arguments.extend(self.tables.iter().map(|name| format!("--table={name}")));
        arguments.extend(self.list.iter().map(|file| format!("--use-list={}", file.display())));
        arguments.extend(self.section.map(|section| match section {
            Section::PreData => "--section=pre-data".to_owned(),
            Section::Data => "--section=data".to_owned(),
            Section::PostData => "--section=post-data".to_owned(),
        }));
        if self.jobs > 1 {
            arguments.push(format!("--jobs={}", self.jobs));
        }
        arguments
    }
}

/// Restore from a file into the session's database. Returns pg_restore's warnings.
pub fn restore_file(
    client: &Client,
    session: &Session,
    options: &RestoreOptions,
    archive: &Path,
    cancel: &CancelToken,
) -> Result<Vec<String>, RestoreError> {
    cancel.check().map_err(ProgramError::from)?;
    let mut command = session.command(&client.program("pg_restore"));
    command.args(options.arguments()).arg("--").arg(archive);
    let running = Running::start("pg_restore", command, Stdio::null(), Stdio::null())?;
    Ok(running.finish(cancel)?)
}

/// Restore from a stream into the session's database. Returns pg_restore's warnings.
pub fn restore_stream(
    client: &Client,
    session: &Session,
    options: &RestoreOptions,
    archive: &mut dyn Read,
    cancel: &CancelToken,
) -> Result<Vec<String>, RestoreError> {
    cancel.check().map_err(ProgramError::from)?;
    let mut command = session.command(&client.program("pg_restore"));
    command.args(options.arguments());
    let (stdin, writer) = input_pipe()
        .map_err(|source| ProgramError::Start { program: client.program("pg_restore"), source })?;
    let running = Running::start("pg_restore", command, stdin, Stdio::null())?;
    match feed(archive, writer, cancel) {
        Ok(()) => Ok(running.finish(cancel)?),
        // pg_restore closed its stdin: it has either all it needs, or an error to tell.
        Err(Fed::Refused(source)) if source.kind() == io::ErrorKind::BrokenPipe => {
            let warnings = running.finish(cancel)?;
            drain(archive, cancel)?;
            Ok(warnings)
        }
        Err(Fed::Refused(source)) => {
            cancel.check().map_err(ProgramError::from)?;
            Err(running.pipe_error(source).into())
        }
        Err(Fed::Unreadable(source)) => {
            cancel.check().map_err(ProgramError::from)?;
            Err(RestoreError::Source(source))
        }
    }
}

/// Why a stream did not reach pg_restore.
enum Fed {
    Unreadable(io::Error),
    Refused(io::Error),
}

fn feed(archive: &mut dyn Read, mut pipe: PipeWriter, cancel: &CancelToken) -> Result<(), Fed> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let count = read_some(archive, &mut buffer).map_err(Fed::Unreadable)?;
        let mut rest = &buffer[..count];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            wait_ready(&pipe, PollFlags::OUT, cancel).map_err(Fed::Refused)?;
            match pipe.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fed::Refused(error)),
            }
        }
    }
}

/// Read to the end what pg_restore did not want, so that a fault in it is still found.
fn drain(archive: &mut dyn Read, cancel: &CancelToken) -> Result<(), RestoreError> {
    let mut buffer = vec![0; BUFFER_LEN];
    while read_some(archive, &mut buffer).map_err(RestoreError::Source)? > 0 {
        cancel.check().map_err(ProgramError::from)?;
    }
    Ok(())
}

fn read_some(archive: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match archive.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patched_versions_touch_foreign_archives() {
        let cases = [
            (Version::new(14, 24), false),
            (Version::new(15, 20), true),
            (Version::new(15, 19), false),
            (Version::new(17, 12), true),
            (Version::new(17, 11), false),
            (Version::new(18, 6), false),
            (Version::new(18, 7), true),
            (Version::new(19, 0), true),
            (Version::new(13, 23), false),
            (Version(90_624), false),
        ];
        for (version, is_allowed) in cases {
            assert_eq!(verify_version(Origin::Foreign, version).is_ok(), is_allowed, "{version}");
            assert!(verify_version(Origin::Own, version).is_ok());
        }
        let error = verify_version(Origin::Foreign, Version::new(15, 18)).unwrap_err().to_string();
        assert!(error.contains("15.18") && error.contains("15.20"), "{error}");
    }

    #[test]
    fn every_restore_stops_at_the_first_error() {
        let options = RestoreOptions { clean: true, jobs: 4, ..RestoreOptions::default() };
        assert_eq!(options.arguments(), ["--exit-on-error", "--clean", "--if-exists", "--jobs=4"]);
        assert_eq!(RestoreOptions::default().arguments(), ["--exit-on-error"]);
    }
}
