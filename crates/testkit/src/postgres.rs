//! PostgreSQL servers for tests: real ones, each alone in a temporary directory, gone with its value.
//!
//! initdb runs once per build and version; later servers copy its result. More versions than the installed one are
//! tested where `MAINSTAY_TEST_PG_DIRS` names their program directories, separated by colons.

use std::fs::File;
use std::path::{Path, PathBuf};

use pg::client::{Client, Clients};
use pg::connection::{Connection, Session};
use pg::throwaway::{Cluster, ClusterOptions, SUPERUSER, Template};

pub use pg::throwaway;

/// A running server, with the client programs of its own version.
pub struct Postgres {
    cluster: Cluster,
    client: Client,
}

impl Postgres {
    /// A server of the newest installed version.
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
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let template = Some(template(&client));
        let options = ClusterOptions { template, durable: false, settings };
        let cluster = Cluster::start(bin_dir, &options).expect("the server starts");
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

/// Program directories with a server, newest first: the installed ones and those of `MAINSTAY_TEST_PG_DIRS`.
pub fn installed() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = Clients::discover(None, &path).expect("directories can be listed");
    let more = std::env::var_os("MAINSTAY_TEST_PG_DIRS").unwrap_or_default();
    let more = Clients::in_directories(std::env::split_paths(&more));
    let all = found.all().iter().chain(more.all()).map(|client| client.bin_dir().to_owned());
    let with_server: Vec<_> = all.filter(|directory| directory.join("initdb").is_file()).collect();
    with_server
}

/// The result of initdb for this version, made by whoever comes first.
fn template(client: &Client) -> PathBuf {
    let root = target_dir().join("tmp");
    std::fs::create_dir_all(&root).expect("the build's directory is writable");
    let name = format!("postgres-template-{}", client.version());
    let lock = File::create(root.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    let template = root.join(&name);
    if !template.exists() {
        let unfinished = root.join(format!("{name}.{}", std::process::id()));
        Template::make(client.bin_dir(), &unfinished).expect("initdb works");
        std::fs::rename(&unfinished, &template).expect("a name for the template");
    }
    template
}

/// Cargo's target directory, from the place of the running test.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let found = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    found.map_or_else(std::env::temp_dir, Path::to_owned)
}
