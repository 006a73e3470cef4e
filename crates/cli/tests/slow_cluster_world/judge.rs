//! A restore, and whether what came back is what was there.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::program::Ran;

use crate::history::Point;
use crate::ledger;
use crate::pair::Pages;
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

/// Restore as `wanted` into the directory `name`, over what is there if `is_over`, and judge it.
#[track_caller]
pub(crate) fn restore(place: &Place, name: &str, wanted: &Wanted, is_over: bool, pages: Pages) -> Verdict {
    let mut server = place.server(name);
    let to = server.directory.display().to_string();
    let password = place.password_file();
    let mut command = place.mainstay_on("host-c");
    command.env_remove("MAINSTAY_PASSWORD").args(["--password-file", &password, "backup", "restore"]);
    let is_over = is_over && server.directory.exists();
    if is_over {
        command.arg("--delta").arg(format!("--yes={to}"));
    }
    let ran = Ran::of(&command.args(&wanted.arguments).args(["--to", &to]).output().unwrap());
    match ran.code {
        Some(0) => {}
        Some(5 | 6) if !wanted.is_due => {
            assert!(is_over || !server.directory.exists(), "refused, and something was made: {}", ran.stderr);
            return Verdict::Refused;
        }
        code => panic!("exit code {code:?} for {wanted:?}:\n{}", ran.stderr),
    }
    verify_files(place, &server.directory);
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
    if let Some(Point { number, hash, .. }) = point {
        let expected = ledger::Last { number: *number, hash: hash.clone() };
        assert_eq!(last, expected, "{point:?}\n{}", server.log_text());
    }
    ledger::assert_sound(server);
    if !ledger::has_amcheck(server) || !place.has("pg_amcheck") {
        return;
    }
    let socket = server.socket_folder();
    // All databases of a backup that is looked at by itself; else that of the ledger, which takes less long.
    let which = if point.is_none() { &["--install-missing", "--all"] } else { &["-d", "postgres"] };
    let flags = ["--heapallindexed", "-h", &socket, "-U", "postgres"];
    place.printed("pg_amcheck", &[&flags[..], which].concat());
}
