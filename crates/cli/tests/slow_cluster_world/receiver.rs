//! `mainstay wal receive` beside a primary, killed and begun anew.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Place, Server};

/// A receiver that runs; killed with its value.
pub(crate) struct Receiver {
    child: Child,
    log: PathBuf,
}

impl Receiver {
    /// Receive from `server`, with a slot there.
    pub(crate) fn start(place: &Place, server: &Server<'_>) -> Self {
        let log = place.path().join("receiver.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let spool = place.path().join("spool");
        let mut command = place.mainstay_on("host-r");
        command.args([
            "wal",
            "receive",
            "--spool",
            spool.to_str().unwrap(),
            "--slot",
            "ours",
            "--create-slot",
        ]);
        command.env("PGHOST", server.socket_folder()).env("PGUSER", "postgres");
        command.env("MAINSTAY_OWNER_FILE", place.path().join("owner"));
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    /// What it said.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has given up.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
    }
}
