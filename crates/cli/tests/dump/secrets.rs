//! C13, threat 12: passwords are in no command line, environment, message, log or core of ours or of our children.

use testkit::means;
use testkit::postgres::Postgres;
use testkit::procfs::{Watcher, descendants};
use testkit::program::{Program, Ran};
use testkit::site::{PASSWORD, Site};

use crate::site;
use testkit::rich;

const CANARY: &str = "canary-of-postgres";

fn server() -> Postgres {
    let server = Postgres::start();
    rich::create(&server, "app");
    server.psql(&format!("CREATE ROLE boss SUPERUSER LOGIN PASSWORD '{CANARY}'"));
    server
}

/// Every way to hand over the password of PostgreSQL.
fn ways(site: &Site, server: &Postgres) -> Vec<(&'static str, Program, Vec<String>)> {
    let file = site.path().join("db-password");
    std::fs::write(&file, format!("{CANARY}\n")).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let passfile = site.path().join("pgpass");
    std::fs::write(&passfile, format!("*:*:*:boss:{CANARY}\n")).unwrap();
    std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let plain = site.program().with("PGHOST", "127.0.0.1").with("PGUSER", "boss");
    let plain = plain.with("PGPORT", server.port().to_string());
    let flag = |flag: &str| vec![flag.to_owned(), file.display().to_string()];
    vec![
        ("PGPASSWORD", plain.clone().with("PGPASSWORD", CANARY), vec![]),
        ("PGPASSFILE", plain.clone().with("PGPASSFILE", &passfile), vec![]),
        ("--db-password-file", plain.clone(), flag("--db-password-file")),
        ("--db-password", plain.clone(), vec!["--db-password".into(), CANARY.into()]),
        ("--db-password=", plain, vec![format!("--db-password={CANARY}")]),
    ]
}

#[test]
fn c13_no_process_shows_a_password() {
    let server = server();
    let site = site();
    for (nth, (way, program, flags)) in ways(&site, &server).into_iter().enumerate() {
        let run = |arguments: &[&str]| {
            let mut all: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            all.extend(flags.iter().cloned());
            let child = program.start(&all);
            // Its children: before its first instruction no program can take anything out of its own start; that it
            // does so at once is the next test's.
            let watcher = Watcher::start(child.id(), &[CANARY, PASSWORD]);
            let ran = Ran::wait(child);
            let (seen, found) = watcher.stop();
            assert!(seen > 0 || ran.code != Some(0), "processes were seen");
            assert_eq!(found, Vec::<String>::new(), "{way}");
            assert_silent(&ran);
            ran
        };
        let ran = run(&["--json", "backup", "create", "acme", "--database", "app"]).ok();
        assert_eq!(
            ran.stderr.contains("warning: --db-password"),
            way.starts_with("--db-password") && !way.ends_with("file")
        );
        let name = format!("restored{nth}");
        run(&["backup", "restore", "acme/app", "--database", &name, "--jobs", "2"]).ok();
        if nth == 0 {
            run(&["backup", "create", "acme", "--database", "none"]);
            run(&["backup", "restore", "nothing"]);
        }
    }
    // Nothing of it stays in the repository or in temporary files.
    for (name, bytes) in site.files() {
        assert!(!contains(&bytes, CANARY) && !contains(&bytes, PASSWORD), "{name}");
    }
}

#[test]
fn c13_run_by_an_ordinary_user_no_process_shows_a_password() {
    // Otherwise the test above is run by an ordinary user.
    if !means::is_root("become an ordinary user") {
        return;
    }
    let server = server();
    let site = site();
    let own = ["-R", "65534:65534", site.path().to_str().unwrap()];
    Program::new("chown").run(&own).ok();
    for name in ["first", "second"] {
        // As `su` would, but without a session: the kernel then decides by the user alone who may look.
        let program = Program::new("setpriv").with("HOME", site.path()).with("MAINSTAY_PASSWORD", PASSWORD);
        let program = program.with("MAINSTAY_REPOSITORY", site.repository()).with("PGPASSWORD", CANARY);
        let program = program.with("PGHOST", "127.0.0.1").with("PGUSER", "boss");
        let program = program.with("PGPORT", server.port().to_string());
        let who = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let mainstay = site.program().path().display().to_string();
        let arguments =
            [&who[..], &[&mainstay, "backup", "create", "acme", "--database", "app", "--name", name]];
        let child = program.start(&arguments.concat());
        let watcher = Watcher::start(child.id(), &[CANARY, PASSWORD]);
        let ran = Ran::wait(child).ok();
        let (seen, found) = watcher.stop();
        assert!(seen > 0 && found.is_empty(), "{found:?}");
        assert_silent(&ran);
    }
    assert_eq!(site.ids().len(), 2);
}

#[test]
fn threat_12_a_running_mainstay_is_closed_and_dumps_no_core() {
    let server = server();
    let site = site();
    // The dump blocks on a lock, so that there is time to look.
    let session = server.session("app");
    let mut holder = session.command(&server.client().program("psql"));
    let mut holder =
        holder.args(["-X", "-q", "-c", "BEGIN; LOCK TABLE app.orders; SELECT pg_sleep(30)"]).spawn().unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'app.orders'::regclass AND granted";
    until(|| server.psql_in("app", locked) != "0");
    for (way, program, flags) in ways(&site, &server) {
        let mut all: Vec<String> =
            ["backup", "create", "acme", "--database", "app"].map(str::to_owned).to_vec();
        all.extend(flags);
        let child = program.start(&all);
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND wait_event_type = 'Lock'";
        until(|| server.psql(waits) != "0");
        let mut family = descendants(child.id());
        assert!(!family.is_empty());
        family.push(child.id());
        let mut closed = 0;
        for pid in family {
            for file in ["cmdline", "environ"] {
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(!contains(&bytes, CANARY) && !contains(&bytes, PASSWORD), "{way}: {file} of {pid}");
            }
            // A helper may have ended since it was listed; those that matter wait for the lock.
            let Ok(limits) = std::fs::read_to_string(format!("/proc/{pid}/limits")) else {
                continue;
            };
            closed += 1;
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
        }
        assert!(closed >= 2, "mainstay and its pg_dump are looked at");
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ran = Ran::wait(child);
        assert!(ran.code.is_some_and(|code| code != 0), "{}", ran.stderr);
        assert_silent(&ran);
        until(|| server.psql(waits) == "0");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(site.ids().len(), 0);
    assert!(site.files().iter().all(|(name, _)| !name.starts_with("locks/")));
}

#[test]
fn c27_no_stored_byte_is_readable() {
    let server = Postgres::start();
    let row = "a-plain-text-canary-in-a-row";
    rich::make(
        &server,
        "secret_database",
        &format!("CREATE TABLE secret_table AS SELECT '{row}'::text AS secret_column"),
    );
    let site = site().with_server(&server);
    site.back_up("secret_database");
    for (name, bytes) in site.files() {
        for canary in [row, "secret_database", "secret_table", "secret_column", "acme", "PGDMP"] {
            assert!(!contains(&bytes, canary) && !name.contains(canary), "{canary} in {name}");
        }
    }
}

fn contains(bytes: &[u8], canary: &str) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it does not come to pass");
    }
}

#[track_caller]
fn assert_silent(ran: &Ran) {
    for text in [ran.text(), ran.stderr.clone()] {
        assert!(!text.contains(CANARY) && !text.contains(PASSWORD), "{text}");
    }
}
