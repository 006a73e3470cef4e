//! pg_dump under bad weather: what fails must be seen to fail, and nothing may stay behind.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::cancel::CancelToken;
use model::secret::Secret;
use pg::ProgramError;
use pg::connection::Session;
use pg::dump::{self, DumpOptions};
use pg::restore::{RestoreError, RestoreOptions, restore_stream};
use testkit::means;
use testkit::postgres::{Postgres, installed};

#[test]
fn pitfall_25_a_failed_dump_says_so_in_pg_dumps_own_words() {
    let server = Postgres::start();
    let cancel = CancelToken::new();
    let mut dump =
        dump::start(server.client(), &server.session("missing"), &DumpOptions::default(), &cancel).unwrap();
    dump.read_to_end(&mut Vec::new()).unwrap();
    let error = dump.finish().unwrap_err().to_string();
    assert!(error.contains("database \"missing\" does not exist"), "{error}");

    let wrong = server.connection("postgres").with_password(Some(Secret::new("wrong")));
    let session = Session::open(wrong).unwrap();
    let dump = dump::start(server.client(), &session, &DumpOptions::default(), &cancel).unwrap();
    let error = dump.finish().unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
}

#[test]
fn a_dump_that_breaks_in_the_middle_is_no_dump() {
    let server = Postgres::start();
    server.psql("CREATE TABLE big AS SELECT n, repeat('x', 1000) FROM generate_series(1, 50000) n");
    let cancel = CancelToken::new();
    let mut dump =
        dump::start(server.client(), &server.session("postgres"), &DumpOptions::default(), &cancel).unwrap();
    let mut buffer = vec![0; 1 << 20];
    assert!(dump.read(&mut buffer).unwrap() > 0);
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%'");
    while dump.read(&mut buffer).unwrap() > 0 {}
    assert!(matches!(dump.finish(), Err(ProgramError::Ended { .. })));
}

#[test]
fn a_table_that_is_locked_for_too_long_is_named() {
    let server = Postgres::start();
    server.psql("CREATE TABLE locked (n int)");
    let holder = server.session("postgres");
    let mut command = holder.command(&server.client().program("psql"));
    let mut locker =
        command.args(["-X", "-c", "BEGIN; LOCK TABLE locked; SELECT pg_sleep(60)"]).spawn().unwrap();
    while server.psql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted") == "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let options =
        DumpOptions { lock_wait_timeout: Some(Duration::from_millis(300)), ..DumpOptions::default() };
    let dump = dump::start(server.client(), &holder, &options, &CancelToken::new()).unwrap();
    let error = dump.finish().unwrap_err().to_string();
    assert!(error.contains("LOCK TABLE public.locked"), "{error}");

    // Without a timeout it waits, until somebody cancels.
    let cancel = CancelToken::new();
    let mut dump = dump::start(server.client(), &holder, &DumpOptions::default(), &cancel).unwrap();
    let asked = cancel.clone();
    let begin = Instant::now();
    let canceller = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        asked.cancel();
    });
    assert!(dump.read(&mut [0; 100]).is_err());
    assert!(matches!(dump.finish(), Err(ProgramError::Cancelled(_))));
    assert!(begin.elapsed() < Duration::from_secs(5));
    canceller.join().unwrap();
    // Nothing is left in the queue for the lock, where it would stand in everybody's way.
    assert_eq!(server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), "0");
    locker.kill().unwrap();
    locker.wait().unwrap();
}

#[test]
fn a_dropped_dump_leaves_no_session_behind() {
    let server = Postgres::start();
    server.psql("CREATE TABLE big AS SELECT n, repeat('x', 1000) FROM generate_series(1, 50000) n");
    let mut dump = dump::start(
        server.client(),
        &server.session("postgres"),
        &DumpOptions::default(),
        &CancelToken::new(),
    )
    .unwrap();
    // More than the table of contents: it is in the middle of the rows.
    dump.read_exact(&mut vec![0; 1 << 20]).unwrap();
    drop(dump);
    let begin = Instant::now();
    let copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%'";
    while server.psql(copying) != "0" {
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn pitfall_26_an_older_pg_dump_is_refused_by_the_newer_server_in_words_that_pass_through() {
    let client = |bin_dir: &PathBuf| pg::client::Client::at(bin_dir).unwrap();
    let mut all = installed();
    all.sort_by_key(|bin_dir| client(bin_dir).version().major());
    let (old, new) = (&all[0], &all[all.len() - 1]);
    if client(old).version().major() == client(new).version().major() {
        return means::lack("there is one version of PostgreSQL here, and no older pg_dump");
    }
    let (server, client) = (Postgres::start_with(new), client(old));
    let session = server.session("postgres");
    let dump = dump::start(&client, &session, &DumpOptions::default(), &CancelToken::new()).unwrap();
    let error = dump.finish().unwrap_err().to_string();
    assert!(error.contains("server version mismatch"), "{error}");
}

#[test]
fn a_restore_that_fails_says_so_in_pg_restores_own_words() {
    let server = Postgres::start();
    let (session, cancel) = (server.session("postgres"), CancelToken::new());
    let options = RestoreOptions::default();
    let garbage = vec![7; 3 << 20];
    let error = restore_stream(server.client(), &session, &options, &mut garbage.as_slice(), &cancel);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("does not appear to be a valid archive"), "{error}");
    let mut broken = std::io::Cursor::new(b"PGDMP".to_vec()).chain(Broken);
    let error = restore_stream(server.client(), &session, &options, &mut broken, &cancel).unwrap_err();
    assert!(matches!(error, RestoreError::Source(_)), "{error}");
}

#[test]
fn odd_database_names_are_dumped_and_restored() {
    let server = Postgres::start();
    let long = "é".repeat(31) + "x";
    for name in ["it's", "a=b", "-x", "postgresql://h/d", "back\\slash", "two\nlines", " ", "\"q\"", &long] {
        let quoted = name.replace('"', "\"\"");
        server.psql(&format!("CREATE DATABASE \"{quoted}\""));
        server.psql_in(name, "CREATE TABLE t AS SELECT 1 AS n");
        let (archive, summary) = crate::rich::dump(&server, name, &DumpOptions::default());
        assert_eq!(summary.database, name);
        server.psql_in(name, "DROP TABLE t");
        let session = server.session(name);
        let options = RestoreOptions::default();
        restore_stream(server.client(), &session, &options, &mut archive.as_slice(), &CancelToken::new())
            .unwrap();
        assert_eq!(server.psql_in(name, "SELECT n FROM t"), "1");
    }
}

/// A source that breaks.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the store is gone"))
    }
}
