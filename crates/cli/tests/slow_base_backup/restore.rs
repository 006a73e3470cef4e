//! Restores: what comes back is what PostgreSQL's own programs and servers find whole.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use testkit::postgres::{Postgres, installed};
use testkit::revived::give_to_owner_of;
use testkit::site::PASSWORD;

use crate::load::{self, Load};
use crate::room::Room;

/// A server with a tablespace in `space`, at work.
fn server_with_space(bin_dir: &Path, space: &Path) -> Postgres {
    let server = load::server(bin_dir);
    load::fill(&server);
    fs::create_dir(space).unwrap();
    give_to_owner_of(space, &server);
    server.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    server.psql(
        "CREATE TABLE there (n int) TABLESPACE fast; INSERT INTO there SELECT generate_series(1, 5000)",
    );
    server
}

/// Restored files that no server has touched.
#[track_caller]
fn assert_untouched_is_whole(server: &Postgres, data: &Path) {
    load::judge(server, "pg_verifybackup", &["--exit-on-error", data.to_str().unwrap()]);
}

/// Owner, group and mode of everything below `restored`, as far as `living` has it still.
#[track_caller]
fn assert_belongs_as_it_did(restored: &Path, living: &Path) {
    let of = |path: &Path| {
        let about = fs::symlink_metadata(path).ok()?;
        (!about.is_symlink()).then(|| (about.uid(), about.gid(), about.mode()))
    };
    let (mut folders, mut compared) = (vec![restored.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let (inside, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir() && !path.is_symlink());
        for path in files.iter().chain([&folder]) {
            let below = path.strip_prefix(restored).unwrap();
            if let Some(expected) = of(&living.join(below)) {
                assert_eq!(of(path), Some(expected), "{}", below.display());
                compared += 1;
            }
        }
        folders.extend(inside);
    }
    assert!(compared > 1, "{compared} of {} were compared", restored.display());
}

#[test]
fn c21_a_cluster_under_load_comes_back_whole_with_its_tablespace_elsewhere() {
    for bin_dir in load::versions() {
        let room = Room::new();
        let space = room.path("fast");
        let server = server_with_space(&bin_dir, &space);
        let busy = Load::start(&server);
        server.psql("CREATE TABLE young AS SELECT generate_series(1, 2000) AS n; DROP TABLE young");
        load::back_up(&room.site, &server, &[]);
        drop(busy);
        let (data, moved) = (room.path("restored"), room.path("moved"));
        let mapping = format!("{}={}", space.display(), moved.display());
        let restore = ["backup", "restore", "acme/cluster", "--to", data.to_str().unwrap()];
        let whole = ["--target", "immediate", "--target-action", "promote"];

        // Where the tablespace was, the original still is.
        let refused = room.restore(&server, &[&restore[..], &whole].concat()).exits(6);
        assert!(
            refused.stderr.contains("is not empty") && refused.stderr.contains("--tablespace"),
            "{}",
            refused.stderr
        );
        assert!(!data.exists(), "refused before anything was made");
        let yes = format!("--yes={}", data.display());
        room.restore(&server, &[&restore[..], &whole, &["--delta", &yes]].concat()).exits(6);
        assert_eq!(
            server.psql("SELECT count(*) FROM there"),
            "5000",
            "the living tablespace was written over"
        );

        let ran = room.restore(&server, &[&restore[..], &whole, &["--tablespace", &mapping]].concat()).ok();
        assert!(ran.stderr.contains(&format!("PostgreSQL {}", load::major(&server))), "{}", ran.stderr);
        assert_eq!(
            fs::read_link(data.join("pg_tblspc").read_dir().unwrap().next().unwrap().unwrap().path())
                .unwrap(),
            moved
        );
        assert_untouched_is_whole(&server, &data);
        assert_belongs_as_it_did(&data, &server.cluster().data_dir());
        assert_belongs_as_it_did(&moved, &space);
        give_to_owner_of(&moved, &server);
        let revived = room.revive(&data, &server);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        load::assert_sound(&revived);
        assert_eq!(revived.psql("postgres", "SELECT count(*), sum(n) FROM there"), "5000|12502500");
        assert_eq!(revived.psql("postgres", "SHOW archive_mode"), "off");
        revived.stop();
        if load::major(&server) >= 18 {
            load::judge(&server, "pg_checksums", &["--check", "-D", data.to_str().unwrap()]);
        }
        assert_eq!(
            server.psql("SELECT count(*) FROM there"),
            "5000",
            "the original has nothing to do with it"
        );
    }
}

#[test]
fn increments_come_back_as_one_cluster_whoever_chose_the_pages() {
    for bin_dir in load::versions() {
        let room = Room::new();
        let server = load::server(&bin_dir);
        load::fill(&server);
        load::back_up(&room.site, &server, &[]);
        server
            .psql("UPDATE words SET word = 'changed' WHERE n % 500 = 7; CREATE TABLE gone AS SELECT 1 AS n");
        load::back_up(&room.site, &server, &[]);
        server.psql("DELETE FROM words WHERE n > 15000; DROP TABLE gone; CREATE TABLE new AS SELECT 1 AS n");
        server.psql("VACUUM words");
        let busy = Load::start(&server);
        let third = load::back_up(&room.site, &server, &[]);
        drop(busy);
        let data = room.path("restored");
        let place = data.to_str().unwrap();
        let restore = [
            "backup",
            "restore",
            &third,
            "--to",
            place,
            "--target",
            "immediate",
            "--target-action",
            "promote",
        ];
        let ran = room.restore(&server, &restore).ok();
        assert!(ran.stderr.contains("chain of 3 links"), "{}", ran.stderr);
        let revived = room.revive(&data, &server);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        load::assert_sound(&revived);
        let words = "SELECT count(*), count(*) FILTER (WHERE word = 'changed') FROM words";
        assert_eq!(revived.psql("postgres", words), "15000|30");
        assert_eq!(
            revived.psql("postgres", "SELECT count(*) FROM pg_class WHERE relname IN ('gone', 'new')"),
            "1"
        );
        if load::major(&server) >= 18 {
            revived.stop();
            load::judge(&server, "pg_checksums", &["--check", "-D", place]);
        }
    }
}

#[test]
fn a_delta_restore_mends_what_differs_and_removes_what_is_not_in_the_backup() {
    let room = Room::new();
    let server = load::server(&installed()[0]);
    load::fill(&server);
    let file = server.psql("SELECT pg_relation_filepath('words')");
    let id = load::back_up(&room.site, &server, &[]);
    let data = room.path("restored");
    let place = data.to_str().unwrap().to_owned();
    let restore = ["backup", "restore", &id, "--to", &place, "--target", "immediate"];
    room.restore(&server, &restore).ok();
    let damaged = fs::read(data.join(&file)).unwrap();
    fs::write(data.join(&file), [&b"rotten"[..], &damaged[6..], b"longer"].concat()).unwrap();
    fs::remove_file(data.join("global/1262")).unwrap();
    fs::write(data.join("base/stray"), "not in the backup").unwrap();
    room.restore(&server, &restore).exits(6);
    let delta = [&restore[..], &["--delta"]].concat();
    let asked = room.restore(&server, &delta).exits(6);
    assert!(asked.stderr.contains(&format!("--yes={place}")), "{}", asked.stderr);
    assert!(data.join("base/stray").exists(), "nothing is touched before the name was given");
    let yes = format!("--yes={place}");
    room.restore(&server, &[&delta[..], &[&yes]].concat()).ok();
    assert!(!data.join("base/stray").exists());
    assert_untouched_is_whole(&server, &data);
}

/// PostgreSQL makes such a tablespace anew while it replays, at the place that the original uses.
#[test]
fn pitfall_17_a_tablespace_that_the_original_made_since_is_not_replayed_beside_it() {
    let room = Room::new();
    let server = load::server(&installed()[0]);
    let id = load::back_up(&room.site, &server, &[]);
    let space = room.path("new");
    fs::create_dir(&space).unwrap();
    give_to_owner_of(&space, &server);
    server.psql(&format!("CREATE TABLESPACE new LOCATION '{}'", space.display()));
    server.psql("CREATE TABLE there (n int) TABLESPACE new; INSERT INTO there VALUES (7)");
    let data = room.path("restored");
    let restore = ["backup", "restore", &id, "--to", data.to_str().unwrap()];
    let refused = room.restore(&server, &restore).exits(6);
    let words = format!("in {} was made behind this backup", space.display());
    assert!(refused.stderr.contains(&words) && refused.stderr.contains("immediate"), "{}", refused.stderr);
    assert!(!data.exists(), "nothing was made");
    room.restore(&server, &[&restore[..], &["--target", "immediate"]].concat()).ok();
    assert_eq!(server.psql("SELECT n FROM there"), "7");
    // A newer backup knows it.
    let id = load::back_up(&room.site, &server, &[]);
    let (data, moved) = (room.path("later"), format!("{}={}", space.display(), room.path("moved").display()));
    room.restore(
        &server,
        &["backup", "restore", &id, "--to", data.to_str().unwrap(), "--tablespace", &moved],
    )
    .ok();
}

/// What the plan says, and that it changes nothing.
#[test]
fn a_dry_run_shows_the_plan_and_makes_nothing() {
    let room = Room::new();
    let server = load::server(&installed()[0]);
    let id = load::back_up(&room.site, &server, &[]);
    let data = room.path("restored");
    let restore = ["--json", "backup", "restore", &id, "--to", data.to_str().unwrap(), "--dry-run"];
    let ran = room.restore(&server, &restore).ok();
    let plan: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(plan["serverVersion"], load::major(&server));
    assert_eq!(plan["serverDirectory"], server.client().bin_dir().to_str().unwrap());
    assert_eq!(plan["dryRun"], true);
    assert!(plan["sizeBytes"].as_str().unwrap().parse::<u64>().unwrap() > 10 << 20, "{plan}");
    assert_eq!(plan["settings"]["archive_mode"], "off");
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let (fetched, place) = (number(&plan["fetchBytes"]), &plan["places"][0]);
    assert!(fetched > 1 << 20 && fetched < number(&plan["sizeBytes"]), "{plan}");
    assert!(
        number(&place["freeBytes"]) > number(&place["sizeBytes"]) && place["overwrites"] == false,
        "{plan}"
    );
    // Nothing is archived: it ends where the backup does, and nothing is missing behind it.
    assert_eq!((&plan["walUntil"], &plan["walGap"]), (&plan["stopLsn"], &serde_json::Value::Null), "{plan}");
    assert!(!data.exists());
    assert!(!ran.text().contains(PASSWORD), "the password is in no setting");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("precious"), "mine").unwrap();
    let ran = room.restore(&server, &[&restore[..], &["--delta"]].concat()).ok();
    let plan: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(plan["places"][0]["overwrites"], true, "{plan}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
}
