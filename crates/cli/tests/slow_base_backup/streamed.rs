//! Increments over the replication protocol: the server makes them, and they are links like those that mainstay makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;

use testkit::means;
use testkit::postgres::{Postgres, installed, of_major};
use testkit::program::Ran;
use testkit::revived::{Revived, give_to_owner_of};
use testkit::site::id_of;

use crate::failures::{copy_of, until};
use crate::load::{self, Load};
use crate::room::Room;

const STREAM: [&str; 2] = ["--via", "stream"];
const MARKS: &str = "SELECT count(*), count(restart_lsn) FROM pg_replication_slots WHERE slot_name LIKE 'mainstay\\_mark\\_%'";

#[test]
fn streamed_and_local_increments_of_17_are_one_chain() {
    one_chain(17);
}

#[test]
fn streamed_and_local_increments_of_18_are_one_chain() {
    one_chain(18);
}

fn one_chain(major: u32) {
    let Some(bin_dir) = of_major(major) else {
        return means::lack(&format!("PostgreSQL {major} cannot be had here"));
    };
    let room = Room::new();
    let server = load::server_with(&bin_dir, &[("summarize_wal", "on")]);
    load::fill(&server);
    let space = room.path("fast");
    fs::create_dir(&space).unwrap();
    give_to_owner_of(&space, &server);
    server.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    server.psql(
        "CREATE TABLE there (n int) TABLESPACE fast; INSERT INTO there SELECT generate_series(1, 50000)",
    );

    assert!(says(&back_up(&room, &server, &[]), "full"));
    server.psql("UPDATE words SET word = 'changed' WHERE n % 500 = 7; CREATE TABLE gone AS SELECT 1 AS n");
    let second = back_up(&room, &server, &STREAM);
    assert!(says(&second, "increment 1"), "{}", second.stderr);
    let stored = |ran: &Ran, name: &str| {
        load::record(&room.site, &id_of(ran))[name].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(stored(&second, "storedBytes") < 6 << 20, "{}", stored(&second, "storedBytes"));
    assert!(
        stored(&second, "sizeBytes") > 30 << 20,
        "of the files themselves: {}",
        stored(&second, "sizeBytes")
    );
    server.psql("DELETE FROM words WHERE n > 15000; DROP TABLE gone; CREATE TABLE new AS SELECT 1 AS n");
    server.psql("VACUUM words; UPDATE there SET n = 0 WHERE n = 1");
    let third = back_up(&room, &server, &[]);
    assert!(says(&third, "increment 2"), "{}", third.stderr);
    assert_eq!(server.psql(MARKS), "0|0", "the mark in the file took its place");
    assert!(
        incremental_files(&third) > 100,
        "what the server has sent is known to the next one: {}",
        third.stderr
    );
    let busy = Load::start(&server);
    let fourth = back_up(&room, &server, &STREAM);
    drop(busy);
    assert!(says(&fourth, "increment 3"), "{}", fourth.stderr);
    assert!(incremental_files(&fourth) > 100, "{}", fourth.stderr);
    let id = id_of(&fourth);

    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let chain = load::restored_by_restic(&room.site, &id, place.path());
    let links = ["00", "01", "02", "03"].map(|link| chain.join(link).to_str().unwrap().to_owned());
    for link in &links {
        load::judge(&server, "pg_verifybackup", &["-n", link]);
        let mark = fs::metadata(Path::new(link).join("mainstay.marker"));
        assert!(
            mark.is_ok_and(|mark| mark.len() == 0) == link.ends_with(['1', '3']),
            "the mark itself is in no backup"
        );
    }
    let there = server.psql("SELECT pg_relation_filepath('there')");
    let (folder, name) = there.rsplit_once('/').unwrap();
    let increment = chain.join("01").join(folder).join(format!("INCREMENTAL.{name}"));
    assert!(increment.is_file(), "the server finds what is in a tablespace in the manifest that we wrote");
    let combined = place.path().join("combined");
    let mut arguments: Vec<&str> = links.iter().map(String::as_str).collect();
    arguments.extend(["-o", combined.to_str().unwrap()]);
    // What restic restored of a tablespace is a directory, where pg_combinebackup wants a link.
    let moved = as_links(&links, &room.path("moved"));
    let mapping =
        moved.iter().map(|(from, to)| format!("--tablespace-mapping={from}={to}")).collect::<Vec<_>>();
    arguments.extend(mapping.iter().map(String::as_str));
    load::judge(&server, "pg_combinebackup", &arguments);
    load::judge(&server, "pg_verifybackup", &[combined.to_str().unwrap()]);
    // A server that finds the map makes the links anew, to where the original's are.
    fs::remove_file(combined.join("tablespace_map")).unwrap();
    let theirs = {
        give_to_owner_of(&room.path("moved"), &server);
        let revived = load::revive(&combined, &server);
        let rows = rows_of(&revived);
        revived.stop();
        rows
    };

    let data = room.path("restored");
    let mapping = format!("{}={}", space.display(), room.path("ours").display());
    let whole = ["--target", "immediate", "--target-action", "promote", "--tablespace", &mapping];
    let restore = ["backup", "restore", &id, "--to", data.to_str().unwrap()];
    let ran = room.restore(&server, &[&restore[..], &whole].concat()).ok();
    assert!(ran.stderr.contains("chain of 4 links"), "{}", ran.stderr);
    give_to_owner_of(&room.path("ours"), &server);
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    load::assert_sound(&revived);
    let ours = rows_of(&revived);
    assert_eq!(ours, theirs);
    assert!(ours.starts_with("15000|30|50000|"), "{ours}");
    room.site.assert_sound();
}

/// Links of tablespaces in place of the directories; where the one of the newest is, and where a combined one may be.
fn as_links(links: &[String], moved: &Path) -> Option<(String, String)> {
    fs::create_dir(moved).unwrap();
    let mut newest = None;
    for (number, link) in links.iter().enumerate() {
        let spaces = Path::new(link).join("pg_tblspc");
        for space in fs::read_dir(&spaces).unwrap().flatten() {
            let place = moved.join(number.to_string());
            fs::rename(space.path(), &place).unwrap();
            std::os::unix::fs::symlink(&place, space.path()).unwrap();
            newest = Some((place.display().to_string(), moved.join("combined").display().to_string()));
        }
    }
    newest
}

/// All rows of all tables that this test has, as numbers and hashes.
fn rows_of(revived: &Revived) -> String {
    let hash =
        |table: &str| format!("(SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} AS t)");
    let tables =
        ["words", "there", "new", "pgbench_accounts", "pgbench_history", "pgbench_tellers"].map(hash);
    let words = "SELECT (SELECT count(*) FROM words), (SELECT count(*) FROM words WHERE word = 'changed'), (SELECT count(*) FROM there)";
    revived.psql("postgres", &format!("{words}, {}", tables.join(", ")))
}

#[test]
fn where_the_server_or_its_history_is_in_doubt_a_stream_is_full_and_says_why() {
    let Some(bin_dir) = of_major(18) else { return means::lack("PostgreSQL 18 cannot be had here") };
    let room = Room::new();
    let server = load::server_with(&bin_dir, &[("log_replication_commands", "on")]);
    let log = server.cluster().data_dir().with_file_name("log");
    let sent =
        || fs::read_to_string(&log).unwrap().matches("received replication command: BASE_BACKUP").count();
    let summarize = |state: &str| {
        server.psql(&format!("ALTER SYSTEM SET summarize_wal = {state}; SELECT pg_reload_conf()"))
    };
    let wait = |state: &str| until("the setting is read", || server.psql("SHOW summarize_wal") == state);
    summarize("on");
    wait("on");
    let full = |words: &str| {
        let ran = back_up(&room, &server, &STREAM);
        assert!(says(&ran, "full") && ran.stderr.contains(words), "{words}: {}", ran.stderr);
    };
    let increment = |number: u32| {
        let ran = back_up(&room, &server, &STREAM);
        assert!(says(&ran, &format!("increment {number}")), "{}", ran.stderr);
    };
    full("");
    assert_eq!(server.psql(MARKS), "1|0", "a mark keeps no WAL");
    increment(1);
    increment(2);
    assert_eq!(server.psql(MARKS), "1|0");

    // As on a machine that was turned back to where it was before that backup.
    server.psql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    full("does not bear the mark");
    increment(1);

    // A table that is cut off, and then one that grows behind that by pages of zeros, as by a load of many rows at once: they
    // are in no summary, and what was there before is in the backup before.
    server
        .psql("CREATE TABLE cut AS SELECT n, repeat('deleted', 60) AS t FROM generate_series(1, 4000) AS n");
    increment(2);
    server.psql("DELETE FROM cut WHERE n > 2000; VACUUM cut");
    increment(3);
    server.psql("DELETE FROM cut WHERE n > 1000; VACUUM cut");
    let file = server.cluster().data_dir().join(server.psql("SELECT pg_relation_filepath('cut')"));
    let len = fs::metadata(&file).unwrap().len();
    assert!(len < 100 * 8192, "it is cut off: {len}");
    fs::File::options().write(true).open(&file).unwrap().set_len(len + 5 * 8192).unwrap();
    full("rows which were deleted could come back");
    increment(1);

    summarize("off");
    wait("off");
    full("summarize_wal is off");
    summarize("on");
    wait("on");
    full("the backup before could leave no mark");
    increment(1);
    let summaries = server.cluster().data_dir().join("pg_wal/summaries");
    server.psql("CHECKPOINT");
    let is_summarised =
        "SELECT summarized_lsn >= redo_lsn FROM pg_get_wal_summarizer_state(), pg_control_checkpoint()";
    until("all behind the last backup is summarised", || server.psql(is_summarised) == "t");
    fs::read_dir(&summaries).unwrap().flatten().for_each(|summary| fs::remove_file(summary.path()).unwrap());
    full("the server makes no increment: ERROR: WAL summaries are required");
    increment(1);

    // A mark in a file, which comes with the others: that of another backup is seen when it is there.
    let local = back_up(&room, &server, &[]);
    assert!(says(&local, "increment 2"), "{}", local.stderr);
    let mark = server.cluster().data_dir().join("mainstay.marker");
    fs::write(&mark, "0123456789abcdef0123456789abcdef").unwrap();
    let before = sent();
    full("the data directory does not bear the mark of the backup before");
    assert_eq!(sent() - before, 1, "the file is looked at before anything is sent");
    increment(1);

    // Sources, and repositories, leave each other's marks alone.
    let other = [&STREAM[..], &["--name", "other"]].concat();
    assert!(says(&back_up(&room, &server, &other), "full"));
    assert_eq!(server.psql(MARKS), "2|0");
    increment(2);
    let ran = back_up(&room, &server, &other);
    assert!(says(&ran, "increment 1"), "{}", ran.stderr);
    assert_eq!(server.psql(MARKS), "2|0");

    // What was made a full one out of a chain has its mark, and a manifest that the server takes.
    increment(3);
    room.site.run(&["consolidate", "acme/cluster"]).ok();
    increment(1);

    // Of what was written since, the archive has the end alone.
    server.psql("CREATE TABLE lost AS SELECT 1 AS n; SELECT pg_switch_wal()");
    let kept = server.psql("INSERT INTO lost VALUES (2); SELECT pg_walfile_name(pg_switch_wal())");
    let segment = server.cluster().data_dir().join("pg_wal").join(kept);
    let push = load::program(&room.site, &server).with("MAINSTAY_NO_AGENT", "1");
    push.run(&["wal", "push", segment.to_str().unwrap()]).ok();
    full("WAL is missing in the archive");
    increment(1);
    room.site.assert_sound();
}

#[test]
fn an_increment_that_is_cut_while_it_streams_leaves_nothing_and_the_next_one_is_whole() {
    let Some(bin_dir) = of_major(18) else { return means::lack("PostgreSQL 18 cannot be had here") };
    let room = Room::new();
    let server = load::server_with(&bin_dir, &[("summarize_wal", "on")]);
    load::fill_of_scale(&server, 1);
    assert!(says(&back_up(&room, &server, &STREAM), "full"));
    server.psql("UPDATE words SET word = 'changed' WHERE n % 500 = 7");
    let (ids, marks) = (room.site.ids(), server.psql("SELECT slot_name FROM pg_replication_slots"));
    // Slowly enough that it is still at it when it is cut.
    let slowly =
        [&["backup", "create", "acme", "--cluster"][..], &STREAM, &["--rate-kib-max", "32"]].concat();
    let begin = || {
        let running = load::program(&room.site, &server).start(&slowly);
        until("the server sends", || server.psql(SENDING) == "t");
        running
    };
    let assert_nothing = |mut cut: Child| {
        assert!(!cut.wait().unwrap().success());
        until("the server notices", || server.psql("SELECT count(*) FROM pg_stat_replication") == "0");
        assert_eq!(room.site.ids(), ids);
        assert_eq!(server.psql("SELECT slot_name FROM pg_replication_slots"), marks);
    };
    let by_server = begin();
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    assert_nothing(by_server);
    let mut by_kill = begin();
    by_kill.kill().unwrap();
    assert_nothing(by_kill);

    let next = back_up(&room, &server, &STREAM);
    assert!(says(&next, "increment 1"), "{}", next.stderr);
    let data = room.path("restored");
    let to = ["--to", data.to_str().unwrap(), "--target", "immediate", "--target-action", "promote"];
    room.restore(&server, &[&["backup", "restore", &id_of(&next)][..], &to].concat()).ok();
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    load::assert_sound(&revived);
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM words WHERE word = 'changed'"), "40");
    room.site.assert_sound();
}

#[test]
fn the_server_keeps_the_log_of_a_backup_that_it_sends() {
    let room = Room::new();
    let settings = [("max_wal_size", "2MB"), ("min_wal_size", "2MB"), ("wal_keep_size", "0")];
    let server = load::server_with(&installed()[0], &settings);
    let slowly =
        [&["backup", "create", "acme", "--cluster"][..], &STREAM, &["--rate-kib-max", "2048"]].concat();
    let mut running = load::program(&room.site, &server).start(&slowly);
    until("the server sends", || server.psql(SENDING) == "t");
    for number in 0..3 {
        server.psql(&format!("CREATE TABLE t{number} AS SELECT generate_series(1, 20000)"));
        server.psql("SELECT pg_switch_wal()");
        server.psql("CHECKPOINT");
    }
    assert!(running.try_wait().unwrap().is_none(), "it was over before the server could remove anything");
    assert!(running.wait().unwrap().success());
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'mainstay\\_backup\\_%'";
    until("its slot goes with it", || server.psql(slots) == "0");
    let id = room.site.ids().remove(0);
    let data = room.path("restored");
    let to = ["--to", data.to_str().unwrap(), "--target", "immediate", "--target-action", "promote"];
    room.restore(&server, &[&["backup", "restore", &id][..], &to].concat()).ok();
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM t0"), "20000");
    room.site.assert_sound();
}

#[test]
fn pitfall_15_a_server_that_was_promoted_sends_all_of_it_though_it_bears_the_mark() {
    let Some(bin_dir) = of_major(18) else { return means::lack("PostgreSQL 18 cannot be had here") };
    let room = Room::new();
    let server = load::server_with(&bin_dir, &[("summarize_wal", "on")]);
    assert!(says(&back_up(&room, &server, &STREAM), "full"));
    assert!(says(&back_up(&room, &server, &STREAM), "increment 1"));
    let data = server.cluster().data_dir();
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let stop = ["-INT", pid.lines().next().unwrap()];
    assert!(std::process::Command::new("kill").args(stop).status().unwrap().success());
    until("the server has stopped", || !data.join("postmaster.pid").exists());
    fs::write(data.join("standby.signal"), "").unwrap();
    give_to_owner_of(&data.join("standby.signal"), &server);
    let promoted = Revived::start(&data, &server, &[("summarize_wal", "on"), ("wal_level", "replica")]);
    promoted.psql("postgres", "SELECT pg_promote()");
    promoted.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(promoted.psql("postgres", MARKS), "1|0");
    let program = load::program(&room.site, &server).with("PGPORT", promoted.port().to_string());
    let ran = program.run(&["backup", "create", "acme", "--cluster", "--via", "stream"]).ok();
    assert!(says(&ran, "full") && ran.stderr.contains("is on another timeline"), "{}", ran.stderr);
}

#[test]
fn pitfall_12_a_standby_streams_increments_of_its_own() {
    let Some(bin_dir) = of_major(18) else { return means::lack("PostgreSQL 18 cannot be had here") };
    let room = Room::new();
    let settings = [("summarize_wal", "on"), ("full_page_writes", "on")];
    let server = load::server_with(&bin_dir, &settings);
    load::fill_of_scale(&server, 1);
    // What a primary's backup left there is no mark of its standby.
    assert!(says(&back_up(&room, &server, &STREAM), "full"));
    let standby = Revived::start(&copy_of(&server, room.site.path()), &server, &settings);
    let program = load::program(&room.site, &server).with("PGPORT", standby.port().to_string());
    let back_up = || program.run(&["backup", "create", "acme", "--cluster", "--via", "stream"]).ok();
    assert!(says(&back_up(), "full"));
    server.psql("UPDATE words SET word = 'changed' WHERE n % 500 = 7; CHECKPOINT");
    let written = server.psql("SELECT pg_current_wal_flush_lsn()");
    standby.wait_for(&format!("SELECT pg_last_wal_replay_lsn() >= '{written}'"), "t");
    // A backup of a standby begins where it could begin anew.
    standby.psql("postgres", "CHECKPOINT");
    let increment = back_up();
    assert!(says(&increment, "increment 1"), "{}", increment.stderr);
    standby.stop();
    let data = room.path("restored");
    let id = id_of(&increment);
    // The log ends where the backup does.
    let target = ["--target", "immediate", "--target-action", "promote"];
    let restore = ["backup", "restore", &id, "--to", data.to_str().unwrap()];
    room.restore(&server, &[&restore[..], &target].concat()).ok();
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    load::assert_sound(&revived);
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM words WHERE word = 'changed'"), "40");
}

/// The checkpoint is made, and the first bytes are on their way.
const SENDING: &str = "SELECT count(*) > 0 FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files' AND backup_streamed > 0";

fn back_up(room: &Room, server: &Postgres, more: &[&str]) -> Ran {
    let create = ["backup", "create", "acme", "--cluster"];
    load::program(&room.site, server).run(&[&create[..], more].concat()).ok()
}

fn says(ran: &Ran, kind: &str) -> bool {
    ran.stderr.contains(&format!("cluster: {kind},"))
}

/// Of how many files only what changed was taken.
fn incremental_files(ran: &Ran) -> u32 {
    let line = ran.stderr.lines().find(|line| line.contains("cluster: increment")).unwrap_or_default();
    let words = line.split(" files, of ").nth(1).and_then(|rest| rest.split(' ').next());
    words.and_then(|number| number.parse().ok()).unwrap_or_default()
}
