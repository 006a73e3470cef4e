//! PostgreSQL servers for tests: real ones, each alone in a temporary directory, gone with its value.
//!
//! initdb runs once per build and version; later servers copy its result. More versions than the installed one are
//! tested where `MAINSTAY_TEST_PG_DIRS` names their program directories, separated by colons. Time is limited: what goes
//! over versions takes those of [`installed`], and what has to hold for each major asks for each by [`of_major`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg::client::{Client, Clients};
use pg::connection::{Connection, Session};
use pg::throwaway::{Cluster, ClusterOptions, SUPERUSER, Template};

pub use pg::throwaway;

/// The majors of `MAINSTAY_TEST_PG_DIRS` that [`installed`] passes over: those beside them tell their story, too.
const ASKED_FOR_ALONE: [u32; 3] = [13, 14, 17];

/// A running server, with the client programs of its own version.
pub struct Postgres {
    cluster: Cluster,
    client: Client,
}

impl Postgres {
    /// A server of the newest version that is installed, whatever `MAINSTAY_TEST_PG_DIRS` names.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed or does not start: a test can only fail then.
    pub fn start() -> Self {
        let installed = installed();
        Self::start_with(installed.first().expect("PostgreSQL server programs are installed"))
    }

    /// A server with the programs in this directory.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn start_with(bin_dir: &Path) -> Self {
        Self::start_with_settings(bin_dir, &[])
    }

    /// A server with the programs in this directory and some settings of its own.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn start_with_settings(bin_dir: &Path, settings: &[(&str, &str)]) -> Self {
        let client = Client::at(bin_dir).expect("client programs stand beside the server's");
        let template = template(&client);
        Self::start_on(template, client, settings)
    }

    /// The same with checksums of pages, which is what initdb chooses from 18 on.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn start_with_checksums(bin_dir: &Path, settings: &[(&str, &str)]) -> Self {
        let client = Client::at(bin_dir).expect("client programs stand beside the server's");
        let template = template_with_checksums(&client);
        Self::start_on(template, client, settings)
    }

    fn start_on(template: PathBuf, client: Client, settings: &[(&str, &str)]) -> Self {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = ClusterOptions { template: Some(template), durable: false, settings };
        let cluster = Cluster::start(client.bin_dir(), &options).expect("the server starts");
        Self { cluster, client }
    }

    /// The server itself.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Client programs of the server's version.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// Directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.cluster.socket_dir()
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        self.cluster.password().expose()
    }

    /// The superuser's way to `database`.
    ///
    /// # Panics
    /// For names that PostgreSQL cannot have.
    pub fn connection(&self, database: &str) -> Connection {
        self.cluster.connection(database).expect("a name without NUL")
    }

    /// The superuser's way to `database`, ready for client programs.
    ///
    /// # Panics
    /// As [`Postgres::connection`], or where no temporary file can be made.
    pub fn session(&self, database: &str) -> Session {
        Session::open(self.connection(database)).expect("a password file can be written")
    }

    /// The superuser's way to the database `postgres` as a URI, with the password.
    pub fn connection_uri(&self) -> String {
        format!("postgresql://{SUPERUSER}:{}@127.0.0.1:{}/postgres", self.password(), self.port())
    }

    /// Run SQL in the database `postgres` and return the rows as psql prints them, `|` between columns.
    ///
    /// # Panics
    /// Where the SQL is wrong.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// Run SQL in `database`, through a file, so that it may be of any length.
    ///
    /// # Panics
    /// Where the SQL is wrong.
    pub fn psql_in(&self, database: &str, sql: &str) -> String {
        let script = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(script.path(), sql).expect("a temporary file can be written");
        let session = self.session(database);
        let mut command = session.command(&self.client.program("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script.path());
        let output = command.env("PGCLIENTENCODING", "UTF8").output().expect("psql runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }
}

/// Program directories with a server: the installed ones, newest first, then those of `MAINSTAY_TEST_PG_DIRS`, newest first, too,
/// without the majors that tests ask for by [`of_major`].
pub fn installed() -> Vec<PathBuf> {
    let is_wide = |client: &&Client| !ASKED_FOR_ALONE.contains(&client.version().major());
    let (own, named) = (own(), named());
    own.all().iter().chain(named.all().iter().filter(is_wide)).filter_map(server_of).collect()
}

/// The program directory of a server of this major version, where there is one.
pub fn of_major(major: u32) -> Option<PathBuf> {
    let (own, named) = (own(), named());
    let mut all = own.all().iter().chain(named.all());
    all.find(|client| client.version().major() == major && server_of(client).is_some()).and_then(server_of)
}

/// What is installed.
fn own() -> Clients {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Clients::discover(None, &path).expect("directories can be listed")
}

/// What `MAINSTAY_TEST_PG_DIRS` names.
fn named() -> Clients {
    Clients::in_directories(std::env::split_paths(
        &std::env::var_os("MAINSTAY_TEST_PG_DIRS").unwrap_or_default(),
    ))
}

/// The directory of client programs, where a server is among them.
fn server_of(client: &Client) -> Option<PathBuf> {
    client.bin_dir().join("initdb").is_file().then(|| client.bin_dir().to_owned())
}

/// The result of initdb for this version, made by whoever comes first.
fn template(client: &Client) -> PathBuf {
    made_once(&format!("postgres-template-{}", client.version()), |unfinished| {
        Template::make(client.bin_dir(), unfinished).expect("initdb works");
    })
}

/// The same with checksums of pages.
fn template_with_checksums(client: &Client) -> PathBuf {
    let plain = template(client);
    made_once(&format!("postgres-template-{}-checksums", client.version()), |unfinished| {
        let run = |command: &mut Command| {
            let done = command.output().expect("the program runs");
            String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
        };
        run(Command::new("cp").arg("-a").arg(&plain).arg(unfinished));
        let words = run(Command::new(client.program("pg_checksums"))
            .args(["--enable", "--no-sync", "-D"])
            .arg(unfinished.join("data"))
            .env("LC_ALL", "C"));
        assert!(words.contains("Checksums enabled") || words.contains("already enabled"), "{words}");
    })
}

/// A directory of the build that `make` makes where it is missing.
fn made_once(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let root = target_dir().join("tmp");
    std::fs::create_dir_all(&root).expect("the build's directory is writable");
    let lock = File::create(root.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    let made = root.join(name);
    if !made.exists() {
        let unfinished = root.join(format!("{name}.{}", std::process::id()));
        make(&unfinished);
        std::fs::rename(&unfinished, &made).expect("a name for what was made");
    }
    made
}

/// Cargo's target directory, from the place of the running test.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let found = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    found.map_or_else(std::env::temp_dir, Path::to_owned)
}
