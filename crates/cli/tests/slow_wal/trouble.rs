//! Stores that die, primaries that die, and copies.

use std::fs;

use crate::server::{Place, Server};

/// A primary with some WAL behind a base backup `b`, all of it archived.
fn primary_and_copy(place: &Place) -> (Server<'_>, Server<'_>) {
    let push = place.archive_command("host-a");
    let primary = place.initdb("a").start(&[("archive_mode", "on"), ("archive_command", &push)]);
    primary.write(100);
    let copy = primary.base_backup("b");
    primary.write(10_000);
    primary.archive_all();
    (primary, copy)
}

#[test]
fn pitfall_08_a_store_that_dies_in_the_middle_of_a_recovery_never_makes_postgresql_promote() {
    let place = Place::new();
    let (primary, mut copy) = primary_and_copy(&place);
    let rows = primary.rows();
    copy.signal_file("recovery.signal");
    // Some segments come, then the repository is gone.
    let (repository, away) = (place.repository(), place.path().join("away"));
    let dies = format!(
        "n=$(cat '{0}/count' 2>/dev/null || echo 0); echo $((n + 1)) > '{0}/count'; \
         [ $n = 6 ] && mv '{1}' '{2}'",
        place.path().display(),
        repository.display(),
        away.display()
    );
    for more in ["--timeout 1s --no-agent", "--timeout 1s"] {
        let fetch = place.restore_command("host-b", &dies, more);
        copy.begin(&[("restore_command", &fetch)]);
        copy.wait_for_end();
        assert!(copy.log_text().contains("restored log file"), "{}", copy.log_text());
        assert_eq!(copy.state(), "in archive recovery", "{}", copy.log_text());
        assert!(!copy.directory.join("pg_wal/00000002.history").exists(), "it was promoted");
        fs::rename(&away, &repository).unwrap();
        fs::remove_file(place.path().join("count")).unwrap();
    }
    // Once it is there again, the recovery ends where it should.
    let fetch = place.restore_command("host-b", "", "");
    copy.begin(&[("restore_command", &fetch)]);
    copy.wait_for("SELECT NOT pg_is_in_recovery()");
    assert_eq!(copy.rows(), rows);
}

#[test]
fn pitfall_05_pitfall_06_what_a_dead_primary_only_streamed_is_archived_by_its_successor() {
    let place = Place::new();
    let (mut primary, mut standby) = primary_and_copy(&place);
    let other = primary.base_backup("c");
    standby.signal_file("standby.signal");
    let (fetch, push) =
        (place.restore_command("host-b", "", "--timeout 20s"), place.archive_command("host-b"));
    let conninfo = primary.conninfo();
    standby.begin(&[
        ("restore_command", &fetch),
        ("primary_conninfo", &conninfo),
        ("archive_mode", "on"),
        ("archive_command", &push),
    ]);
    primary.wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'");
    // From here on nothing of the primary is archived any more, and then it dies.
    primary.psql("ALTER SYSTEM SET archive_command = 'false'");
    primary.stop("INT");
    let mut primary = primary.start(&[("archive_mode", "on"), ("archive_command", "false")]);
    primary.wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'");
    primary.write(10_000);
    let rows = primary.rows();
    primary.wait_for("SELECT replay_lsn >= pg_current_wal_flush_lsn() FROM pg_stat_replication");
    primary.stop("QUIT");
    standby.psql("SELECT pg_promote()");
    standby.wait_for("SELECT NOT pg_is_in_recovery()");
    assert_eq!(standby.rows(), rows);
    standby.write(5_000);
    let rows = standby.rows();
    standby.archive_all();
    assert!(standby.log_text().contains("was never archived by its primary"), "{}", standby.log_text());
    let status = place.mainstay(&["wal", "status"]).ok();
    assert!(!status.text().contains("gap:"), "{}", status.text());
    // A backup from before the failover comes to its end, over both timelines, with prefetching.
    let mut other = other;
    other.signal_file("recovery.signal");
    let fetch = place.restore_command("host-c", "", "");
    other.begin(&[("restore_command", &fetch), ("recovery_target_timeline", "latest")]);
    other.wait_for("SELECT NOT pg_is_in_recovery()");
    assert_eq!(other.rows(), rows);
}

#[test]
fn pitfall_22_a_restored_copy_may_start_and_never_takes_the_place_of_a_primary_that_lives() {
    let place = Place::new();
    let (primary, mut copy) = primary_and_copy(&place);
    let target = primary.psql("SELECT pg_create_restore_point('before')");
    primary.write(5_000);
    primary.archive_all();
    // A copy of yesterday on another machine: it starts, and what it archives is refused.
    copy.signal_file("recovery.signal");
    let (fetch, push) = (place.restore_command("host-b", "", ""), place.archive_command("host-b"));
    copy.begin(&[
        ("restore_command", &fetch),
        ("recovery_target_lsn", &target),
        ("recovery_target_action", "promote"),
        ("archive_mode", "on"),
        ("archive_command", &push),
    ]);
    copy.wait_for("SELECT NOT pg_is_in_recovery()");
    copy.wait_for("SELECT failed_count > 0 FROM pg_stat_archiver");
    assert!(copy.log_text().contains("this is a copy"), "{}", copy.log_text());
    assert_eq!(copy.psql("SELECT archived_count FROM pg_stat_archiver"), "0");
    // The primary goes on.
    primary.write(100);
    primary.archive_all();
    assert_eq!(primary.psql("SELECT failed_count FROM pg_stat_archiver"), "0");
    let status = place.mainstay(&["wal", "status"]).ok().text();
    assert!(!status.contains("\n2 "), "{status}");
}
