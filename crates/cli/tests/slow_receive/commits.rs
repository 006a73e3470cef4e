//! The server is lost with its disk, and no commit that it acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};

use testkit::postgres::Postgres;

use crate::scene::{Scene, destroy, until};

/// Commit row after row; those that the server acknowledged.
fn write(server: &Postgres, writer: u32, is_over: &AtomicBool) -> Vec<u32> {
    let mut acknowledged = vec![];
    for row in (writer..).step_by(3) {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let session = server.session("postgres");
        let mut command = session.command(&server.client().program("psql"));
        // Larger than it compresses to, so that segments fill.
        let noise = "SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 2000)";
        command.args(["-X", "-q", "-c", &format!("INSERT INTO rows SELECT {row}, ({noise})")]);
        if command.output().unwrap().status.success() {
            acknowledged.push(row);
        }
    }
    acknowledged
}

#[test]
fn pitfall_05_a_primary_that_is_lost_with_its_disk_loses_no_acknowledged_commit() {
    let scene = Scene::new(&[]);
    let server = &scene.server;
    server.psql("CREATE TABLE rows (id int PRIMARY KEY, noise text)");
    let place = tempfile::tempdir().unwrap();
    let base = scene.base(place.path());
    let flags = ["--slot", "vault", "--create-slot", "--application-name", "vault"];
    let receiver = scene.receive(&flags);
    server.psql("ALTER SYSTEM SET synchronous_standby_names = 'vault'");
    server.psql("SELECT pg_reload_conf()");
    let is_sync = || server.psql("SELECT sync_state FROM pg_stat_replication") == "sync";
    until("it is the synchronous standby", is_sync);
    let is_over = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                scope.spawn({
                    let is_over = &is_over;
                    move || write(server, writer, is_over)
                })
            })
            .collect();
        let count = |at_least: u32| {
            until("rows come", || {
                let count: u32 = server.psql("SELECT count(*) FROM rows").parse().unwrap();
                count >= at_least
            })
        };
        count(30);
        // The receiver dies: commits wait, and go on with the next one.
        drop(receiver);
        until("a commit waits", || {
            server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") != "0"
        });
        let second = scene.receive(&flags);
        until("it is back", is_sync);
        count(80);
        destroy(server);
        is_over.store(true, Ordering::SeqCst);
        let rows: Vec<u32> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        // And so does this one.
        drop(second);
        rows
    });
    assert!(acknowledged.len() >= 70, "{}", acknowledged.len());
    let spool = scene.spool();
    let flush = ["wal", "receive", "--spool", spool.to_str().unwrap(), "--flush-spool"];
    assert!(scene.spooled().iter().any(|name| name.ends_with(".partial")), "{:?}", scene.spooled());
    assert!(scene.site.run(&flush).ok().text().contains("of the spool are archived"));
    assert_eq!(scene.spooled(), Vec::<String>::new());
    let revived = scene.recover(&base);
    let found = revived.psql("postgres", "SELECT id FROM rows");
    let found: std::collections::HashSet<u32> = found.lines().map(|id| id.parse().unwrap()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|row| !found.contains(row)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged commits are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM rows WHERE length(noise) <> 64000"), "0");
    assert!(scene.site.run(&flush).ok().text().contains("the spool was empty"));
}
