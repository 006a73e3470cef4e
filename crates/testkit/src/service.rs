//! A server of another maker that a test starts: on a free port of this machine, in a temporary directory, gone with
//! its value, also when the test fails.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// To a server's first answer. Ceph needs 13 s on an idle machine; a busy one is no failure.
const START_MAX: Duration = Duration::from_secs(240);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A running server: one process, with all that it started.
pub struct Service {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Service {
    /// Start `command`, whose output goes into a file, and wait until `is_up` says so.
    ///
    /// # Panics
    /// Where it ends, or is not up in time; with the end of what it said.
    pub fn start(mut command: Command, directory: TempDir, port: u16, is_up: impl Fn() -> bool) -> Self {
        let log = File::create(directory.path().join("log")).expect("a file for the server's words");
        let copy = log.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(log).stderr(copy).process_group(0);
        let child = command.spawn().expect("the server's program can be started");
        let mut service = Self { child, directory, port };
        let deadline = Instant::now() + START_MAX;
        while !is_up() {
            let ended = service.child.try_wait().expect("a child's state");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{command:?}: {ended:?}\n{}",
                service.log()
            );
            std::thread::sleep(ASK_EVERY);
        }
        service
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The end of what it said.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The group first: a server may have started helpers. Either may be gone already.
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that is free now.
///
/// # Panics
/// Where the system has none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

/// Whether somebody listens.
pub fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// What `scripts/make-test-server.sh NAME` has made, or makes now: where it is.
///
/// # Panics
/// Where it cannot be made; with the script's words.
pub fn made(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/make-test-server.sh");
    let output = Command::new(script).arg(name).stdin(Stdio::null()).output().expect("a script can be run");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} cannot be made here:\n{words}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
