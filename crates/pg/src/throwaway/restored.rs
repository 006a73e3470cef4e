//! A server for a moment on files that came back from a backup: it recovers them, and can then be asked.
//!
//! Nothing of what its cluster was configured to do is done: it reads settings of ours alone, preloads no libraries, runs
//! no jobs, follows no publisher, archives nothing, and listens on no network, but on a socket in a directory of its own,
//! where whoever may look into that is believed. It loads those libraries alone that the types and functions of the tables
//! need; so a cluster that was taken over may run its code here, with the rights of the user who restores. Invariant: the
//! process is gone when this value is; the files stay.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::cluster::end;
use super::error::{PATIENCE, ThrowawayError};
use super::identity::Identity;
use crate::connection::{Connection, ConnectionError};
use crate::control_file::ControlFile;

/// The only number that nobody else has in a directory of our own.
const PORT: &str = "5432";
/// Bytes of a socket's path at most; the name of the socket itself is 16 long.
const RUN_LEN_MAX: usize = 107 - 16;
/// Origins of replication that a cluster may know of: where there are more than the server may have, it does not recover.
const ORIGINS_MAX: &str = "1000";

/// A server that recovers, or has recovered.
pub struct RestoredServer {
    server: Child,
    run: PathBuf,
}

impl RestoredServer {
    /// Start the server in `bin_dir` on `data`. `run` is an empty directory for what it needs beside. Both are given to whom
    /// throw-away servers run as. Where it is to recover to stands in the settings of `data`.
    ///
    /// # Errors
    /// Where the process cannot be made; whether it comes up is asked of [`RestoredServer::is_ready`].
    pub fn start(
        bin_dir: &Path,
        data: &Path,
        run: &Path,
        control: &ControlFile,
        major: u32,
    ) -> Result<Self, ThrowawayError> {
        if run.as_os_str().len() > RUN_LEN_MAX || run.to_string_lossy().contains([',', '"']) {
            return Err(ThrowawayError::BadPlace(run.to_owned()));
        }
        let action = "prepare the server's directory";
        let identity = Identity::find();
        let configuration = run.join("postgresql.conf");
        fs::write(&configuration, "").map_err(ThrowawayError::io(action))?;
        let access = run.join("pg_hba.conf");
        fs::write(&access, "local all all trust\n").map_err(ThrowawayError::io(action))?;
        let log = File::create(run.join("log")).map_err(ThrowawayError::io("create the server's log"))?;
        for place in [run, data] {
            own_tree(place, identity).map_err(ThrowawayError::io(action))?;
            fs::set_permissions(place, Permissions::from_mode(0o700)).map_err(ThrowawayError::io(action))?;
        }
        let mut command = Command::new(bin_dir.join("postgres"));
        command.arg("-D").arg(data).arg("-k").arg(run).args(["-p", PORT]);
        let files = [("config_file", &configuration), ("hba_file", &access)];
        for (name, file) in files {
            command.arg("-c").arg(format!("{name}={}", file.display()));
        }
        for (name, value) in settings(control, major) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        identity.apply(&mut command);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.current_dir(run).env_clear().env("LC_ALL", "C");
        for kept in ["PATH", "LD_LIBRARY_PATH"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        let server = command.spawn().map_err(ThrowawayError::io("start postgres"))?;
        Ok(Self { server, run: run.to_owned() })
    }

    /// Whether it has recovered and takes questions.
    ///
    /// # Errors
    /// [`ThrowawayError::Ended`] with its words.
    pub fn is_ready(&mut self, data: &Path) -> Result<bool, ThrowawayError> {
        if self.server.try_wait().map_err(ThrowawayError::io("wait for postgres"))?.is_some() {
            return Err(ThrowawayError::Ended { program: "postgres", words: tail(&self.log()) });
        }
        // It writes `ready` into the eighth line.
        let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        Ok(status.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
    }

    /// How to reach it as `role`. Whatever the cluster says of its roles and databases, no library is preloaded.
    ///
    /// # Errors
    /// For names with NUL.
    pub fn connection(&self, role: &str) -> Result<Connection, ConnectionError> {
        Connection::default()
            .with("host", self.run.to_string_lossy())?
            .with("port", PORT)?
            .with("user", role)?
            .with("options", "-c session_preload_libraries= -c local_preload_libraries=")
    }

    /// All that it has written.
    pub fn log(&self) -> String {
        let log = fs::read(self.run.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for RestoredServer {
    fn drop(&mut self) {
        // Nobody is left to tell; nobody needs the files either.
        end(&mut self.server, &[Signal::QUIT, Signal::KILL]).ok();
    }
}

/// End the server that a process of ours that was killed has left on `data`, if there is one.
///
/// # Errors
/// Where it does not go.
pub fn end_left_behind(data: &Path) -> io::Result<()> {
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let pid = pid_file.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    // The number may be somebody else's by now: ours was started with this path.
    let is_it = || {
        let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == data.as_os_str().as_encoded_bytes())
    };
    for signal in [Signal::QUIT, Signal::KILL] {
        if !is_it() {
            return Ok(());
        }
        kill_process(pid, signal).ok();
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE / 6 {
            if test_kill_process(pid).is_err() || !is_it() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Err(io::Error::other(format!(
        "the server that was left there (process {}) does not end",
        pid.as_raw_nonzero()
    )))
}

/// Give a file or directory, with all in it, to whom throw-away servers run as.
///
/// # Errors
/// What the system says.
pub fn give_away(path: &Path) -> io::Result<()> {
    own_tree(path, Identity::find())
}

fn own_tree(path: &Path, identity: Identity) -> io::Result<()> {
    identity.own(path)?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            own_tree(&entry?.path(), identity)?;
        }
    }
    Ok(())
}

/// All that counts is said here. What must be as large as it was in the cluster comes from its control file.
fn settings(control: &ControlFile, major: u32) -> Vec<(&'static str, String)> {
    let mut settings: Vec<_> = [
        ("listen_addresses", ""),
        ("ssl", "off"),
        ("shared_preload_libraries", ""),
        ("session_preload_libraries", ""),
        // Not while it recovers: then it would need as many connections as the original, and could not be written.
        ("hot_standby", "off"),
        ("archive_mode", "off"),
        ("autovacuum", "off"),
        ("max_logical_replication_workers", "0"),
        ("max_wal_senders", "0"),
        ("max_replication_slots", ORIGINS_MAX),
        ("max_connections", "20"),
        ("max_worker_processes", "0"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        ("log_min_messages", "warning"),
        ("restart_after_crash", "off"),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("synchronous_standby_names", ""),
        ("jit", "off"),
        ("shared_buffers", "128MB"),
        ("huge_pages", "off"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    // Prepared transactions need a place from the beginning, each with its locks.
    settings.push(("max_prepared_transactions", control.prepared_transactions_max.max(16).to_string()));
    settings.push(("max_locks_per_transaction", control.locks_max.max(1024).to_string()));
    if major >= 17 {
        settings.push(("event_triggers", "off".to_owned()));
    }
    if major >= 18 {
        settings.push(("max_active_replication_origins", ORIGINS_MAX.to_owned()));
    }
    settings
}

/// The end of a log, in which the reason is.
fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
