//! Any point in time: what was committed up to the target is there, and nothing that came after it.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::postgres::{Postgres, installed};
use testkit::site::id_of;

use crate::room::Room;

/// A server that archives into the repository of a room, once it is told to.
pub(crate) fn server(bin_dir: &Path) -> Postgres {
    // Without whole pages in the WAL, no part of a cluster recovers.
    let settings = [("wal_level", "replica"), ("archive_mode", "on"), ("full_page_writes", "on")];
    let server = Postgres::start_with_settings(bin_dir, &settings);
    server.psql("ALTER SYSTEM SET archive_command = '/bin/true'; SELECT pg_reload_conf()");
    server.psql("CREATE TABLE ledger (id serial PRIMARY KEY, said text)");
    server
}

pub(crate) fn archive_into(room: &Room, server: &Postgres) {
    room.open_to(server);
    let command = room.server_command("wal push %p").replace('\'', "''");
    server.psql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
    server.psql("SELECT pg_reload_conf(); SELECT pg_switch_wal()");
}

/// Back up as the server's user.
pub(crate) fn back_up(room: &Room, server: &Postgres) -> String {
    id_of(&room.run_as_server(server, &["backup", "create", "acme", "--cluster"]).ok())
}

/// Everything that was written is archived.
pub(crate) fn wait_archived(server: &Postgres) {
    let last = server.psql("SELECT pg_walfile_name(pg_switch_wal())");
    let begin = Instant::now();
    loop {
        let archived = server.psql("SELECT coalesce(max(last_archived_wal), '') FROM pg_stat_archiver");
        if archived >= last {
            return;
        }
        let state = server.psql("SELECT last_failed_wal, failed_count FROM pg_stat_archiver");
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{last} is not archived: {archived}, {state}\n{}",
            server.cluster().log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Say something in a transaction of its own; its number, and the time and the position behind it.
pub(crate) fn say(server: &Postgres, words: &str) -> [String; 3] {
    let xid = server.psql(&format!(
        "BEGIN; INSERT INTO ledger (said) VALUES ('{words}'); SELECT pg_current_xact_id(); COMMIT"
    ));
    let told = server.psql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), pg_current_wal_insert_lsn()");
    let (time, lsn) = told.split_once('|').unwrap();
    [xid, time.to_owned(), lsn.to_owned()]
}

#[test]
fn c21_a_restore_to_a_point_in_time_loses_exactly_what_came_after_it() {
    let bin_dir = &installed()[0];
    let room = Room::new();
    let server = server(bin_dir);
    archive_into(&room, &server);
    say(&server, "before");
    back_up(&room, &server);
    say(&server, "early");
    let [xid, time, lsn] = say(&server, "the mark");
    server.psql("SELECT pg_create_restore_point('it''s \"the\" point \\ 100%')");
    say(&server, "after");
    // A later backup is not consistent at the target, so that the first one has to be taken.
    let later = back_up(&room, &server);
    say(&server, "last");
    wait_archived(&server);
    let targets = [
        ["--target-time", &time],
        ["--target-lsn", &lsn],
        ["--target-xid", &xid],
        ["--target-name", "it's \"the\" point \\ 100%"],
    ];
    for (turn, target) in targets.iter().enumerate() {
        let data = room.path(&format!("restored-{turn}"));
        let restore = ["backup", "restore", "acme/cluster", "--to", data.to_str().unwrap()];
        // Which backups come to a number or a name, nobody knows before.
        let ids = room.site.ids();
        let restore = match target[0] {
            "--target-xid" | "--target-name" => {
                ["backup", "restore", ids.last().unwrap(), "--to", restore[4]]
            }
            _ => restore,
        };
        let ran = room.run_as_server(&server, &[&restore[..], target].concat()).ok();
        let promote = format!("{}/pg_ctl -D {} promote", bin_dir.display(), data.display());
        assert!(ran.stderr.contains(&promote), "{}", ran.stderr);
        let revived = room.revive(&data, &server);
        revived.wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
        let said = "SELECT count(*), max(said) FILTER (WHERE id = (SELECT max(id) FROM ledger)) FROM ledger";
        assert_eq!(revived.psql("postgres", said), "3|the mark", "{target:?}");
        if turn == 0 {
            revived.psql("postgres", "SELECT pg_promote()");
            revived.psql("postgres", "INSERT INTO ledger (said) VALUES ('another history')");
            assert_nothing_goes_into_the_originals_place(&room, &revived);
        }
    }
    to_the_end(&room, &server, &later);
}

/// A promoted copy archives nothing.
fn assert_nothing_goes_into_the_originals_place(room: &Room, revived: &testkit::revived::Revived) {
    revived.psql("postgres", "SELECT pg_switch_wal()");
    revived.psql("postgres", "CHECKPOINT");
    assert_eq!(revived.psql("postgres", "SELECT archived_count FROM pg_stat_archiver"), "0");
    let archived = testkit::site::files_below(&room.path("repository").join("wal"));
    assert!(
        archived.len() > 2 && archived.iter().all(|(name, _)| !name.contains("/00000002/")),
        "{archived:?}"
    );
}

/// Without a target, everything that was archived comes back, and a target before a backup is refused.
fn to_the_end(room: &Room, server: &Postgres, later: &str) {
    let data = room.path("to-the-end");
    let place = data.to_str().unwrap();
    let too_early = ["backup", "restore", later, "--to", place, "--target-time", "2020-01-01T00:00:00Z"];
    let refused = room.run_as_server(server, &too_early).exits(6);
    assert!(refused.stderr.contains("which is after the target"), "{}", refused.stderr);
    let none = ["backup", "restore", "acme/cluster", "--to", place, "--target-time", "2020-01-01T00:00:00Z"];
    room.run_as_server(server, &none).exits(5);
    let beyond = ["backup", "restore", later, "--to", place, "--target-lsn", "FF/0"];
    assert!(room.run_as_server(server, &beyond).exits(6).stderr.contains("without a gap"));
    let zoneless = ["backup", "restore", later, "--to", place, "--target-time", "2026-11-30 03:00:00"];
    room.run_as_server(server, &zoneless).exits(2);
    assert!(!data.exists());

    room.run_as_server(server, &["backup", "restore", "acme/cluster", "--to", place]).ok();
    let revived = room.revive(&data, server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM ledger"), "5");
}

#[test]
fn pitfall_17_a_tablespace_made_after_the_backup_is_recovered_where_its_directory_is() {
    let room = Room::new();
    let server = server(&installed()[0]);
    archive_into(&room, &server);
    back_up(&room, &server);
    let space = room.path("late");
    let make = || {
        std::fs::create_dir(&space).unwrap();
        testkit::revived::give_to_owner_of(&space, &server);
    };
    make();
    server.psql(&format!("CREATE TABLESPACE late LOCATION '{}'", space.display()));
    server.psql("CREATE TABLE there TABLESPACE late AS SELECT generate_series(1, 700) AS n");
    wait_archived(&server);
    let data = room.path("restored");
    // The machine is lost, and with it the directory; the original must not have it while a copy recovers.
    std::fs::rename(&space, room.path("lost")).unwrap();
    make();
    room.run_as_server(&server, &["backup", "restore", "acme/cluster", "--to", data.to_str().unwrap()]).ok();
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM there"), "700");
}

#[test]
fn a_standby_follows_and_an_heir_archives_on_a_timeline_of_its_own() {
    let room = Room::new();
    let server = server(&installed()[0]);
    archive_into(&room, &server);
    // Where a copy of it finds it, too.
    server.psql("ALTER SYSTEM SET archive_mode = on");
    say(&server, "one");
    back_up(&room, &server);
    wait_archived(&server);
    let restored = |name: &str, more: &[&str]| {
        let data = room.path(name);
        let restore = ["backup", "restore", "acme/cluster", "--to", data.to_str().unwrap()];
        room.run_as_server(&server, &[&restore, more].concat()).ok();
        room.revive(&data, &server)
    };
    let count = "SELECT count(*) FROM ledger";
    let standby = restored("standby", &["--standby"]);
    say(&server, "two");
    wait_archived(&server);
    standby.wait_for(count, "2");
    assert_eq!(standby.psql("postgres", "SELECT pg_is_in_recovery()"), "t");
    drop(standby);
    // The original never comes back: who takes its place archives what follows, as a timeline of its own.
    server.psql("ALTER SYSTEM SET archive_command = '/bin/false'; SELECT pg_reload_conf()");
    let heir = restored("heir", &["--continue-archiving"]);
    heir.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(heir.psql("postgres", "SHOW archive_mode"), "on");
    heir.psql("postgres", "INSERT INTO ledger (said) VALUES ('three')");
    let last = heir.psql("postgres", "SELECT pg_walfile_name(pg_switch_wal())");
    assert!(last.starts_with("00000002"), "{last}");
    heir.wait_for(&format!("SELECT max(last_archived_wal) >= '{last}' FROM pg_stat_archiver"), "t");
    drop(heir);
    for (timeline, rows) in [("latest", "3"), ("1", "2"), ("2", "3")] {
        let copy = restored(&format!("copy-{timeline}"), &["--target-timeline", timeline]);
        copy.wait_for("SELECT pg_is_in_recovery()", "f");
        assert_eq!(copy.psql("postgres", count), rows, "timeline {timeline}");
    }
}
