//! Servers that archive and recover, each in a directory of its own.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use crate::place::Place;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server's directory; it may run.
pub(crate) struct Server<'a> {
    place: &'a Place,
    pub(crate) directory: PathBuf,
    process: Option<Child>,
}

impl Place {
    /// A new cluster with segments of 1 MiB, and with checksums.
    pub(crate) fn initdb(&self, name: &str) -> Server<'_> {
        self.initdb_with(name, &["-k"])
    }

    /// The same with these flags.
    pub(crate) fn initdb_with(&self, name: &str, flags: &[&str]) -> Server<'_> {
        let server = self.server(name);
        let data = server.directory.display().to_string();
        let more = ["-D", &data, "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"];
        self.run("initdb", &[&more[..], &["--wal-segsize=1"], flags].concat());
        server
    }

    /// The server in the directory `name`, whatever is there.
    pub(crate) fn server(&self, name: &str) -> Server<'_> {
        Server { place: self, directory: self.path().join(name), process: None }
    }
}

impl<'a> Server<'a> {
    pub(crate) fn start(mut self, settings: &[(&str, &str)]) -> Self {
        self.begin(settings);
        self.wait("it takes connections", || self.try_psql("SELECT 1").is_some());
        self
    }

    /// Start it, whatever comes of that.
    pub(crate) fn begin(&mut self, settings: &[(&str, &str)]) {
        let socket = self.place.folder("sockets").join(self.name());
        fs::create_dir_all(&socket).unwrap();
        self.place.own(&socket);
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.place.command(self.place.bin.join("postgres"));
        command.arg("-D").arg(&self.directory).arg("-k").arg(&socket);
        let usual =
            [("listen_addresses", ""), ("fsync", "off"), ("wal_level", "replica"), ("max_connections", "20")];
        for (name, value) in usual.iter().chain(settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        self.process = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Whether it has gone by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some())
    }

    /// The number of its first process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Its major version.
    pub(crate) fn major(&self) -> u32 {
        self.place.major()
    }

    pub(crate) fn name(&self) -> String {
        self.directory.file_name().unwrap().to_string_lossy().into_owned()
    }

    fn log(&self) -> PathBuf {
        self.place.path().join(format!("{}.log", self.name()))
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn connection(&self) -> [String; 4] {
        let socket = self.place.path().join("sockets").join(self.name());
        ["-h".to_owned(), socket.display().to_string(), "-U".to_owned(), "postgres".to_owned()]
    }

    pub(crate) fn try_psql(&self, sql: &str) -> Option<String> {
        self.try_each(&[sql])
    }

    /// Several statements in one session, each in a transaction of its own.
    pub(crate) fn try_each(&self, statements: &[&str]) -> Option<String> {
        self.try_each_in("postgres", statements)
    }

    fn try_each_in(&self, database: &str, statements: &[&str]) -> Option<String> {
        let mut command = self.place.command(self.place.bin.join("psql"));
        command.args(self.connection()).args(["-XqAt", "-v", "ON_ERROR_STOP=1"]);
        statements.iter().for_each(|sql| _ = command.args(["-c", sql]));
        let output = command.arg(database).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|| panic!("{sql} failed:\n{}", self.log_text()))
    }

    /// The same in another database than `postgres`.
    pub(crate) fn psql_in(&self, database: &str, sql: &str) -> String {
        let said = self.try_each_in(database, &[sql]);
        said.unwrap_or_else(|| panic!("{sql} failed in {database}:\n{}", self.log_text()))
    }

    pub(crate) fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_for(&self, sql: &str) {
        self.wait(sql, || self.try_psql(sql).as_deref() == Some("t"));
    }

    /// Rows that fill some segments; then everything up to here is archived.
    pub(crate) fn write(&self, rows: u32) {
        self.psql(&format!(
            "CREATE TABLE IF NOT EXISTS ledger (id serial, text text); \
             INSERT INTO ledger (text) SELECT repeat(md5(n::text), 20) FROM generate_series(1, {rows}) n"
        ));
    }

    /// Close the segment, and wait until it is archived.
    pub(crate) fn archive_all(&self) {
        let last = self.psql("SELECT pg_walfile_name(pg_switch_wal())");
        self.wait_for(&format!("SELECT coalesce(last_archived_wal, '') >= '{last}' FROM pg_stat_archiver"));
    }

    pub(crate) fn rows(&self) -> String {
        self.psql("SELECT count(*) || ' ' || sum(id) FROM ledger")
    }

    /// A base backup without WAL.
    pub(crate) fn base_backup(&self, name: &str) -> Server<'a> {
        let to = self.place.path().join(name);
        let connection = self.connection();
        let mut all: Vec<&str> = connection.iter().map(String::as_str).collect();
        let shown = to.display().to_string();
        all.extend(["-D", &shown, "-c", "fast", "-X", "none", "-N"]);
        self.place.run("pg_basebackup", &all);
        Server { place: self.place, directory: to, process: None }
    }

    /// The address of this one for `user`.
    pub(crate) fn uri(&self, user: &str) -> String {
        format!("postgresql://{user}@/postgres?host={}", self.socket_folder())
    }

    /// Where its socket is.
    pub(crate) fn socket_folder(&self) -> String {
        self.connection()[1].clone()
    }

    /// Change a setting of the running server.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.psql(&format!("ALTER SYSTEM SET {name} = '{}'", value.replace('\'', "''")));
        self.psql("SELECT pg_reload_conf()");
        let shown = value.replace('\'', "''");
        self.wait_for(&format!("SELECT current_setting('{name}') = '{shown}'"));
    }

    /// The address of this one for a standby.
    pub(crate) fn conninfo(&self) -> String {
        format!("host={} user=postgres", self.connection()[1])
    }

    pub(crate) fn signal_file(&self, name: &str) {
        let path = self.directory.join(name);
        fs::write(&path, "").unwrap();
        self.place.own(&path);
    }

    /// What pg_controldata says of its state.
    pub(crate) fn state(&self) -> String {
        let said = self.place.printed("pg_controldata", &[self.directory.to_str().unwrap()]);
        said.lines().find_map(|line| line.strip_prefix("Database cluster state:")).unwrap().trim().to_owned()
    }

    /// Wait until the process has gone by itself.
    pub(crate) fn wait_for_end(&mut self) {
        let mut process = self.process.take().expect("it was started");
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                process.kill().ok();
                panic!("it goes on:\n{}", self.log_text());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// End it: `INT` in order, `QUIT` as if it died.
    pub(crate) fn stop(&mut self, signal: &str) {
        if let Some(mut process) = self.process.take() {
            Command::new("kill").args([&format!("-{signal}"), &process.id().to_string()]).status().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.stop("QUIT");
    }
}
