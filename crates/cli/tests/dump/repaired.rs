//! Dumps of which a part is lost: no restore takes what is left of them for the whole.

use testkit::postgres::Postgres;
use testkit::site::files_below;

use crate::site;

/// Bytes that do not compress, as a large object: in an archive nothing tells where they end but their lengths.
const LARGE_OBJECT: &str = "SELECT lo_from_bytea(4242, decode(string_agg(md5(i::text), ''), 'hex')) \
                            FROM generate_series(1, 60000) AS i";

#[test]
fn what_a_repair_left_of_a_dump_goes_into_no_database() {
    let server = Postgres::start();
    server.psql("CREATE DATABASE app");
    server.psql_in("app", "CREATE TABLE t AS SELECT 1 AS n");
    let site = site().with_server(&server);
    let whole = site.back_up("app");
    let before: Vec<_> = packs(&site.repository());
    server.psql_in("app", LARGE_OBJECT);
    let broken = site.back_up("app");
    let newer = packs(&site.repository()).into_iter().filter(|pack| !before.contains(pack));
    let (_, lost) = newer.max().unwrap();
    std::fs::remove_file(site.repository().join("data").join(lost)).unwrap();
    site.run(&["repair"]);
    let listed: serde_json::Value =
        serde_json::from_str(&site.run(&["backup", "list", "--json"]).ok().text()).unwrap();
    let records = listed["records"].as_array().unwrap();
    let repaired = records.iter().find(|record| record["incomplete"] == true).expect("a repaired one");
    let repaired = repaired["id"].as_str().unwrap().to_owned();
    let databases = server.psql("SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database");
    for (id, more) in [(&repaired, vec![]), (&repaired, vec!["--jobs", "2"]), (&broken, vec![])] {
        let arguments = [&["backup", "restore", id, "--database", "back"][..], &more].concat();
        site.run(&arguments).exits(4).says("integrity check failed");
        assert_eq!(server.psql("SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database"), databases);
    }
    site.run(&["backup", "restore", &whole, "--database", "back"]).ok();
    assert_eq!(server.psql_in("back", "SELECT n FROM t"), "1");
}

/// The length and the name of each.
fn packs(repository: &std::path::Path) -> Vec<(usize, String)> {
    files_below(&repository.join("data")).into_iter().map(|(name, bytes)| (bytes.len(), name)).collect()
}

#[test]
fn a_backup_whose_verification_failed_is_not_the_newest_good_one() {
    let server = Postgres::start();
    server.psql("CREATE DATABASE app");
    server.psql_in("app", "CREATE TABLE t AS SELECT 1 AS n");
    let site = site().with_server(&server);
    site.back_up("app");
    let before = packs(&site.repository());
    server.psql_in(
        "app",
        "UPDATE t SET n = 2; INSERT INTO t SELECT hashint4(i) FROM generate_series(1, 90000) AS i",
    );
    let newest = site.back_up("app");
    let newer = packs(&site.repository()).into_iter().filter(|pack| !before.contains(pack));
    let (len, name) = newer.max().unwrap();
    let path = site.repository().join("data").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[len / 2] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    site.run(&["backup", "verify", &newest]).exits(4);
    site.run(&["backup", "restore", "acme/app", "--database", "back"]).ok();
    assert_eq!(server.psql_in("back", "SELECT n FROM t"), "1");
}
