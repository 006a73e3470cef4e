//! A restore, and whether what came back is what was there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::program::Ran;

use crate::history::Point;
use crate::ledger;
use crate::pair::{Pages, Pair, move_to, shelf_of};
use crate::server::{Place, Server};
use crate::target::Wanted;

/// How long a recovery may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// What PostgreSQL says where the log ends before the target.
const ENDED_EARLY: &str = "recovery ended before configured recovery target was reached";

/// How a restore ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of it is there.
    Right,
    /// It was refused, and was not due.
    Refused,
}

/// What is known of a cluster that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Like<'a> {
    pages: Pages,
    /// The number of its tablespace.
    shelf: Option<&'a str>,
}

impl From<Pages> for Like<'_> {
    fn from(pages: Pages) -> Self {
        Self { pages, shelf: None }
    }
}

impl<'a> From<&'a Pair<'_>> for Like<'a> {
    fn from(pair: &'a Pair<'_>) -> Self {
        Self { pages: pair.pages, shelf: pair.shelf.as_deref() }
    }
}

/// Restore as `wanted` into the directory `name`, over what is there if `is_over`, and judge it.
#[track_caller]
pub(crate) fn restore<'a>(
    place: &Place,
    name: &str,
    wanted: &Wanted,
    is_over: bool,
    like: impl Into<Like<'a>>,
) -> Verdict {
    let Like { pages, shelf } = like.into();
    let mut server = place.server(name);
    let to = server.directory.display().to_string();
    let password = place.password_file();
    let mut command = place.mainstay_on("host-c");
    command.env_remove("MAINSTAY_PASSWORD").args(["--password-file", &password, "backup", "restore"]);
    let is_over = is_over && server.directory.exists();
    if is_over {
        command.arg("--delta").arg(format!("--yes={to}"));
    }
    command.args(&wanted.arguments).args(["--to", &to]).args(move_to(place, name, shelf));
    let ran = Ran::of(&command.output().unwrap());
    match ran.code {
        Some(0) => {}
        Some(5 | 6) if !wanted.is_due => {
            let is_made = server.directory.exists() || shelf_of(place, name).exists();
            assert!(is_over || !is_made, "refused, and something was made: {}", ran.stderr);
            return Verdict::Refused;
        }
        code => panic!("exit code {code:?} for {wanted:?}:\n{}", ran.stderr),
    }
    verify_files(place, &server.directory);
    if let Some(number) = shelf {
        let link = fs::read_link(server.directory.join("pg_tblspc").join(number)).unwrap();
        assert_eq!(link, shelf_of(place, name), "the tablespace is another cluster's");
    }
    let verdict = recover(&mut server, wanted, &ran);
    if verdict == Verdict::Right {
        compare(place, &server, wanted.point.as_ref());
        server.stop("INT");
        if pages == Pages::Checksums {
            place.printed("pg_checksums", &["--check", "-D", &to]);
        }
    }
    server.stop("QUIT");
    verdict
}

/// Restore the ledger alone as `wanted`, into a database of `primary`, and judge it.
#[track_caller]
pub(crate) fn restore_table(place: &Place, primary: &Server<'_>, wanted: &Wanted) -> Verdict {
    const INTO: &str = "rescue";
    let (work, password) = (place.folder("work"), place.password_file());
    // One of an earlier round is there again where its end was lost with a primary.
    primary.psql(&format!("DROP DATABASE IF EXISTS {INTO} WITH (FORCE)"));
    primary.psql(&format!("CREATE DATABASE {INTO}"));
    let mut command = place.mainstay_on("host-c");
    command.env_remove("MAINSTAY_PASSWORD").args(["--password-file", &password, "backup", "restore"]);
    command.env("PGHOST", primary.socket_folder()).env("PGUSER", "postgres");
    command.args(wanted.without_action()).args(["--table", ledger::LEDGER, "--into-database", INTO]);
    let ran = Ran::of(&command.arg("--work-dir").arg(&work).output().unwrap());
    let verdict = match ran.code {
        Some(0) => Verdict::Right,
        Some(5 | 6) if !wanted.is_due => Verdict::Refused,
        code => panic!("exit code {code:?} for the table of {wanted:?}:\n{}", ran.stderr),
    };
    match &wanted.point {
        _ if verdict == Verdict::Refused => {
            let there = primary.psql_in(INTO, "SELECT count(*) FROM pg_class WHERE relname = 'ledger'");
            assert_eq!(there, "0", "refused, and something was made: {}", ran.stderr);
        }
        Some(point) => {
            assert_eq!(ledger::last_alone(primary, INTO), point.last(), "{point:?}\n{}", ran.stderr)
        }
        None => _ = ledger::last_alone(primary, INTO),
    }
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0, "something is left: {}", ran.stderr);
    primary.psql(&format!("DROP DATABASE {INTO} WITH (FORCE)"));
    verdict
}

/// A full backup has a manifest that PostgreSQL's own program compares.
fn verify_files(place: &Place, data: &Path) {
    // The one build of 18 that can be fetched has one that dies at random.
    if data.join("backup_manifest").exists() && place.major() < 18 {
        place.printed("pg_verifybackup", &["--exit-on-error", data.to_str().unwrap()]);
    }
}

#[track_caller]
fn recover(server: &mut Server<'_>, wanted: &Wanted, ran: &Ran) -> Verdict {
    server.begin(&[]);
    let begin = Instant::now();
    while server.try_psql("SELECT pg_is_in_recovery()").as_deref() != Some("f") {
        if server.has_ended() {
            let log = server.log_text();
            let log = &log[log.rfind("starting PostgreSQL").unwrap_or(0)..];
            let is_told = !wanted.is_due && log.contains(ENDED_EARLY);
            assert!(is_told, "it does not recover, {wanted:?}:\n{}\n{log}", ran.stderr);
            return Verdict::Refused;
        }
        assert!(begin.elapsed() < PATIENCE, "it does not end, {wanted:?}:\n{}", server.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
    Verdict::Right
}

#[track_caller]
fn compare(place: &Place, server: &Server<'_>, point: Option<&Point>) {
    let last = ledger::last(server);
    if let Some(point) = point {
        assert_eq!(last, point.last(), "{point:?}\n{}", server.log_text());
    }
    ledger::assert_sound(server);
    if !ledger::has_amcheck(server) || !place.has("pg_amcheck") {
        return;
    }
    // The moment may lie within a DROP DATABASE, of which PostgreSQL keeps a row that says so; older programs try to connect.
    let halves = server.psql("SELECT datname FROM pg_database WHERE datconnlimit = -2");
    halves.lines().for_each(|name| _ = server.psql(&format!("DROP DATABASE {name}")));
    let socket = server.socket_folder();
    // All databases of a backup that is looked at by itself; else that of the ledger, which takes less long.
    let which = if point.is_none() { &["--install-missing", "--all"] } else { &["-d", "postgres"] };
    let flags = ["--heapallindexed", "-h", &socket, "-U", "postgres"];
    place.printed("pg_amcheck", &[&flags[..], which].concat());
}
