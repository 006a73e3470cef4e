//! The server process: started on a free port, watched until it is ready, ended by its pid.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::secret::Secret;
use rustix::process::{Pid, Signal, kill_process};

use super::directory::{Directory, SUPERUSER};
use super::error::{PATIENCE, ThrowawayError};
use super::identity::Identity;
use crate::connection::{Connection, ConnectionError};

/// Another process may take the free port that we found; then the next one is tried.
const PORT_ATTEMPTS: usize = 5;

/// How the server is started.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// A directory made by [`Template::make`]: copying it is much faster than initdb.
    pub template: Option<PathBuf>,
    /// Whether a crash of the machine may lose nothing; otherwise fsync is off.
    pub durable: bool,
    /// Settings for the server's command line.
    pub settings: Vec<(String, String)>,
}

/// A data directory that has never run, and its superuser's password, to be copied.
pub struct Template;

impl Template {
    /// Fill `directory`, which must not exist, with a template made by initdb of `bin_dir`.
    pub fn make(bin_dir: &Path, directory: &Path) -> Result<(), ThrowawayError> {
        let made = Directory::new(Identity::find())?;
        made.initialise(bin_dir)?;
        made.save_as(directory)
    }
}

/// A running server.
pub struct Cluster {
    server: Child,
    port: u16,
    password: Secret,
    directory: Directory,
}

impl Cluster {
    /// Make and start a server with the programs in `bin_dir`, which must hold initdb and postgres.
    pub fn start(bin_dir: &Path, options: &ClusterOptions) -> Result<Self, ThrowawayError> {
        let directory = Directory::new(Identity::find())?;
        let password = match &options.template {
            Some(template) => directory.copy_from(template)?,
            None => directory.initialise(bin_dir)?,
        };
        for _ in 1..PORT_ATTEMPTS {
            match launch(bin_dir, &directory, options) {
                Err(ThrowawayError::Ended { words, .. }) if words.contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok((server, port)) => return Ok(Self { server, port, password, directory }),
            }
        }
        let (server, port) = launch(bin_dir, &directory, options)?;
        Ok(Self { server, port, password, directory })
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.data()
    }

    /// The superuser's password.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// How to reach `database` as superuser over TCP.
    pub fn connection(&self, database: &str) -> Result<Connection, ConnectionError> {
        Connection::default()
            .with("host", "127.0.0.1")?
            .with("port", self.port.to_string())?
            .with("user", SUPERUSER)?
            .with_password(Some(self.password.clone()))
            .with_database(database)
    }

    /// What the server has written so far, the end of it.
    pub fn log(&self) -> String {
        self.directory.log_tail()
    }

    /// Shut down in order, as for a copy of the data directory. Dropping the value is quicker and loses the data
    /// either way.
    pub fn stop(mut self) -> Result<(), ThrowawayError> {
        end(&mut self.server, &[Signal::INT, Signal::QUIT, Signal::KILL])
            .map_err(ThrowawayError::io("stop the server"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to tell; a server that cannot be ended keeps its directory from being removed.
        end(&mut self.server, &[Signal::QUIT, Signal::KILL]).ok();
    }
}

fn launch(
    bin_dir: &Path,
    directory: &Directory,
    options: &ClusterOptions,
) -> Result<(Child, u16), ThrowawayError> {
    let port = free_port().map_err(ThrowawayError::io("find a free port"))?;
    let log = File::create(directory.log()).map_err(ThrowawayError::io("create the server's log"))?;
    let mut command = Command::new(bin_dir.join("postgres"));
    command.arg("-D").arg(directory.data()).arg("-k").arg(directory.path()).args(["-p", &port.to_string()]);
    command.args(["-c", "listen_addresses=127.0.0.1"]);
    if !options.durable {
        command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
    }
    for (name, value) in &options.settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    directory.identity().apply(&mut command);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.current_dir(directory.path()).env("LC_ALL", "C").env_remove("PGPASSWORD");
    let mut server = command.spawn().map_err(ThrowawayError::io("start postgres"))?;
    match wait_until_ready(&mut server, directory) {
        Ok(()) => Ok((server, port)),
        Err(error) => {
            end(&mut server, &[Signal::QUIT, Signal::KILL]).ok();
            Err(error)
        }
    }
}

/// The server writes `ready` into the eighth line of postmaster.pid.
fn wait_until_ready(server: &mut Child, directory: &Directory) -> Result<(), ThrowawayError> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if server.try_wait().map_err(ThrowawayError::io("wait for postgres"))?.is_some() {
            return Err(ThrowawayError::Ended { program: "postgres", words: directory.log_tail() });
        }
        let status = std::fs::read_to_string(directory.data().join("postmaster.pid")).unwrap_or_default();
        if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(ThrowawayError::TooSlow { words: directory.log_tail() })
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// End our own child by its pid: each signal in turn, until it has gone.
pub(super) fn end(server: &mut Child, signals: &[Signal]) -> io::Result<()> {
    for signal in signals {
        if server.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(server), *signal)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE / 6 {
            if server.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    server.wait().map(|_| ())
}
