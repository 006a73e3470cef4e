//! Backups that the real pgBackRest makes, as it tells of them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use pg::throwaway::SUPERUSER;
use testkit::means::lack;
use testkit::postgres::Postgres;
use testkit::program::Program;

use crate::office::Office;

/// A stanza that is not there, one without a backup, one with a good one, and one whose newest backup is old.
#[test]
fn u3_backups_of_the_real_pgbackrest_are_watched_as_it_tells_of_them() {
    if Command::new("pgbackrest").arg("version").output().is_err() {
        lack("pgbackrest is not installed");
        return;
    }
    let server = Postgres::start();
    let office = Office::new("[watch.pgbackrest.main]\nstanza = \"main\"\nmax_age = \"1h\"\n");
    let place = |name: &str| office.path().join(name).display().to_string();
    let conf = place("pgbackrest.conf");
    let text = format!(
        "[global]\nrepo1-path={}\nlock-path={}\nlog-path={}\nlog-level-file=off\n\
         [main]\npg1-path={}\npg1-port={}\npg1-socket-path={}\npg1-user={SUPERUSER}\n",
        place("repo"),
        place("lock"),
        place("log"),
        server.cluster().data_dir().display(),
        server.port(),
        server.socket_dir().display()
    );
    fs::write(&conf, text).unwrap();
    let judge = Program::new("pgbackrest").with("PGBACKREST_CONFIG", &conf);
    // Its files alone, as it takes them of a server that stands still: no archive of WAL is needed.
    let make = |arguments: &[&str]| {
        judge.run(&[&["--stanza=main", "--no-online", "--log-level-console=warn"], arguments].concat()).ok();
    };
    let observer = office.program.clone().with("PGBACKREST_CONFIG", &conf);
    let look = || observer.run(&["watch", "--once"]);
    look().exits(7).says("alarm pgbackrest/main: nobody can look").says("missing stanza");
    make(&["stanza-create"]);
    look().exits(7).says("alarm pgbackrest/main: there is no good backup");
    make(&["backup", "--type=full", "--force"]);
    let shown = look().ok().text();
    assert!(shown.contains("all is well"), "{shown}");
    office.configure("[watch.pgbackrest.main]\nstanza = \"main\"\nmax_age = \"1s\"\n");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !look().stderr.contains(", older than 1s") {
        assert!(Instant::now() < deadline, "{}", look().stderr);
    }
}
