//! A server on a data directory that came back from a backup.
//!
//! PostgreSQL refuses to run as root, so under root the directory is given to the user that throw-away servers run as.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::postgres::Postgres;

/// How long it may replay.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends with this value, its directory stays.
pub struct Revived {
    server: Child,
    port: u16,
    place: tempfile::TempDir,
    bin_dir: PathBuf,
    password: String,
}

/// Give all below `directory` to the owner of the data directory of `like`.
///
/// # Panics
/// Where that is refused.
pub fn give_to_owner_of(directory: &Path, like: &Postgres) {
    let owner = std::fs::metadata(like.cluster().data_dir()).expect("a data directory");
    give(directory, owner.uid(), owner.gid());
}

fn give(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).expect("we may give files away");
    if path.symlink_metadata().expect("it is there").is_dir() {
        for entry in std::fs::read_dir(path).expect("a readable directory").flatten() {
            give(&entry.path(), uid, gid);
        }
    }
}

impl Revived {
    /// Start a server with the programs and the password of `like` on `data`, and wait until it takes questions, which it
    /// does when it has replayed what makes it consistent.
    ///
    /// # Panics
    /// Where it does not start; the words are the server's.
    #[track_caller]
    pub fn start(data: &Path, like: &Postgres, settings: &[(&str, &str)]) -> Self {
        match Self::try_start(data, like, settings) {
            Ok(revived) => revived,
            Err(words) => panic!("the server does not start:\n{words}"),
        }
    }

    /// The same, for who expects that it does not.
    ///
    /// # Errors
    /// The server's words.
    ///
    /// # Panics
    /// Where nothing can be started at all.
    pub fn try_start(data: &Path, like: &Postgres, settings: &[(&str, &str)]) -> Result<Self, String> {
        Self::try_start_with(data, like, settings, &[])
    }

    /// The same with variables for what the server runs.
    ///
    /// # Errors
    /// As [`Revived::try_start`].
    ///
    /// # Panics
    /// As [`Revived::try_start`].
    pub fn try_start_with(
        data: &Path,
        like: &Postgres,
        settings: &[(&str, &str)],
        environment: &[(&str, &Path)],
    ) -> Result<Self, String> {
        let bin_dir = like.client().bin_dir().to_owned();
        let owner = std::fs::metadata(data).expect("a data directory");
        let place = tempfile::Builder::new().prefix("mainstay-rv-").tempdir().expect("room");
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
        std::os::unix::fs::lchown(place.path(), Some(owner.uid()), Some(owner.gid())).expect("ours");
        let port = TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("bound").port();
        let log = place.path().join("log");
        let mut command = Command::new(bin_dir.join("postgres"));
        command.arg("-D").arg(data).arg("-k").arg(place.path()).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command.envs(environment.iter().copied());
        command.current_dir(place.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("a log")).process_group(0).env("LC_ALL", "C");
        let server = command.spawn().expect("postgres runs");
        let password = like.password().to_owned();
        let mut revived = Self { server, port, place, bin_dir, password };
        match revived.wait() {
            true => Ok(revived),
            false => Err(revived.log()),
        }
    }

    fn wait(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return false;
            }
            if self.try_psql("postgres", "SELECT 1").is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client program, prepared to connect as superuser.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(name));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string());
        command.env("PGUSER", pg::throwaway::SUPERUSER).env("PGPASSWORD", &self.password);
        command
    }

    /// Run SQL; the rows as psql prints them.
    ///
    /// # Errors
    /// psql's words.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.program("psql");
        let output = command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
            .output();
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The same where the SQL is right.
    ///
    /// # Panics
    /// Where it is not; the server's log follows.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|words| panic!("{words}\n{}", self.log()))
    }

    /// Ask again until the answer is `wanted`.
    ///
    /// # Panics
    /// When it never is.
    #[track_caller]
    pub fn wait_for(&self, sql: &str, wanted: &str) {
        let begin = Instant::now();
        let mut last = Ok(String::new());
        while begin.elapsed() < PATIENCE {
            last = self.try_psql("postgres", sql);
            if last.as_deref() == Ok(wanted) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{sql} is {last:?}, not {wanted:?}:\n{}", self.log());
    }

    /// Shut down in order.
    pub fn stop(mut self) {
        self.end(Signal::INT);
    }

    fn end(&mut self, signal: Signal) {
        let pid = Pid::from_child(&self.server);
        if matches!(self.server.try_wait(), Ok(None)) {
            kill_process(pid, signal).ok();
            self.server.wait().ok();
        }
    }
}

impl Drop for Revived {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
    }
}
