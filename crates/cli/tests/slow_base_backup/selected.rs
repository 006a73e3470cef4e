//! Some databases of a cluster alone.

use std::fs;
use std::os::unix::fs::MetadataExt;

use testkit::postgres::installed;

use crate::point_in_time::{archive_into, back_up, say, server, wait_archived};
use crate::room::Room;

#[test]
fn only_the_databases_that_were_named_come_back_and_the_others_can_be_dropped() {
    let (room, server) = (Room::new(), server(&installed()[0]));
    archive_into(&room, &server);
    for database in ["shop", "other"] {
        server.psql(&format!("CREATE DATABASE {database}"));
        server.psql_in(
            database,
            "CREATE TABLE large WITH (autovacuum_enabled = off) AS SELECT n, repeat('x', 500) AS t FROM generate_series(1, 8000) AS n",
        );
    }
    let file = server.psql_in("other", "SELECT pg_relation_filepath('large')");
    let size = fs::metadata(server.cluster().data_dir().join(&file)).unwrap().len();
    back_up(&room, &server);
    // The second link has the files of the other database as increments.
    server.psql_in("shop", "INSERT INTO large VALUES (0, 'between')");
    back_up(&room, &server);
    server.psql_in("other", "VACUUM large; UPDATE large SET t = 'y' WHERE n = 7");
    server.psql_in("shop", "UPDATE large SET t = 'changed' WHERE n = 7");
    let [_, time, _] = say(&server, "the mark");
    server.psql_in("shop", "DELETE FROM large");
    wait_archived(&server);

    let data = room.path("restored");
    let place = data.to_str().unwrap();
    let restore = [
        "backup",
        "restore",
        "acme/cluster",
        "--to",
        place,
        "--target-time",
        &time,
        "--target-action",
        "promote",
    ];
    let near = room.run_as_server(&server, &[&restore[..], &["--database", "shup"]].concat()).exits(5);
    assert!(near.stderr.contains("there is shop"), "{}", near.stderr);
    assert!(!data.exists());
    let ran = room.run_as_server(&server, &[&restore[..], &["--database", "shop"]].concat()).ok();
    assert!(ran.stderr.contains("DROP DATABASE \"other\";"), "{}", ran.stderr);
    let zeros = fs::metadata(data.join(&file)).unwrap();
    assert_eq!((zeros.len(), zeros.blocks()), (size, 0), "as long as it was, and nothing on the disk");
    assert!(!data.join("backup_manifest").exists(), "it would tell of other files");

    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    let log = revived.log();
    assert!(log.contains(" is uninitialized"), "the setting is needed: {log}");
    let shop = "SELECT count(*), count(*) FILTER (WHERE t = 'changed') FROM large";
    assert_eq!(revived.psql("shop", shop), "8001|1");
    revived.psql("postgres", "DROP DATABASE other");
    revived.psql("postgres", "ALTER SYSTEM RESET ignore_invalid_pages");
    assert!(!data.join(&file).exists());
    assert_eq!(revived.psql("shop", shop), "8001|1");
    revived.stop();

    let off = testkit::postgres::Postgres::start_with_settings(&installed()[0], &[("wal_level", "replica")]);
    off.psql("CREATE DATABASE shop");
    off.psql("CREATE DATABASE other");
    let id = crate::load::back_up(&room.site, &off, &["--name", "torn"]);
    let refused = room
        .restore(
            &off,
            &["backup", "restore", &id, "--to", room.path("torn").to_str().unwrap(), "--database", "shop"],
        )
        .exits(6);
    assert!(refused.stderr.contains("full_page_writes"), "{}", refused.stderr);
}
