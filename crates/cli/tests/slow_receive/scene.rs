//! A server whose WAL is received into a repository, and what stays of it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::postgres::{Postgres, installed};
use testkit::revived::{Revived, give_to_owner_of};
use testkit::site::{PASSWORD, Site};

const PATIENCE: Duration = Duration::from_secs(60);

/// Wait until it holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) struct Scene {
    pub(crate) server: Postgres,
    pub(crate) site: Site,
}

/// A receiver that runs; killed with its value.
pub(crate) struct Receiver {
    child: Child,
    log: PathBuf,
}

impl Scene {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let safe = [("full_page_writes", "on"), ("synchronous_commit", "on")];
        let server = Postgres::start_with_settings(&installed()[0], &[&safe, settings].concat());
        let site = Site::new(env!("CARGO_BIN_EXE_mainstay")).with_server(&server);
        Self { server, site }
    }

    /// Whether the server takes questions.
    pub(crate) fn answers(&self) -> bool {
        let session = self.server.session("postgres");
        let mut command = session.command(&self.server.client().program("psql"));
        command.args(["-X", "-c", "SELECT 1"]).output().unwrap().status.success()
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.site.path().join("spool")
    }

    /// Names in the spool, without those of mainstay's own.
    pub(crate) fn spooled(&self) -> Vec<String> {
        let folders = fs::read_dir(self.spool()).into_iter().flatten().flatten();
        let names = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        let names = names.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name != "lock").collect()
    }

    /// Start `wal receive` with these arguments.
    pub(crate) fn receive(&self, more: &[&str]) -> Receiver {
        let spool = self.spool();
        let mut arguments = vec!["wal", "receive", "--spool", spool.to_str().unwrap()];
        arguments.extend(more);
        let log = self.site.path().join("receiver.log");
        let mut command = self.site.program().command(&arguments);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Receiver { child, log }
    }

    /// A base backup by PostgreSQL's own program, into a directory that a server may start on.
    pub(crate) fn base(&self, place: &Path) -> PathBuf {
        let data = place.join("base");
        let session = self.server.session("postgres");
        let mut command = session.command(&self.server.client().program("pg_basebackup"));
        let output = command.arg("-D").arg(&data).args(["-c", "fast", "--no-sync"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        data
    }

    /// Recover `data` with what is archived, to its end.
    pub(crate) fn recover(&self, data: &Path) -> Revived {
        fs::write(data.join("recovery.signal"), "").unwrap();
        // PostgreSQL runs it as the user of its own.
        give_to_owner_of(self.site.path(), &self.server);
        give_to_owner_of(data.parent().unwrap(), &self.server);
        let command = format!(
            "env HOME={home} MAINSTAY_PASSWORD={PASSWORD} MAINSTAY_REPOSITORY={repository} {program} wal fetch \
             --no-agent %f \"%p\"",
            home = self.site.path().display(),
            repository = self.site.repository().display(),
            program = env!("CARGO_BIN_EXE_mainstay"),
        );
        let revived = Revived::start(data, &self.server, &[("restore_command", &command)]);
        until("recovery ends", || revived.psql("postgres", "SELECT pg_is_in_recovery()") == "f");
        revived
    }

    /// What is archived, as plain files; their names.
    pub(crate) fn export(&self, into: &Path) -> Vec<String> {
        self.site.run(&["wal", "export", into.to_str().unwrap()]).ok();
        let mut names: Vec<_> = fs::read_dir(into)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Receiver {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    pub(crate) fn says(&mut self, words: &str) {
        let begin = Instant::now();
        while !self.log().contains(words) {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let is_said = self.log().contains(words);
            assert!(is_said || !has_ended && begin.elapsed() < PATIENCE, "{words:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// In order; its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }

    /// It ends by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        until("the receiver ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Kill the server as a power cut would, and take its disk away.
pub(crate) fn destroy(server: &Postgres) {
    let data = server.cluster().data_dir();
    let status = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let postmaster: i32 = status.lines().next().unwrap().parse().unwrap();
    let children = Command::new("pgrep").args(["-P", &postmaster.to_string()]).output().unwrap();
    let children = String::from_utf8(children.stdout).unwrap();
    let pids = children.lines().map(|pid| pid.parse().unwrap());
    for pid in [postmaster].into_iter().chain(pids) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).ok();
    }
    // Only its owner is still known.
    let owner = fs::metadata(&data).unwrap();
    fs::rename(&data, data.with_extension("gone")).unwrap();
    fs::remove_dir_all(data.with_extension("gone")).ok();
    fs::create_dir(&data).unwrap();
    chown(&data, Some(owner.uid()), Some(owner.gid())).unwrap();
}
