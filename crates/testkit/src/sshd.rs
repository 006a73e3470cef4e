//! OpenSSH's server for tests: a real one on a free port of this machine, for the user that we are, gone with its value.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::procfs;

/// Debian keeps it out of the path of users.
const PROGRAM: &str = "/usr/sbin/sshd";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server. Everybody of this machine with [`Sshd::key_file`] gets in, by SFTP alone.
pub struct Sshd {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Sshd {
    /// A server with a new host key and one key that it lets in.
    ///
    /// # Panics
    /// Where OpenSSH is not installed or does not start: a test can only fail then.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["host_key", "key"] {
            make_key(&directory.path().join(name), "ed25519");
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut server = Self { directory, port, child: None };
        server.write_known_hosts();
        server.write_configuration();
        server.resume();
        server
    }

    fn write_configuration(&self) {
        // As root, sshd gives up its rights in a directory that only a package's scripts make.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("the directory of sshd");
        }
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\nForceCommand internal-sftp\nLogLevel ERROR\n",
            self.port,
            at("host_key"),
            at("key.pub")
        );
        fs::write(self.directory.path().join("sshd_config"), text).expect("the configuration is written");
    }

    /// Let clients know the host key that the server has now.
    ///
    /// # Panics
    /// Where a file cannot be written.
    pub fn write_known_hosts(&self) {
        let key = fs::read_to_string(self.directory.path().join("host_key.pub")).expect("a host key");
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        fs::write(self.known_hosts(), line).expect("the host key is made known");
    }

    /// Give the server another host key, which nobody knows.
    ///
    /// # Panics
    /// Where it does not start again.
    pub fn change_host_key(&mut self) {
        self.kill();
        for name in ["host_key", "host_key.pub"] {
            fs::remove_file(self.directory.path().join(name)).expect("the old key is removed");
        }
        make_key(&self.directory.path().join("host_key"), "ed25519");
        self.resume();
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of an absolute directory on it, as mainstay and restic write it.
    pub fn address(&self, path: &Path) -> String {
        format!("sftp://{}@127.0.0.1:{}/{}", user(), self.port, path.display())
    }

    /// The private key that it lets in.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// A `known_hosts` file with the host key of its start.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.path().join("known_hosts")
    }

    /// What a program is told by its environment to get in.
    pub fn variables(&self) -> [(String, String); 3] {
        [
            ("MAINSTAY_SFTP_KEY".into(), self.key_file().display().to_string()),
            ("MAINSTAY_SFTP_KNOWN_HOSTS".into(), self.known_hosts().display().to_string()),
            ("USER".into(), user()),
        ]
    }

    /// How any restic is told to get in: its option `sftp.command`.
    pub fn restic_option(&self) -> String {
        let [key, known] = [self.key_file(), self.known_hosts()].map(|path| path.display().to_string());
        format!(
            "sftp.command=ssh -F none -i {key} -o IdentitiesOnly=yes -o UserKnownHostsFile={known} -p {} \
             {}@127.0.0.1 -s sftp",
            self.port,
            user()
        )
    }

    /// End the connections, and leave the server.
    pub fn cut_connections(&self) {
        for pid in self.child.iter().flat_map(|child| procfs::descendants(child.id())) {
            end(pid);
        }
    }

    /// End the server and every connection, as a power cut of its machine would.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The listener first, so that nobody comes in between.
        let connections = procfs::descendants(child.id());
        child.kill().ok();
        connections.into_iter().for_each(end);
        child.wait().ok();
    }

    /// Start it again on the same port.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn resume(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.args(["-D", "-e", "-f"]).arg(self.directory.path().join("sshd_config"));
        let log = fs::File::create(self.directory.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("apt-get install openssh-server"));
        let begin = Instant::now();
        while !self.answers() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < START_TIMEOUT, "sshd does not answer: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut greeting = [0; 4];
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .and_then(|mut socket| socket.read_exact(&mut greeting))
            .is_ok_and(|()| &greeting == b"SSH-")
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Make a key pair without a passphrase.
///
/// # Panics
/// Where ssh-keygen is missing.
pub fn make_key(file: &Path, kind: &str) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", "test", "-f"]).arg(file).status();
    assert!(made.is_ok_and(|status| status.success()), "apt-get install openssh-client");
}

/// Our own name, with which we log in.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id is everywhere");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn end(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::KILL).ok();
    }
}
