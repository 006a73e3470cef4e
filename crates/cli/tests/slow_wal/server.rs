//! Servers that archive and recover, each in a directory of its own, as the user that PostgreSQL runs as.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use testkit::postgres::installed;
use testkit::program::Ran;
use testkit::site::PASSWORD;
use testkit::sshd::Sshd;

const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");
const PATIENCE: Duration = Duration::from_secs(60);

/// A place with a repository, and whom everything in it belongs to.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    owner: Option<(u32, u32)>,
    bin: PathBuf,
    /// Where the repository is, as mainstay is told.
    address: String,
    /// What a program needs to get there.
    variables: Vec<(String, String)>,
}

/// A server's directory; it may run.
pub(crate) struct Server<'a> {
    place: &'a Place,
    pub(crate) directory: PathBuf,
    process: Option<Child>,
}

/// PostgreSQL refuses to run as root.
fn owner() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("the user postgres");
    let mut numbers = line.split(':').skip(2).map(|number| number.parse().unwrap());
    Some((numbers.next().unwrap(), numbers.next().unwrap()))
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::of(installed().into_iter().next().expect("PostgreSQL server programs are installed"))
    }

    /// With the programs in this directory.
    pub(crate) fn of(bin: PathBuf) -> Self {
        Self::behind(bin, None)
    }

    /// The same, where the repository is reached through a server, if there is one.
    pub(crate) fn behind(bin: PathBuf, server: Option<&Sshd>) -> Self {
        // A socket's path is short.
        let directory = tempfile::Builder::new().prefix("msw-").tempdir().unwrap();
        let mut place = Self { directory, owner: owner(), bin, address: String::new(), variables: vec![] };
        place.own(place.path());
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let repository = place.repository();
        place.address = match server {
            None => repository.display().to_string(),
            Some(server) => server.address(&repository),
        };
        place.variables = server.map(|server| place.way_through(server)).unwrap_or_default();
        place.mainstay(&["init", "--no-recovery-key"]).ok();
        place
    }

    /// What gets the servers' user into `server`: files that it may read.
    fn way_through(&self, server: &Sshd) -> Vec<(String, String)> {
        let ours = |name: &str, file: PathBuf| {
            let copy = self.path().join(name);
            fs::copy(file, &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
            self.own(&copy);
            copy.display().to_string()
        };
        vec![
            ("MAINSTAY_SFTP_KEY".to_owned(), ours("key", server.key_file())),
            ("MAINSTAY_SFTP_KNOWN_HOSTS".to_owned(), ours("known_hosts", server.known_hosts())),
        ]
    }

    /// The major version of the programs.
    pub(crate) fn major(&self) -> u32 {
        let said = self.printed("postgres", &["--version"]);
        let number = said.split_whitespace().nth(2).unwrap();
        number.split('.').next().unwrap().parse().unwrap()
    }

    /// Whether there is this program.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.bin.join(program).is_file()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the repository's files are.
    pub(crate) fn repository(&self) -> PathBuf {
        self.path().join("repository")
    }

    /// Where the repository is, as mainstay is told.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.owner {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// A directory of the servers' user.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        self.own(&folder);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    /// A command as the servers' user.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command.current_dir(self.path()).env("LC_ALL", "C").stdin(Stdio::null());
        command.env("HOME", self.folder("host-c")).env("TMPDIR", self.folder("tmp"));
        command.envs(self.variables.iter().cloned());
        command
    }

    /// A program of PostgreSQL, as the servers' user, however it ends.
    pub(crate) fn try_run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(self.bin.join(program)).args(arguments).output().unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.try_run(program, arguments);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What a program of PostgreSQL prints.
    pub(crate) fn printed(&self, program: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.run(program, arguments).stdout).unwrap()
    }

    fn environment(&self, host: &str) -> Vec<(String, String)> {
        let shown = |path: PathBuf| path.display().to_string();
        let usual = [
            ("HOME", shown(self.folder(host))),
            ("TMPDIR", shown(self.folder("tmp"))),
            ("MAINSTAY_REPOSITORY", self.address.clone()),
            ("MAINSTAY_PASSWORD", PASSWORD.to_owned()),
        ];
        let usual = usual.map(|(name, value)| (name.to_owned(), value));
        usual.into_iter().chain(self.variables.iter().cloned()).collect()
    }

    /// mainstay, as the servers' user.
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.mainstay_on("host-a").args(arguments).output().unwrap())
    }

    /// mainstay, as the servers' user on the machine `host`; not yet started.
    pub(crate) fn mainstay_on(&self, host: &str) -> Command {
        let mut command = self.command(MAINSTAY);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(self.environment(host));
        command.env("MAINSTAY_PG_BIN_DIR", &self.bin);
        command
    }

    /// A file with the repository's password, which only the servers' user may read.
    pub(crate) fn password_file(&self) -> String {
        let path = self.path().join("password");
        fs::write(&path, PASSWORD).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.own(&path);
        path.display().to_string()
    }

    /// Write a configuration; in `text`, `PLACE` stands for this directory.
    pub(crate) fn configure(&self, text: &str) {
        let path = self.path().join("mainstay.toml");
        fs::write(path, text.replace("PLACE", &self.path().display().to_string())).unwrap();
    }

    /// mainstay by that configuration, as the servers' user.
    pub(crate) fn configured(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(MAINSTAY);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(self.environment("host-a"));
        command.env_remove("MAINSTAY_REPOSITORY").env("MAINSTAY_CONFIG", self.path().join("mainstay.toml"));
        Ran::of(&command.args(arguments).output().unwrap())
    }

    /// mainstay as root, who has a home of his own.
    pub(crate) fn as_root(&self, arguments: &[&str]) -> Ran {
        let home = self.path().join("root");
        fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(MAINSTAY);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
        Ran::of(&command.env("MAINSTAY_PASSWORD", PASSWORD).args(arguments).output().unwrap())
    }

    /// Every archived file of a log, sorted by its name.
    pub(crate) fn archived(&self) -> Vec<PathBuf> {
        let below =
            |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let clusters = below(&self.repository().join("wal"));
        let mut files: Vec<_> =
            clusters.iter().flat_map(|path| below(path)).flat_map(|path| below(&path)).collect();
        files.sort();
        files
    }

    /// All of them were stored so many minutes ago.
    pub(crate) fn archived_minutes_ago(&self, minutes: u64) {
        let time = std::time::SystemTime::now() - Duration::from_secs(minutes * 60);
        let change = |path: &PathBuf| fs::File::open(path).unwrap().set_modified(time).unwrap();
        self.archived().iter().for_each(change);
    }

    /// Agents that run for repositories or by a configuration of this place.
    pub(crate) fn agents(&self) -> Vec<u32> {
        self.agents_with(&self.path().display().to_string())
    }

    /// Those of them whose command line has these words in it.
    pub(crate) fn agents_with(&self, words: &str) -> Vec<u32> {
        let line = |process: &u32| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        };
        let here = self.path().display().to_string();
        let is_one = |process: &u32| {
            let line = line(process);
            line.contains(" wal agent ") && line.contains(&here) && line.contains(words)
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
    }

    /// A script that runs mainstay as on the machine `host`, after `first`.
    pub(crate) fn script(&self, name: &str, host: &str, first: &str, line: &str) -> String {
        let variables =
            self.environment(host).into_iter().map(|(name, value)| format!("export {name}='{value}'\n"));
        let text = format!("#!/bin/sh\n{}{first}\nexec {MAINSTAY} {line}\n", variables.collect::<String>());
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// An archive_command of the machine `host`.
    pub(crate) fn archive_command(&self, host: &str) -> String {
        format!("{} %p", self.script(&format!("push-{host}"), host, "", "wal push \"$1\""))
    }

    /// A restore_command of the machine `host`, before which the shell runs `first`.
    pub(crate) fn restore_command(&self, host: &str, first: &str, more: &str) -> String {
        let line = format!("wal fetch \"$1\" \"$2\" {more}");
        format!("{} %f %p", self.script(&format!("fetch-{host}"), host, first, &line))
    }

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

    /// restic and mainstay find nothing wrong.
    pub(crate) fn assert_sound(&self) {
        self.mainstay(&["check", "--read-data"]).ok();
        for restic in testkit::restic::installed() {
            restic.run(&self.repository(), PASSWORD, &["check", "--read-data"]).ok();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("MAINSTAY_TEST_KEEP").is_some() {
            self.directory.disable_cleanup(true);
        }
        // They would end by themselves, in a minute.
        for process in self.agents() {
            Command::new("kill").args(["-KILL", &process.to_string()]).status().ok();
        }
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
