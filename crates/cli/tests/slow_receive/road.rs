//! What is received has no gap, whoever is away meanwhile, and timelines are followed.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use testkit::moments::Moments;
use testkit::revived::{Revived, give_to_owner_of};
use testkit::strace::{self, Fault};

use crate::scene::{Scene, until};

const FLAGS: [&str; 3] = ["--slot", "ours", "--create-slot"];

/// Fill two segments or so, and begin another.
const WORK: &str = "INSERT INTO t SELECT generate_series(1, 20000); SELECT pg_switch_wal()";

#[test]
fn whoever_is_away_leaves_no_gap() {
    let scene = Scene::new(&[("wal_keep_size", "1GB")]);
    let (server, site) = (&scene.server, &scene.site);
    server.psql("CREATE TABLE t (x int)");
    let mut receiver = scene.receive(&FLAGS);
    receiver.says("receiving timeline 1 from");
    server.psql(WORK);
    receiver.says("archived 0000000100000000");
    // The repository goes away and comes back.
    let away = site.path().join("away");
    fs::rename(site.repository(), &away).unwrap();
    server.psql(WORK);
    receiver.says("WAL stays in the spool");
    let whole = |scene: &Scene| scene.spooled().iter().filter(|name| name.len() == 24).count();
    until("the spool fills", || whole(&scene) > 0);
    fs::rename(&away, site.repository()).unwrap();
    until("the spool empties", || whole(&scene) == 0);
    // The server restarts after a crash.
    let sender: i32 = server.psql("SELECT pid FROM pg_stat_replication").parse().unwrap();
    kill_process(Pid::from_raw(sender).unwrap(), Signal::KILL).unwrap();
    receiver.says("trying again in");
    until("the server is back", || scene.answers());
    server.psql(WORK);
    // The receiver is killed, again and again.
    let mut moments = Moments::seeded("whoever_is_away_leaves_no_gap");
    for _ in 0..5 {
        drop(receiver);
        server.psql(WORK);
        receiver = scene.receive(&FLAGS);
        std::thread::sleep(moments.below(std::time::Duration::from_millis(600)));
    }
    server.psql(WORK);
    let last = server.psql("SELECT pg_walfile_name(pg_switch_wal())");
    receiver.says(&format!("archived {last}"));
    assert_eq!(receiver.stop(), Some(0));
    let exported = site.path().join("exported");
    let names = scene.export(&exported);
    let numbers: Vec<u64> = names.iter().map(|name| u64::from_str_radix(&name[8..], 16).unwrap()).collect();
    let position = |number: u64| (number >> 32) * 4096 + (number & 0xfff);
    for pair in numbers.windows(2) {
        assert_eq!(position(pair[1]), position(pair[0]) + 1, "{names:?}");
    }
    assert!(names.len() > 10 && names.last() == Some(&last), "{names:?}");
    for name in &names {
        let own = fs::read(server.cluster().data_dir().join("pg_wal").join(name)).unwrap();
        assert!(fs::read(exported.join(name)).unwrap() == own, "{name}");
    }
}

#[test]
fn a_gap_is_refused_unless_it_is_accepted() {
    let scene = Scene::new(&[("min_wal_size", "2MB"), ("max_wal_size", "2MB")]);
    let server = &scene.server;
    server.psql("CREATE TABLE t (x int)");
    let mut receiver = scene.receive(&FLAGS);
    // Else the slot may begin behind the work.
    receiver.says("receiving timeline 1 from");
    server.psql(WORK);
    receiver.says("archived 0000000100000000");
    assert_eq!(receiver.stop(), Some(0));
    until("the slot is free", || server.psql("SELECT active FROM pg_replication_slots") == "f");
    server.psql("SELECT pg_drop_replication_slot('ours')");
    for _ in 0..4 {
        server.psql(WORK);
        server.psql("CHECKPOINT");
    }
    let mut refused = scene.receive(&FLAGS);
    assert_eq!(refused.wait(), Some(1), "{}", refused.log());
    assert!(
        refused.log().contains("there is a gap") && refused.log().contains("--accept-gap"),
        "{}",
        refused.log()
    );
    let mut accepted = scene.receive(&[&FLAGS[..], &["--accept-gap"]].concat());
    accepted.says("receiving timeline 1 from");
    // Where the spool holds the beginning of a segment it is the server that has no more of it, else the archive that ends.
    let log = accepted.log();
    let told = log.lines().find(|line| line.contains("there is a gap")).unwrap_or_else(|| panic!("{log}"));
    assert!(
        told.starts_with("warning: the archive ends with") || told.starts_with("warning: the server has no"),
        "{log}"
    );
    let last = server.psql("SELECT pg_walfile_name(pg_switch_wal())");
    accepted.says(&format!("archived {last}"));
}

#[test]
fn behind_an_accepted_gap_it_goes_on_with_the_first_segment_that_the_server_has() {
    let scene = Scene::new(&[("min_wal_size", "2MB"), ("max_wal_size", "2MB"), ("wal_keep_size", "5MB")]);
    let server = &scene.server;
    server.psql("CREATE TABLE t (x int)");
    // Nothing keeps WAL for who has no slot.
    let mut receiver = scene.receive(&[]);
    receiver.says("receiving timeline 1 from");
    server.psql(WORK);
    receiver.says("archived 0000000100000000");
    assert_eq!(receiver.stop(), Some(0));
    for _ in 0..8 {
        server.psql(WORK);
        server.psql("CHECKPOINT");
    }
    let oldest = server.psql("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'");
    let present = server.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    assert!(oldest < present, "{oldest} {present}");
    let mut accepted = scene.receive(&["--accept-gap"]);
    accepted.says(&format!("archived {oldest}"));
    assert!(accepted.log().contains("warning: the server has no WAL from"), "{}", accepted.log());
}

#[test]
fn a_disk_that_does_not_take_what_came_ends_it_and_the_server_is_told_of_nothing() {
    if !strace::is_permitted() {
        return;
    }
    let scene = Scene::new(&[]);
    let server = &scene.server;
    server.psql("CREATE TABLE t (x int)");
    server.psql("SELECT pg_create_physical_replication_slot('ours', true)");
    let kept = || {
        server
            .psql("SELECT pg_wal_lsn_diff(restart_lsn, '0/0') FROM pg_replication_slots")
            .parse::<u64>()
            .unwrap()
    };
    let before = kept();
    server.psql(WORK);
    let spool = scene.spool();
    let receive = ["wal", "receive", "--slot", "ours", "--spool", spool.to_str().unwrap()];
    // What was written is brought to disk by that call alone, segments that became whole, too.
    let faulted = Fault::error("fdatasync", "EIO").run(&scene.site.program(), &receive);
    assert!(faulted.happened);
    faulted.ran.exits(1).says("syncing");
    until("the slot is free", || server.psql("SELECT active FROM pg_replication_slots") == "f");
    assert!(kept() <= before, "the server was told that {} is on disk, and began with {before}", kept());
    // All of it is still there for whoever comes next.
    let mut receiver = scene.receive(&["--slot", "ours"]);
    let last = server.psql("SELECT pg_walfile_name(pg_switch_wal())");
    receiver.says(&format!("archived {last}"));
    assert!(kept() > before);
    assert_eq!(receiver.stop(), Some(0));
    scene.site.run(&["wal", "status"]).ok();
}

#[test]
fn a_promotion_is_followed_and_its_history_kept() {
    let scene = Scene::new(&[]);
    let server = &scene.server;
    server.psql("CREATE TABLE t (x int)");
    let place = tempfile::tempdir().unwrap();
    let data = scene.base(place.path());
    fs::write(data.join("standby.signal"), "").unwrap();
    give_to_owner_of(place.path(), server);
    let source =
        format!("host=127.0.0.1 port={} user=postgres password={}", server.port(), server.password());
    let settings = [("primary_conninfo", source.as_str()), ("wal_keep_size", "1GB")];
    let standby = Revived::start(&data, server, &settings);
    let port = standby.port().to_string();
    let mut receiver = scene.receive(&[&FLAGS[..], &["--db-port", &port]].concat());
    receiver.says("receiving timeline 1 from");
    server.psql(WORK);
    receiver.says("archived 0000000100000000");
    server.psql("INSERT INTO t SELECT generate_series(1, 10)");
    let rows = server.psql("SELECT count(*) FROM t");
    until("the standby has all", || standby.psql("postgres", "SELECT count(*) FROM t") == rows);
    assert_eq!(standby.psql("postgres", "SELECT pg_promote()"), "t");
    receiver.says("the server goes on with timeline 2");
    standby.psql("postgres", WORK);
    receiver.says("archived 0000000200000000");
    assert_eq!(receiver.stop(), Some(0));
    let names = scene.export(&scene.site.path().join("exported"));
    assert!(names.contains(&"00000002.history".to_owned()), "{names:?}");
    let first = names.iter().find(|name| name.starts_with("00000002") && name.len() == 24).unwrap();
    // Where the switch is the very end of a segment, nothing of the old timeline is unfinished.
    let last =
        names.iter().filter(|name| name.starts_with("00000001") && !name.contains("history")).max().unwrap();
    let is_left = last.ends_with(".partial");
    assert_eq!(
        is_left,
        last[8..24] == first[8..],
        "{names:?}: the new timeline begins where the old one ended"
    );
}

#[test]
fn a_spool_that_is_full_takes_no_more_until_the_repository_does() {
    let scene = Scene::new(&[]);
    let server = &scene.server;
    server.psql("CREATE TABLE t (x int)");
    let mut receiver = scene.receive(&[&FLAGS[..], &["--spool-max", "3M"]].concat());
    receiver.says("receiving timeline 1 from");
    let (repository, away) = (scene.site.repository(), scene.site.path().join("away"));
    fs::rename(&repository, &away).unwrap();
    for _ in 0..8 {
        server.psql(WORK);
        server.psql("SELECT pg_switch_wal()");
    }
    receiver.says("are in the spool, which takes no more");
    let behind =
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > 2 * (1 << 20) FROM pg_replication_slots";
    assert_eq!(server.psql(behind), "t", "the server keeps what the spool does not take");
    // Segments are of 1 MiB: three, the one that was too much, and the one that grows.
    assert!(scene.spooled().len() <= 5, "{:?}", scene.spooled());
    fs::rename(&away, &repository).unwrap();
    let last = server.psql("SELECT pg_walfile_name(pg_switch_wal())");
    receiver.says(&format!("archived {last}"));
    assert_eq!(receiver.stop(), Some(0));
    scene.site.run(&["wal", "status"]).ok();
}
