//! Throw-away servers: quick to come, gone without a trace.

use std::time::{Duration, Instant};

use pg::throwaway::{Cluster, ClusterOptions};
use testkit::postgres::{Postgres, installed};

#[test]
fn a_server_comes_quickly_and_leaves_nothing() {
    drop(Postgres::start());
    let begin = Instant::now();
    let server = Postgres::start();
    assert_eq!(server.psql("SELECT 1"), "1");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let (data, socket) = (server.cluster().data_dir(), server.socket_dir().to_owned());
    let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().to_owned();
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
    drop(server);
    assert!(!data.exists() && !socket.exists());
    assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
}

#[test]
fn two_servers_do_not_know_each_other() {
    let (one, other) = (Postgres::start(), Postgres::start());
    one.psql("CREATE DATABASE only_here");
    assert_ne!(one.port(), other.port());
    assert_eq!(other.psql("SELECT count(*) FROM pg_database WHERE datname = 'only_here'"), "0");
    assert!(one.connection_uri().contains(one.password()));
}

#[test]
fn without_a_template_initdb_runs_and_the_shutdown_is_orderly() {
    let installed = installed();
    let options = ClusterOptions { durable: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(&installed[0], &options).unwrap();
    assert!(cluster.log().contains("ready to accept connections"), "{}", cluster.log());
    cluster.stop().unwrap();
    let bad = ClusterOptions { settings: vec![("no_such".into(), "x".into())], ..ClusterOptions::default() };
    let error = Cluster::start(&installed[0], &bad).err().unwrap().to_string();
    assert!(error.contains("no_such"), "{error}");
}
