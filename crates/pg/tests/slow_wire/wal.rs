//! WAL as it is written, and where it goes on after a promotion.

use std::time::{Duration, Instant};

use model::lsn::{Lsn, Timeline};
use model::wal_name::SegmentName;
use pg::replication::{
    Event, Flushed, SlotName, Started, WalStream, create_slot, drop_slot, identify_system, read_slot,
    segment_size, timeline_history,
};
use pg::wire::Conversation;
use testkit::postgres::{Postgres, of_major};

use crate::backups::take_into;
use crate::setting::{self, replication, until};

pub(crate) fn stream(
    server: Conversation,
    slot: Option<&SlotName>,
    timeline: Timeline,
    start: Lsn,
) -> WalStream {
    match WalStream::start(server, slot, timeline, start).unwrap() {
        Started::Streams(stream) => stream,
        Started::Ended { next, .. } => panic!("ended, goes on at {next:?}"),
    }
}

/// Everything up to `end` at least.
pub(crate) fn read_to(stream: &mut WalStream, end: Lsn) -> Vec<u8> {
    let mut found = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while stream.position() < end {
        assert!(Instant::now() < deadline, "at {}", stream.position());
        if let Event::Wal { bytes, .. } = stream.next(deadline).unwrap() {
            found.extend_from_slice(&bytes);
        }
    }
    found
}

#[test]
fn what_streams_is_what_stands_in_pg_wal() {
    for bin_dir in (13..=18).filter_map(of_major) {
        let server = Postgres::start_with(&bin_dir);
        let mut talk = replication(&server);
        let size = segment_size(&mut talk).unwrap();
        let who = identify_system(&mut talk).unwrap();
        assert_eq!(
            who.system_id.to_string(),
            server.psql("SELECT system_identifier FROM pg_control_system()")
        );
        let slot: SlotName = "ours".parse().unwrap();
        assert_eq!(read_slot(&mut talk, &slot).unwrap(), None);
        create_slot(&mut talk, &slot).unwrap();
        // Once more is fine, and the conversation goes on.
        create_slot(&mut talk, &slot).unwrap();
        let told = read_slot(&mut talk, &slot).unwrap().map(|slot| slot.restart.unwrap());
        // Before 15 a WAL sender does not tell.
        assert_eq!(told.is_some(), server.client().version().major() >= 15);
        let (restart, timeline) = told.unwrap_or((who.flushed, who.timeline));
        assert_eq!(timeline, who.timeline);
        let begin = size.start_of(size.segment_of(restart));
        server.psql("CREATE TABLE t AS SELECT generate_series(1, 20000) x; SELECT pg_switch_wal()");
        let end: Lsn = server.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
        let mut stream = stream(talk, Some(&slot), timeline, begin);
        let found = read_to(&mut stream, end);
        let mut at = begin;
        for piece in found.chunks_exact(size.bytes() as usize) {
            let name = SegmentName::new(timeline, size.segment_of(at), size).to_string();
            let file = std::fs::read(server.cluster().data_dir().join("pg_wal").join(name)).unwrap();
            assert!(file == piece, "the segment at {at}");
            at = Lsn(at.0 + size.bytes());
        }
        assert!(at > begin);
        let all = Flushed { written: stream.position(), flushed: at, applied: begin };
        stream.report(all, false).unwrap();
        let told = "SELECT flush_lsn || ' ' || replay_lsn FROM pg_stat_replication";
        until("the report arrives", || server.psql(told) == format!("{at} {begin}"));
        assert_eq!(server.psql("SELECT restart_lsn FROM pg_replication_slots"), at.to_string());
        stream.close();
        until("the slot is free", || server.psql("SELECT active FROM pg_replication_slots") == "f");
        drop_slot(&mut replication(&server), &slot).unwrap();
    }
}

#[test]
fn a_promotion_is_followed() {
    let primary = Postgres::start();
    let home = tempfile::tempdir_in(primary.socket_dir()).unwrap();
    let data = home.path().join("standby");
    let taken = take_into(&primary, &data, &pg::base_backup::Options::default());
    std::fs::write(data.join("standby.signal"), "").unwrap();
    let standby = setting::revive(&primary, &data, &[("wal_keep_size", "64MB")]);
    let way = primary.connection("postgres").with("port", standby.port().to_string()).unwrap();
    let open = || setting::open(&way, pg::wire::Purpose::Replication).unwrap();
    assert_eq!(standby.psql("postgres", "SELECT pg_is_in_recovery()"), "t");
    assert_eq!(standby.psql("postgres", "SELECT pg_promote()"), "t");
    let who = identify_system(&mut open()).unwrap();
    assert_eq!(who.timeline, Timeline(2));
    let history = String::from_utf8(timeline_history(&mut open(), Timeline(2)).unwrap()).unwrap();
    // The old timeline ends, and says where the new one begins.
    let size = segment_size(&mut open()).unwrap();
    let begin = size.start_of(size.segment_of(taken.1));
    let mut old = stream(open(), None, Timeline(1), begin);
    while old.next(Instant::now() + Duration::from_secs(30)).unwrap() != Event::End {}
    let (talk, next) = old.end().unwrap();
    let (timeline, at) = next.unwrap();
    assert_eq!(timeline, Timeline(2));
    assert!(history.contains(&format!("1\t{at}\t")), "{history}");
    // Asked from just there, there is nothing to stream.
    let Started::Ended { server: talk, next } = WalStream::start(talk, None, Timeline(1), at).unwrap() else {
        panic!("the old timeline goes on");
    };
    assert_eq!(next, (Timeline(2), at));
    let mut new = stream(talk, None, Timeline(2), at);
    read_to(&mut new, who.flushed);
    let missing = timeline_history(&mut open(), Timeline(7)).unwrap_err();
    assert_eq!(missing.sqlstate(), Some("58P01"));
}

#[test]
fn a_server_that_dies_in_the_stream_is_an_end_that_passes() {
    let server = Postgres::start();
    let mut talk = replication(&server);
    let who = identify_system(&mut talk).unwrap();
    let mut stream = stream(talk, None, who.timeline, who.flushed);
    until("it streams", || server.psql("SELECT count(*) FROM pg_stat_replication") == "1");
    let pid: i32 = server.psql("SELECT pid FROM pg_stat_replication").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let error = loop {
        match stream.next(deadline) {
            Ok(Event::Quiet) => panic!("nothing said that the server died"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.is_passing(), "{error}");
}
