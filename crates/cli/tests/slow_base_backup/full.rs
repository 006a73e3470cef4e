//! Full backups.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::postgres::installed;

use crate::load::{self, Load};
use crate::site;

#[test]
fn c21_a_full_backup_under_load_is_a_cluster_that_postgresql_and_restic_find_whole() {
    load::versions().for_each(|bin_dir| full_backup_of(&bin_dir, "local"));
}

#[test]
fn what_the_server_streams_is_the_same_cluster() {
    load::versions().for_each(|bin_dir| full_backup_of(&bin_dir, "stream"));
}

fn full_backup_of(bin_dir: &Path, via: &str) {
    let server = load::server(bin_dir);
    load::fill(&server);
    let space = tempfile::tempdir().unwrap();
    testkit::revived::give_to_owner_of(space.path(), &server);
    std::fs::set_permissions(space.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    server.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.path().display()));
    server.psql(
        "CREATE TABLE there (n int) TABLESPACE fast; INSERT INTO there SELECT generate_series(1, 5000)",
    );
    server.psql("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 50000) AS n");
    let site = site();
    let busy = Load::start(&server);
    let id = load::back_up(&site, &server, &["--via", via]);
    drop(busy);
    let record = load::record(&site, &id);
    assert_eq!(record["kind"], "cluster");
    assert_eq!(record["timeline"], "1");
    assert!(record["startLsn"].as_str().unwrap() < record["stopLsn"].as_str().unwrap(), "{record}");

    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let chain = load::restored_by_restic(&site, &id, place.path());
    let data = chain.join("00");
    load::judge(&server, "pg_verifybackup", &["-s", data.to_str().unwrap()]);
    load::judge(&server, "pg_verifybackup", &[data.to_str().unwrap()]);
    let left_out = ["postmaster.pid", "postmaster.opts", "pg_wal/000000010000000000000001"];
    assert!(left_out.iter().all(|name| !data.join(name).exists()));

    // restic makes no links of tablespaces; as the manual of ours says, they are moved and linked.
    let (oid, moved) =
        (server.psql("SELECT oid FROM pg_tablespace WHERE spcname = 'fast'"), place.path().join("fast"));
    std::fs::rename(data.join("pg_tblspc").join(&oid), &moved).unwrap();
    testkit::revived::give_to_owner_of(&moved, &server);
    std::fs::write(data.join("tablespace_map"), format!("{oid} {}\n", moved.display())).unwrap();
    let revived = load::revive(&data, &server);
    assert_eq!(revived.psql("postgres", "SELECT count(*), sum(n) FROM there"), "5000|12502500");
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM words"), "20000");
    assert_eq!(
        revived.psql("postgres", "SELECT count(*) FROM fleeting"),
        "0",
        "an unlogged table came along"
    );
    revived.stop();
    site.assert_sound();
}

#[test]
fn reading_keeps_to_the_rate_that_was_said() {
    let server = load::server(&installed()[0]);
    let site = site();
    let databases: u64 = server.psql("SELECT sum(pg_database_size(oid)) FROM pg_database").parse().unwrap();
    let began = Instant::now();
    load::back_up(&site, &server, &["--via", "local", "--rate-kib-max", "6144"]);
    // Caches in their directories are no part of it; what was not used in one second may be caught up on.
    let least = Duration::from_secs_f64((databases - (2 << 20)) as f64 / f64::from(6144 << 10) - 1.0);
    assert!(
        least > Duration::ZERO && began.elapsed() >= least,
        "{:?} for {databases} bytes",
        began.elapsed()
    );
}
