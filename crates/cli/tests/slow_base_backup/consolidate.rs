//! A chain of increments becomes a full backup, in the repository alone.

use testkit::postgres::installed;

use crate::load;
use crate::room::Room;

fn created(room: &Room, server: &testkit::postgres::Postgres) -> (String, String) {
    let ran = load::program(&room.site, server).run(&["backup", "create", "acme", "--cluster"]).ok();
    let said = ran.stderr.lines().find(|line| line.contains("cluster: ")).unwrap().to_owned();
    (testkit::site::id_of(&ran), said)
}

#[test]
fn a_chain_becomes_a_full_backup_that_postgresql_finds_whole_and_increments_rest_on() {
    for bin_dir in load::versions() {
        let (room, server) = (Room::new(), load::server(&bin_dir));
        load::fill(&server);
        load::back_up(&room.site, &server, &[]);
        server
            .psql("UPDATE words SET word = 'changed' WHERE n % 500 = 7; CREATE TABLE gone AS SELECT 1 AS n");
        load::back_up(&room.site, &server, &[]);
        server.psql("DELETE FROM words WHERE n > 15000; DROP TABLE gone; CREATE TABLE new AS SELECT 1 AS n");
        server.psql("VACUUM words");
        let third = load::back_up(&room.site, &server, &[]);
        let before = load::record(&room.site, &third);

        let planned = room.site.run(&["consolidate", &third, "--dry-run", "--json"]).ok();
        let planned: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
        assert_eq!(planned["madeOf"].as_array().unwrap().len(), 3, "{planned}");
        assert_eq!(room.site.ids().len(), 3, "a dry run makes nothing");

        let whole = testkit::site::id_of(&room.site.run(&["consolidate", &third]).ok());
        let record = load::record(&room.site, &whole);
        for same in ["createdAt", "startLsn", "stopLsn", "timeline", "source", "kind"] {
            assert_eq!(record[same], before[same], "{same}");
        }
        assert_eq!(record["label"], format!("consolidated from {third}"));
        let bytes =
            |record: &serde_json::Value, name: &str| record[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(bytes(&record, "sizeBytes") > 30_000_000, "{record}");
        assert!(
            bytes(&record, "storedBytes") * 5 < bytes(&record, "sizeBytes"),
            "what is there is not stored again: {record}"
        );
        let again = room.site.run(&["consolidate", &third]).ok();
        assert!(again.text().contains(&format!("consolidated already, as {whole}")), "{}", again.text());
        let full = room.site.run(&["consolidate", &whole]).ok();
        assert!(full.text().contains("is a full backup already"), "{}", full.text());

        // Stock restic and PostgreSQL's own judge, with nothing passed over.
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let chain = load::restored_by_restic(&room.site, &whole, place.path());
        assert_eq!(std::fs::read_dir(&chain).unwrap().count(), 1, "one link");
        let data = chain.join("00");
        load::judge(&server, "pg_verifybackup", &[data.to_str().unwrap()]);
        let revived = load::revive(&data, &server);
        let words = "SELECT count(*), count(*) FILTER (WHERE word = 'changed') FROM words";
        assert_eq!(revived.psql("postgres", words), "15000|30");
        revived.stop();

        // The next increment rests on it, and needs the others no more.
        server.psql("UPDATE words SET word = 'after' WHERE n = 1");
        let (next, said) = created(&room, &server);
        assert!(said.contains("increment 1"), "{said}");
        for old in room.site.ids().iter().filter(|id| **id != next && **id != whole) {
            room.site.run(&["backup", "delete", old]).ok();
        }
        room.site.run(&["prune", "--cooling-off", "0h", "--max-unused", "0"]).ok();
        let restored = room.path("restored");
        let to = ["--to", restored.to_str().unwrap(), "--target", "immediate", "--target-action", "promote"];
        let ran = room.restore(&server, &[&["backup", "restore", &next][..], &to].concat()).ok();
        assert!(ran.stderr.contains("chain of 2 links"), "{}", ran.stderr);
        let revived = room.revive(&restored, &server);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        load::assert_sound(&revived);
        assert_eq!(revived.psql("postgres", "SELECT word FROM words WHERE n = 1"), "after");
        room.site.assert_sound();
    }
}

#[test]
fn one_that_was_made_of_an_older_chain_is_not_taken_for_the_newest_backup() {
    let (room, server) = (Room::new(), load::server(&installed()[0]));
    load::back_up(&room.site, &server, &[]);
    let second = load::back_up(&room.site, &server, &[]);
    load::back_up(&room.site, &server, &[]);
    room.site.run(&["consolidate", &second]).ok();
    let (_, said) = created(&room, &server);
    assert!(said.contains("increment 3"), "{said}");
}
