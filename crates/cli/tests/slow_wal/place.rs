//! A place with a repository for servers that archive and recover, as the user that PostgreSQL runs as.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::postgres::installed;
use testkit::program::Ran;
use testkit::site::PASSWORD;
use testkit::sshd::Sshd;

const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

/// A place with a repository, and whom everything in it belongs to.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    owner: Option<(u32, u32)>,
    pub(crate) bin: PathBuf,
    /// Where the repository is, as mainstay is told.
    address: String,
    /// What a program needs to get there.
    variables: Vec<(String, String)>,
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

    pub(crate) fn own(&self, path: &Path) {
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
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
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

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
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
