//! Increments: what changed alone is stored, and with the earlier links it is the whole.

use testkit::postgres::{Postgres, installed};

use crate::load::{self, Load};
use crate::site;

#[test]
fn increments_store_what_changed_and_pg_combinebackup_makes_a_cluster_of_them() {
    load::versions().for_each(|bin_dir| increments_of(&load::server(&bin_dir)));
}

#[test]
fn increments_by_the_servers_own_summaries_are_a_cluster_too() {
    for bin_dir in installed() {
        if pg::client::Client::at(&bin_dir).unwrap().version().major() >= 17 {
            let server = load::server_with(&bin_dir, &[("summarize_wal", "on")]);
            increments_of(&server);
            let summaries = server.psql("SELECT count(*) > 0 FROM pg_available_wal_summaries()");
            assert_eq!(summaries, "t");
        }
    }
}

/// Where there is pg_combinebackup, from 17 on, it is the judge of the chain.
fn increments_of(server: &Postgres) {
    load::fill(server);
    let site = site();
    let first = load::back_up(&site, server, &[]);
    let stored = |id: &str| {
        let record = load::record(&site, id);
        record["storedBytes"].as_str().unwrap().parse::<u64>().unwrap()
    };
    server.psql("UPDATE words SET word = 'changed' WHERE n = 7");
    let second = load::back_up(&site, server, &[]);
    assert!(stored(&second) * 4 < stored(&first), "{} of {}", stored(&second), stored(&first));
    server.psql("DELETE FROM words WHERE n > 15000; VACUUM words; CREATE TABLE new AS SELECT 1 AS n");
    let busy = Load::start(server);
    let third = load::back_up(&site, server, &[]);
    drop(busy);
    let snapshot = load::record(&site, &third);
    assert!(snapshot["sizeBytes"].as_str().unwrap().parse::<u64>().unwrap() > 30_000_000, "{snapshot}");

    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let chain = load::restored_by_restic(&site, &third, place.path());
    let links = ["00", "01", "02"].map(|link| chain.join(link).to_str().unwrap().to_owned());
    for link in &links {
        load::judge(server, "pg_verifybackup", &["-n", link]);
    }
    if load::major(server) >= 17 {
        let data = place.path().join("combined");
        let [full, first, last] = &links;
        load::judge(server, "pg_combinebackup", &[full, first, last, "-o", data.to_str().unwrap()]);
        load::judge(server, "pg_verifybackup", &[data.to_str().unwrap()]);
        let revived = load::revive(&data, server);
        assert_eq!(revived.psql("postgres", "SELECT count(*) FROM words"), "15000");
        assert_eq!(revived.psql("postgres", "SELECT word FROM words WHERE n = 7"), "changed");
        revived.stop();
    }
    site.assert_sound();
}
