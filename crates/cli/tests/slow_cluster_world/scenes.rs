//! What a world meets seldom, each by itself: a promotion in the middle of a backup, a server that was rewound, checksums
//! that come and go.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::program::Ran;
use testkit::site::id_of;

use crate::backups::{self, Kind};
use crate::history::Point;
use crate::judge::{self, Verdict};
use crate::pair::{Archiving, Death, Pages, Pair, Return};
use crate::server::{Place, Server};
use crate::target::{self, Wanted};
use crate::{ledger, load};

const PATIENCE: Duration = Duration::from_secs(60);
/// A backup that is this far reads files, or is sent them.
const IN_BACKUP_MODE: [(&str, &str); 2] = [
    ("local", "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'idle' AND query LIKE '%active_pid%'"),
    (
        "stream",
        "SELECT count(*) > 0 FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'",
    ),
];

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A backup of the standby that is stopped in the middle.
fn stopped_in_the_middle(place: &Place, pair: &Pair<'_>, kind: Kind) -> Child {
    let (_, in_backup_mode) = IN_BACKUP_MODE.into_iter().find(|(via, _)| *via == kind.via).unwrap();
    let is_so = || pair.standby().try_psql(in_backup_mode).as_deref() == Some("t");
    let begin = Instant::now();
    loop {
        // Seconds of it are left then, whatever is in a buffer.
        let mut child = backups::begin_with(place, pair, kind, &["--rate-kib-max", "8192"]);
        while !is_so() && child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < PATIENCE, "it never begins");
        }
        signal(&child, Signal::STOP);
        if is_so() {
            return child;
        }
        // It was faster than this machine could look.
        signal(&child, Signal::CONT);
        backups::end(child, false);
    }
}

#[test]
fn pitfall_12_a_standby_that_is_promoted_while_it_is_backed_up_leaves_no_backup() {
    for via in ["local", "stream"] {
        let place = Place::new();
        let mut pair = Pair::start(&place, Archiving::Push, Pages::Plain);
        ledger::create(pair.primary());
        let kind = Kind { of_primary: false, via, full: true };
        let child = stopped_in_the_middle(&place, &pair, kind);
        let before = place.mainstay(&["backup", "list"]).ok().text();
        pair.kill(true, Death::Immediate);
        pair.promote();
        signal(&child, Signal::CONT);
        let ran = Ran::wait(child).exits(1);
        assert!(ran.stderr.contains("promoted"), "{}", ran.stderr);
        assert_eq!(place.mainstay(&["backup", "list"]).ok().text(), before, "a backup is seen");
        // What it is now is backed up as that.
        let point = ledger::book(pair.primary(), 7, None).unwrap();
        let id = backups::take(&place, &pair, Kind { via, ..Kind::LOCAL });
        come_back(&place, &id, &point, Pages::Plain);
    }
}

#[test]
fn pitfall_12_a_standby_that_goes_over_to_another_timeline_while_it_is_backed_up_leaves_no_backup() {
    let place = Place::new();
    let mut pair = Pair::start(&place, Archiving::Push, Pages::Plain);
    ledger::create(pair.primary());
    pair.settle();
    let listed = || place.mainstay(&["backup", "list"]).ok().text();
    for (via, change) in
        [("stream", "from timeline 1 to timeline 2"), ("local", "from timeline 2 to timeline 3")]
    {
        let child = stopped_in_the_middle(&place, &pair, Kind { of_primary: false, via, full: true });
        let before = listed();
        pair.renew();
        // Behind a restart point that is on the new one.
        pair.settle();
        signal(&child, Signal::CONT);
        let ran = Ran::wait(child).exits(1);
        assert!(ran.stderr.contains(&format!("the standby went over {change}")), "{via}: {}", ran.stderr);
        assert_eq!(listed(), before, "{via}: a backup is seen");
        // Its slot goes with its session, which the server may notice later.
        pair.standby()
            .wait_for("SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name LIKE 'mainstay%'");
    }
    let point = ledger::book(pair.primary(), 7, None).unwrap();
    pair.settle();
    let id = backups::take(&place, &pair, Kind { of_primary: false, ..Kind::STREAM });
    come_back(&place, &id, &point, Pages::Plain);
}

/// The backup alone comes back to this point.
#[track_caller]
pub(crate) fn come_back(place: &Place, id: &str, point: &Point, pages: Pages) {
    let wanted = Wanted { point: Some(point.clone()), ..target::immediate(id) };
    assert_eq!(judge::restore(place, &format!("copy-of-{id}"), &wanted, false, pages), Verdict::Right);
}

/// A backup, what it says it is, and the point behind which it was taken.
#[track_caller]
fn back_up(place: &Place, server: &Server<'_>, host: &str) -> (String, String) {
    let mut command = backups::command(place, server, host, Kind::LOCAL);
    let ran = Ran::of(&command.output().unwrap()).ok();
    let line = ran.stderr.lines().find_map(|line| line.split_once("cluster: "));
    let what = line.unwrap().1.split(',').next().unwrap().to_owned();
    (id_of(&ran), what)
}

/// Rows, and changes of all kinds.
fn work(server: &Server<'_>, seed: u64) -> Point {
    let mut dice = testkit::world::dice::Dice::new(seed);
    load::beside(server, &mut dice, || std::thread::sleep(Duration::from_millis(400)));
    ledger::book(server, seed, None).unwrap()
}

#[test]
fn pitfall_15_after_a_failover_and_pg_rewind_the_next_backup_is_a_full_one() {
    let place = Place::new();
    let mut pair = Pair::start(&place, Archiving::Push, Pages::LoggedHints);
    ledger::create(pair.primary());
    let of_primary = |pair: &Pair<'_>| back_up(&place, pair.primary(), pair.host(true)).1;
    assert_eq!(of_primary(&pair), "full");
    let early = work(pair.primary(), 1);
    assert_eq!(of_primary(&pair), "increment 1");
    pair.kill(true, Death::Killed);
    pair.promote();
    work(pair.primary(), 2);
    assert_eq!(of_primary(&pair), "full", "another timeline");
    pair.bring_back(Return::Rewound);
    let mark = |server: &Server<'_>| fs::read(server.directory.join("mainstay.marker")).ok();
    assert_eq!(mark(pair.standby()), mark(pair.primary()), "pg_rewind takes the mark along");
    pair.settle();
    let of_standby = |pair: &Pair<'_>| back_up(&place, pair.standby(), pair.host(false)).1;
    assert_eq!(of_standby(&pair), "full", "another directory");
    // Back to the first one.
    pair.retire();
    pair.promote();
    pair.follow();
    work(pair.primary(), 3);
    assert_eq!(of_primary(&pair), "full", "a timeline with a past of both");
    let point = work(pair.primary(), 4);
    let (id, what) = back_up(&place, pair.primary(), pair.host(true));
    assert_eq!(what, "increment 1");
    come_back(&place, &id, &point, Pages::LoggedHints);
    // Newer backups are of later timelines.
    let position = target::position(early.lsn);
    let target = ["acme/cluster", "--target-lsn", &position, "--target-timeline", "1"];
    let arguments = target.into_iter().chain(["--target-action", "promote"]).map(str::to_owned).collect();
    let wanted = Wanted { arguments, point: Some(early), is_due: true };
    assert_eq!(judge::restore(&place, "copy-of-1", &wanted, false, Pages::LoggedHints), Verdict::Right);
}

#[test]
fn pitfall_12_a_standby_between_two_timelines_is_not_backed_up_until_it_is_on_one() {
    let place = Place::new();
    let mut pair = Pair::start(&place, Archiving::Push, Pages::Plain);
    ledger::create(pair.primary());
    pair.settle();
    // So much to write that the heir's first checkpoint takes its time.
    for server in [pair.primary(), pair.standby()] {
        server.set("checkpoint_timeout", "1d");
        server.set("checkpoint_completion_target", "1");
    }
    work(pair.primary(), 1);
    pair.retire();
    pair.promote();
    pair.follow();
    // Nothing that makes a checkpoint by itself.
    let point = ledger::book(pair.primary(), 2, None).unwrap();
    for via in ["local", "stream"] {
        let kind = Kind { of_primary: false, via, full: true };
        let ran = Ran::wait(backups::begin(&place, &pair, kind)).exits(1);
        assert!(ran.stderr.contains("went over from timeline 1 to timeline 2"), "{via}: {}", ran.stderr);
    }
    let id = backups::take(&place, &pair, Kind { of_primary: false, ..Kind::LOCAL });
    come_back(&place, &id, &point, Pages::Plain);
}

#[test]
fn pitfall_15_checksums_that_were_switched_on_between_two_backups_are_right_after_a_restore() {
    let place = Place::new();
    let mut server = place.initdb_with("a", &[]).start(&[]);
    ledger::create(&server);
    let back_up = |server: &Server<'_>| back_up(&place, server, "host-a");
    assert_eq!(back_up(&server).1, "full");
    work(&server, 1);
    assert_eq!(back_up(&server).1, "increment 1");
    let switch = |server: Server<'_>, flags: &[&str]| {
        let mut server = server;
        server.stop("INT");
        let data = server.directory.display().to_string();
        flags.iter().for_each(|flag| _ = place.printed("pg_checksums", &[flag, "-N", "-D", &data]));
        place.server("a").start(&[])
    };
    // Each page is another one, and has the position that it had.
    server = switch(server, &["--enable"]);
    let point = work(&server, 2);
    let (id, what) = back_up(&server);
    assert_eq!(what, "full");
    come_back(&place, &id, &point, Pages::Checksums);
    // Off and on again: what was changed meanwhile has no sum, and then it has.
    server = switch(server, &["--disable"]);
    work(&server, 3);
    server = switch(server, &["--enable"]);
    let point = work(&server, 4);
    let (id, what) = back_up(&server);
    assert_eq!(what, "increment 1");
    come_back(&place, &id, &point, Pages::Checksums);
}
