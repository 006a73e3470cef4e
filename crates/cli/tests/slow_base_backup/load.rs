//! A cluster at work, and what must hold of it afterwards.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use testkit::means;
use testkit::postgres::{Postgres, installed};
use testkit::program::Program;
use testkit::restic;
use testkit::revived::{Revived, give_to_owner_of};
use testkit::site::{Site, at_server, id_of};

/// A server whose WAL suffices for a standby. From 18 on its pages have checksums.
pub(crate) fn server(bin_dir: &Path) -> Postgres {
    server_with(bin_dir, &[])
}

/// The same with settings of its own.
pub(crate) fn server_with(bin_dir: &Path, settings: &[(&str, &str)]) -> Postgres {
    let server = Postgres::start_with_settings(bin_dir, &[&[("wal_level", "replica")], settings].concat());
    assert_eq!(server.psql("SHOW data_checksums"), if major(&server) >= 18 { "on" } else { "off" });
    server
}

/// The versions for what takes long: 16 goes the same road as 15, and `majors` goes it with each.
pub(crate) fn versions() -> impl Iterator<Item = PathBuf> {
    installed().into_iter().filter(|bin_dir| major_of(bin_dir) != 16)
}

/// The major version of these programs.
pub(crate) fn major_of(bin_dir: &Path) -> u32 {
    pg::client::Client::at(bin_dir).unwrap().version().major()
}

pub(crate) fn major(server: &Postgres) -> u32 {
    server.client().version().major()
}

/// pgbench's tables, and a table with an index of its own.
pub(crate) fn fill(server: &Postgres) {
    fill_of_scale(server, 2);
}

/// The same with 15 MB of pgbench's for each step of its scale.
pub(crate) fn fill_of_scale(server: &Postgres, scale: u32) {
    let done = pgbench(server).args(["-i", "-q", "-s", &scale.to_string()]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    server.psql("CREATE TABLE words AS SELECT n, md5(n::text) AS word FROM generate_series(1, 20000) AS n");
    server.psql("CREATE INDEX ON words (word)");
}

/// pgbench, to be told what to do.
pub(crate) fn pgbench(server: &Postgres) -> Command {
    let mut command = Command::new(server.client().program("pgbench"));
    command.env("PGHOST", "127.0.0.1").env("PGPORT", server.port().to_string());
    command.env("PGUSER", pg::throwaway::SUPERUSER).env("PGPASSWORD", server.password());
    command.env("PGDATABASE", "postgres").stdin(Stdio::null());
    command
}

/// Transactions until it is stopped.
pub(crate) struct Load(Child);

impl Load {
    /// pgbench's own.
    pub(crate) fn start(server: &Postgres) -> Self {
        Self::with(server, &["-c", "2"])
    }

    /// Tables that come, grow and go.
    pub(crate) fn of_tables(server: &Postgres, place: &Path) -> Self {
        let script = place.join("tables.sql");
        let statements = "CREATE TABLE come_:client_id AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 3000) AS n;\n\
            CREATE INDEX ON come_:client_id (n);\nDELETE FROM come_:client_id WHERE n > 100;\nVACUUM come_:client_id;\n\
            DROP TABLE come_:client_id;\n";
        std::fs::write(&script, statements).unwrap();
        Self::with(server, &["-c", "3", "-f", script.to_str().unwrap()])
    }

    fn with(server: &Postgres, arguments: &[&str]) -> Self {
        let mut command = pgbench(server);
        command.args(["-T", "600", "-n"]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The program at a server.
pub(crate) fn program(site: &Site, server: &Postgres) -> Program {
    at_server(site.program(), server).with("MAINSTAY_PG_BIN_DIR", server.client().bin_dir())
}

/// Back the cluster up; returns the id.
#[track_caller]
pub(crate) fn back_up(site: &Site, server: &Postgres, more: &[&str]) -> String {
    let mut arguments = vec!["backup", "create", "acme", "--cluster"];
    arguments.extend(more);
    id_of(&program(site, server).run(&arguments).ok())
}

/// What is known of a backup.
#[track_caller]
pub(crate) fn record(site: &Site, id: &str) -> Value {
    serde_json::from_slice(&site.run(&["--json", "backup", "get", id]).ok().stdout).unwrap()
}

/// What restic makes of a snapshot: the directory `chain`.
#[track_caller]
pub(crate) fn restored_by_restic(site: &Site, id: &str, to: &Path) -> PathBuf {
    let found = record(site, id);
    let snapshot = found["snapshot"].as_str().unwrap().to_owned();
    let restic = &restic::installed()[0];
    site.restic(restic, &["restore", &snapshot, "--target", to.to_str().unwrap()]).ok();
    // The way to the data directory is open to the server's user.
    std::fs::set_permissions(to.join("chain"), PermissionsExt::from_mode(0o755)).unwrap();
    to.join("chain")
}

/// A program of PostgreSQL has nothing to say against it. The one build of 18 that can be fetched has a pg_verifybackup
/// that dies at random.
#[track_caller]
pub(crate) fn judge(server: &Postgres, program: &str, arguments: &[&str]) {
    if program == "pg_verifybackup" && major(server) >= 18 {
        return means::lack("pg_verifybackup of PostgreSQL 18 dies at random here");
    }
    let done = Command::new(server.client().program(program)).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program}: {words}{}", String::from_utf8_lossy(&done.stdout));
}

/// Start a server on it: all of pgbench's books balance, and every index holds what its table does.
#[track_caller]
pub(crate) fn revive(data: &Path, like: &Postgres) -> Revived {
    give_to_owner_of(data, like);
    let revived = Revived::start(data, like, &[]);
    assert_sound(&revived);
    revived
}

/// All of pgbench's books balance, and every index holds what its table does.
#[track_caller]
pub(crate) fn assert_sound(revived: &Revived) {
    let sums = "SELECT count(DISTINCT sum) FROM (SELECT sum(abalance) FROM pgbench_accounts \
                UNION ALL SELECT sum(tbalance) FROM pgbench_tellers \
                UNION ALL SELECT sum(bbalance) FROM pgbench_branches \
                UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS sums";
    assert_eq!(revived.psql("postgres", sums), "1", "the books do not balance");
    let has_amcheck = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'";
    if revived.psql("postgres", has_amcheck) == "0" {
        means::lack("this PostgreSQL comes without amcheck");
        return;
    }
    revived.psql("postgres", "CREATE EXTENSION IF NOT EXISTS amcheck");
    if !Path::new(revived.program("pg_amcheck").get_program()).exists() {
        // 13 has what it calls, and not yet the program.
        let all = "SELECT count(bt_index_check(c.oid, true)::text) > 0 FROM pg_class AS c JOIN pg_am AS a ON a.oid = c.relam \
                   WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p'";
        assert_eq!(revived.psql("postgres", all), "t");
        return;
    }
    let done = revived.program("pg_amcheck").args(["--heapallindexed", "-d", "postgres"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
