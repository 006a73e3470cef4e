//! pg_dump, running: a stream of bytes in custom format, uncompressed, and at its end a verdict.
//!
//! Invariant: only `finish` says that a dump is good. Reading to the end does not: pg_dump may have failed, and
//! then the end of its output is no end (pitfall 25). Dropping the value ends pg_dump.

use std::io::{self, Read};
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use model::cancel::CancelToken;
use rustix::event::PollFlags;

use crate::client::Client;
use crate::connection::Session;
use crate::program::{ProgramError, Running, enlarge, wait_ready};

/// pg_dump writes little at a time. Waking up for each of its writes costs more than the work on them, so after a read of
/// fewer bytes than this …
const GATHER_LEN: usize = 256 << 10;
/// … the pipe, which holds 1 MiB, gets this long to fill: at 500 MB/s it is half full by then.
const GATHER_TIME: Duration = Duration::from_millis(1);

/// How to dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpOptions {
    /// Leave out owners (T4).
    pub no_owner: bool,
    /// Leave out rights (T4).
    pub no_acl: bool,
    /// Give up if a table is locked for longer.
    pub lock_wait_timeout: Option<Duration>,
    /// Only these schemas; pg_dump's patterns.
    pub schemas: Vec<String>,
    /// Only these tables; pg_dump's patterns.
    pub tables: Vec<String>,
    /// Definitions of these tables, but not their rows; pg_dump's patterns.
    pub exclude_table_data: Vec<String>,
}

impl DumpOptions {
    /// What pg_dump is called with, besides where to connect.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--format=custom".to_owned(), "--compress=0".to_owned()];
        let flags = [(self.no_owner, "--no-owner"), (self.no_acl, "--no-acl")];
        arguments.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| (*flag).to_owned()));
        if let Some(timeout) = self.lock_wait_timeout {
            arguments.push(format!("--lock-wait-timeout={}", timeout.as_millis()));
        }
        arguments.extend(self.schemas.iter().map(|pattern| format!("--schema={pattern}")));
        arguments.extend(self.tables.iter().map(|pattern| format!("--table={pattern}")));
        arguments
            .extend(self.exclude_table_data.iter().map(|pattern| format!("--exclude-table-data={pattern}")));
        arguments
    }
}

/// What is known of a dump that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpReport {
    /// Bytes read.
    pub length: u64,
    /// What pg_dump warned of.
    pub warnings: Vec<String>,
}

/// A running pg_dump.
pub struct Dump {
    running: Running,
    stdout: ChildStdout,
    cancel: CancelToken,
    length: u64,
    was_short: bool,
    /// pg_dump reads the password file when it connects, which may be after our caller is done with it.
    _session: Session,
}

/// Start to dump the session's database.
pub fn start(
    client: &Client,
    session: &Session,
    options: &DumpOptions,
    cancel: &CancelToken,
) -> Result<Dump, ProgramError> {
    cancel.check()?;
    let mut command = session.prepared(client.pg_dump());
    command.args(options.arguments());
    let mut running = Running::start("pg_dump", command, Stdio::null(), Stdio::piped())?;
    let Some(stdout) = running.take_stdout() else {
        return Err(running.pipe_error(io::ErrorKind::BrokenPipe.into()));
    };
    enlarge(&stdout);
    Ok(Dump {
        running,
        stdout,
        cancel: cancel.clone(),
        length: 0,
        was_short: false,
        _session: session.clone(),
    })
}

impl Dump {
    /// The stream has been read to its end: was it a good one? Unread bytes are an error of the caller's, which
    /// pg_dump reports as a broken pipe.
    pub fn finish(self) -> Result<DumpReport, ProgramError> {
        drop(self.stdout);
        let warnings = self.running.finish(&self.cancel)?;
        Ok(DumpReport { length: self.length, warnings })
    }
}

impl Read for Dump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.was_short {
            std::thread::sleep(GATHER_TIME);
        }
        wait_ready(&self.stdout, PollFlags::IN, &self.cancel)?;
        let count = self.stdout.read(buffer)?;
        self.was_short = count < GATHER_LEN.min(buffer.len());
        self.length += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_t4s() {
        let options = DumpOptions {
            no_owner: true,
            no_acl: true,
            lock_wait_timeout: Some(Duration::from_secs(60)),
            ..DumpOptions::default()
        };
        let expected =
            ["--format=custom", "--compress=0", "--no-owner", "--no-acl", "--lock-wait-timeout=60000"];
        assert_eq!(options.arguments(), expected);
    }
}
