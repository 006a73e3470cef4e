//! A primary and its standby on two machines of one directory, and how they fail, change places and come back.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::procfs;

use crate::history::lsn;
use crate::server::{Place, Server};

const PATIENCE: Duration = Duration::from_secs(60);

/// Who brings WAL into the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archiving {
    /// The server's archive_command.
    Push,
    /// `wal receive`.
    Receive,
    /// Both of them, as one owner.
    Both,
}

/// How a server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// As by `pg_ctl -m immediate stop`.
    Immediate,
    /// Its first process is killed.
    Killed,
}

/// How one that was a primary becomes the standby of the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// By pg_rewind.
    Rewound,
    /// By a restore with `--standby`.
    Restored,
}

/// What pages tell of changes, so that pg_rewind works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    Checksums,
    LoggedHints,
    /// Neither: nothing can be rewound.
    Plain,
}

pub(crate) struct Pair<'a> {
    place: &'a Place,
    nodes: [Server<'a>; 2],
    primary: usize,
    archiving: Archiving,
    pub(crate) pages: Pages,
    /// The number of the tablespace `shelf`, where there is one.
    pub(crate) shelf: Option<String>,
    pub(crate) system: String,
}

/// The machine of each.
const HOSTS: [&str; 2] = ["host-a", "host-b"];

/// Where the server `name` has the tablespace.
pub(crate) fn shelf_of(place: &Place, name: &str) -> PathBuf {
    place.path().join(format!("{name}-shelf"))
}

/// What a restore is told that makes the server `name`, where there is a tablespace of this number.
pub(crate) fn move_to(place: &Place, name: &str, shelf: Option<&str>) -> Option<String> {
    shelf.map(|number| format!("--tablespace={number}={}", shelf_of(place, name).display()))
}

/// In the file, since pg_rewind asks there.
fn configuration(fetch: &str) -> String {
    format!(
        "restore_command = '{fetch}'\nwal_keep_size = 256MB\nmin_wal_size = 2MB\nmax_wal_size = 16MB\n\
         shared_buffers = 8MB\nwal_retrieve_retry_interval = 200ms\nautovacuum_naptime = 2s\nmax_replication_slots = 10\n"
    )
}

impl<'a> Pair<'a> {
    pub(crate) fn start(place: &'a Place, archiving: Archiving, pages: Pages) -> Self {
        Self::begin(place, archiving, pages, false)
    }

    /// The same, with a tablespace that each has at a place of its own.
    pub(crate) fn with_shelf(place: &'a Place, archiving: Archiving, pages: Pages) -> Self {
        Self::begin(place, archiving, pages, true)
    }

    fn begin(place: &'a Place, archiving: Archiving, pages: Pages, has_shelf: bool) -> Self {
        let flags = match pages {
            Pages::Checksums => &["-k"][..],
            // From this one on they are usual.
            _ if place.major() >= 18 => &["--no-data-checksums"],
            _ => &[],
        };
        let first = place.initdb_with("a", flags);
        let fetch = place.restore_command("host-a", "", "--timeout 20s");
        let file = first.directory.join("postgresql.conf");
        let mut text = fs::read_to_string(&file).unwrap() + &configuration(&fetch);
        if pages == Pages::LoggedHints {
            text += "wal_log_hints = on\n";
        }
        fs::write(&file, text).unwrap();
        let said = place.printed("pg_controldata", &[first.directory.to_str().unwrap()]);
        let system = said.lines().find_map(|line| line.strip_prefix("Database system identifier:"));
        let system = system.unwrap().trim().to_owned();
        let nodes = [first, place.server("b")];
        let mut pair = Self { place, nodes, primary: 0, archiving, pages, shelf: None, system };
        pair.start_node(0);
        let mut flags = vec![];
        if has_shelf {
            let [here, there] = ["a", "b"].map(|name| shelf_of(place, name).display().to_string());
            place.folder("a-shelf");
            pair.nodes[0].psql(&format!("CREATE TABLESPACE shelf LOCATION '{here}'"));
            pair.shelf = Some(pair.nodes[0].psql("SELECT oid FROM pg_tablespace WHERE spcname = 'shelf'"));
            flags = vec!["-T".to_owned(), format!("{here}={there}")];
        }
        let address = pair.nodes[0].conninfo();
        let to = pair.nodes[1].directory.display().to_string();
        let usual = ["-d", &address, "-D", &to, "-c", "fast", "-N"];
        let flags = flags.iter().map(String::as_str);
        place.printed("pg_basebackup", &usual.into_iter().chain(flags).collect::<Vec<_>>());
        pair.nodes[1].signal_file("standby.signal");
        pair.start_node(1);
        pair.wait_streaming();
        pair
    }

    pub(crate) fn primary(&self) -> &Server<'a> {
        &self.nodes[self.primary]
    }

    pub(crate) fn standby(&self) -> &Server<'a> {
        &self.nodes[1 - self.primary]
    }

    /// The machine of the primary, or of the standby.
    pub(crate) fn host(&self, of_primary: bool) -> &'static str {
        HOSTS[if of_primary { self.primary } else { 1 - self.primary }]
    }

    fn settings(&self, node: usize) -> Vec<(&'static str, String)> {
        let owner = match self.archiving {
            Archiving::Push => String::new(),
            _ => format!("export MAINSTAY_OWNER_FILE='{}'", self.place.path().join("owner").display()),
        };
        let push = self.place.script(&format!("push-{node}"), HOSTS[node], &owner, "wal push \"$1\"");
        let archives = if self.archiving == Archiving::Receive { "off" } else { "on" };
        let mut settings = vec![
            ("archive_mode", archives.to_owned()),
            ("archive_command", format!("{push} %p")),
            ("primary_conninfo", self.nodes[1 - node].conninfo()),
            ("recovery_target_timeline", "latest".to_owned()),
        ];
        // A standby that was restored summarises from WAL that it never had, and lets replay wait for ten seconds each time.
        if node == self.primary && self.place.major() >= 17 {
            settings.push(("summarize_wal", "on".to_owned()));
        }
        settings
    }

    /// Start a server; where another process of it still dies, again.
    fn start_node(&mut self, node: usize) {
        let settings = self.settings(node);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = &mut self.nodes[node];
        let begin = Instant::now();
        server.begin(&settings);
        while server.try_psql("SELECT 1").is_none() {
            assert!(begin.elapsed() < PATIENCE, "{} does not start:\n{}", server.name(), server.log_text());
            std::thread::sleep(Duration::from_millis(20));
            if server.has_ended() {
                server.begin(&settings);
            }
        }
    }

    fn wait_streaming(&self) {
        let streaming = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' \
                         AND application_name = 'walreceiver'";
        let primary = self.primary();
        primary.wait(&format!("it streams\n{}", self.standby().log_text()), || {
            primary.try_psql(streaming).as_deref() == Some("t")
        });
    }

    /// Let the primary or the standby begin to die, while somebody else works on it.
    pub(crate) fn strike(&self, of_primary: bool, death: Death) {
        let server = if of_primary { self.primary() } else { self.standby() };
        let pid = Pid::from_raw(server.pid().unwrap() as i32).unwrap();
        kill_process(pid, if death == Death::Immediate { Signal::QUIT } else { Signal::KILL }).ok();
    }

    /// Let the primary or the standby die.
    pub(crate) fn kill(&mut self, of_primary: bool, death: Death) {
        self.strike(of_primary, death);
        let node = if of_primary { self.primary } else { 1 - self.primary };
        self.nodes[node].stop("QUIT");
    }

    /// Start the one that died again.
    pub(crate) fn revive(&mut self, of_primary: bool) {
        self.start_node(if of_primary { self.primary } else { 1 - self.primary });
        self.wait_streaming();
    }

    /// The standby takes the place of a primary that is gone; where the timeline before was left, and the new one.
    pub(crate) fn promote(&mut self) -> (u32, u64, u32) {
        self.primary = 1 - self.primary;
        self.open_primary()
    }

    /// The primary goes on with a new timeline, and the standby goes over to that.
    pub(crate) fn renew(&mut self) {
        let node = self.primary;
        self.nodes[node].stop("INT");
        self.nodes[node].signal_file("standby.signal");
        self.start_node(node);
        self.open_primary();
        self.wait_streaming();
    }

    fn open_primary(&mut self) -> (u32, u64, u32) {
        let heir = self.primary();
        // A query could be cancelled for what is replayed.
        self.place.printed("pg_ctl", &["promote", "-w", "-D", heir.directory.to_str().unwrap()]);
        heir.wait_for("SELECT NOT pg_is_in_recovery()");
        let history = "SELECT max(name) FROM pg_ls_waldir() WHERE name LIKE '%.history'";
        let name = heir.psql(history);
        let text = fs::read_to_string(heir.directory.join("pg_wal").join(&name)).unwrap();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap();
        let fields: Vec<_> = last.split('\t').collect();
        let next = u32::from_str_radix(&name[..8], 16).unwrap();
        (fields[0].trim().parse().unwrap(), lsn(fields[1]), next)
    }

    /// Shut the primary down in order, so that the standby has all.
    pub(crate) fn retire(&mut self) {
        let node = self.primary;
        self.nodes[node].stop("INT");
    }

    /// One that was shut down in order follows the other one.
    pub(crate) fn follow(&mut self) {
        let node = 1 - self.primary;
        self.nodes[node].signal_file("standby.signal");
        self.revive(false);
    }

    /// One that died as a primary comes back as a standby.
    pub(crate) fn bring_back(&mut self, how: Return) {
        let old = self.standby();
        let data = old.directory.display().to_string();
        match how {
            Return::Rewound => self.rewind(&data),
            Return::Restored => {
                fs::remove_dir_all(&data).unwrap();
                let name = old.name();
                if self.shelf.is_some() {
                    fs::remove_dir_all(shelf_of(self.place, &name)).unwrap();
                }
                let password = self.place.password_file();
                let restore =
                    ["--password-file", &password, "backup", "restore", "acme/cluster", "--standby"];
                let mut command = self.place.mainstay_on(self.host(false));
                command.env_remove("MAINSTAY_PASSWORD").args(restore).args(["--to", &data]);
                command.args(move_to(self.place, &name, self.shelf.as_deref()));
                testkit::program::Ran::of(&command.output().unwrap()).ok();
            }
        }
        self.nodes[1 - self.primary].signal_file("standby.signal");
        self.revive(false);
    }

    fn rewind(&self, data: &str) {
        // Else it is taken for what it was before.
        self.primary().psql("CHECKPOINT");
        let source = format!("{} dbname=postgres", self.primary().conninfo());
        let flags = ["-D", data, "--source-server", &source, "-c", "-N"];
        let begin = Instant::now();
        loop {
            let ended = self.place.try_run("pg_rewind", &flags);
            if ended.status.success() {
                return;
            }
            // Processes of one that was killed may still be there.
            let words = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(begin.elapsed() < Duration::from_secs(10), "pg_rewind: {words}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The standby makes a restart point behind all that the primary has done.
    pub(crate) fn settle(&self) {
        self.primary().psql("CHECKPOINT");
        let here = self.primary().psql("SELECT pg_current_wal_lsn()");
        self.standby().wait_for(&format!("SELECT pg_last_wal_replay_lsn() >= '{here}'"));
        self.standby().psql("CHECKPOINT");
    }

    /// Kill who archives for the primary: what its archiver runs, as soon as it runs something, and the agents.
    pub(crate) fn kill_archiving(&self) {
        let line = |pid: u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has = |pid: u32, word: &str| line(pid).split(|byte| *byte == 0).any(|one| one == word.as_bytes());
        let kill = |pid: u32| kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).ok();
        let postmaster = self.primary().pid().unwrap();
        for _ in 0..20 {
            let children = procfs::descendants(postmaster);
            let pushes: Vec<_> = children.into_iter().filter(|pid| has(*pid, "push")).collect();
            pushes.iter().for_each(|pid| _ = kill(*pid));
            if !pushes.is_empty() || self.archiving == Archiving::Receive {
                break;
            }
            self.primary().try_psql("SELECT pg_switch_wal()");
        }
        self.place.agents().into_iter().for_each(|pid| _ = kill(pid));
    }
}
