//! WAL that retention leaves, and WAL that is copied: what a server comes back to.

use std::fs;

use testkit::postgres::{Postgres, installed};

use crate::point_in_time::{archive_into, back_up, say, server, wait_archived};
use crate::room::Room;

/// Rows of a server that was restored from `id` and recovers as far as it can.
fn rows(room: &Room, server: &Postgres, name: &str, from: &[&str], id: &str) -> String {
    let data = room.path(name);
    let restore = ["backup", "restore", id, "--to", data.to_str().unwrap()];
    room.run_as_server(server, &[from, &restore[..]].concat()).ok();
    let revived = room.revive(&data, server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    revived.psql("postgres", "SELECT string_agg(said, ',' ORDER BY id) FROM ledger")
}

#[test]
fn pitfall_19_a_copy_recovers_to_the_end_and_a_window_leaves_older_backups_their_own_end() {
    let room = Room::new();
    let server = server(&installed()[0]);
    archive_into(&room, &server);
    say(&server, "one");
    let first = back_up(&room, &server);
    say(&server, "two");
    wait_archived(&server);
    let [_, between, _] = say(&server, "three");
    wait_archived(&server);
    say(&server, "four");
    let second = back_up(&room, &server);
    say(&server, "five");
    wait_archived(&server);

    // The copy has a key of its own, and all that the oldest backup leads to.
    let other = room.path("other");
    let there = ["-r", other.to_str().unwrap()];
    room.run_as_server(&server, &[&there[..], &["init", "--no-recovery-key"]].concat()).ok();
    let copied = room.run_as_server(&server, &["copy", "--to", there[1], "--json"]).ok().text();
    let copied: serde_json::Value = serde_json::from_str(&copied).unwrap();
    assert_eq!(copied["copied"].as_array().unwrap().len(), 2, "{copied}");
    assert!(copied["wal"]["copied"].as_u64().unwrap() >= 4, "{copied}");
    assert_eq!(rows(&room, &server, "copied", &there, &first), "one,two,three,four,five");

    // Both are seconds old: with the first one every longer window begins.
    let forget = ["forget", "--keep-last", "1", "--keep-wal-within", "1h", "--dry-run"];
    let planned = room.run_as_server(&server, &forget).ok().text();
    let line = planned.lines().find(|line| line.contains(&first)).unwrap();
    assert!(line.contains("needed-by-the-recovery-window"), "{planned}");

    // As the configuration says, or the command.
    let removed = |more: &[&str]| {
        let prune = ["prune", "--cooling-off", "0h", "--json"];
        let done = room.run_as_server(&server, &[&prune[..], more].concat()).ok().text();
        let done: serde_json::Value = serde_json::from_str(&done).unwrap();
        done["wal"]["files"].as_u64().unwrap()
    };
    let config = room.path("mainstay.toml");
    let repository = room.path("repository").display().to_string();
    let configured = |url: &str, window: &str| {
        let text = format!(
            "[tenants.acme]\nrepository = {{ url = \"{url}\", password = \"${{MAINSTAY_PASSWORD}}\" }}\n\
             [tenants.acme.sources.cluster]\ncluster = \"postgresql:///\"\n\
             retention = {{ keep_last = 2, keep_wal_within = \"{window}\" }}\n"
        );
        fs::write(&config, text).unwrap();
        removed(&["--dry-run", "--config", config.to_str().unwrap()])
    };
    let before = configured(&repository, "1h");
    let between_them = configured(&repository, "0s");
    assert!(between_them >= before + 2, "{before} {between_them}");
    assert_eq!(
        configured("/nowhere", "0s"),
        before,
        "what is said of another repository is not said of this one"
    );
    assert_eq!(removed(&["--keep-wal-within", "0s"]), between_them);
    assert_eq!(removed(&["--keep-wal-within", "0s"]), 0);

    // What a later backup does without is no gap that alarms; what it lacks is said, and refused where it is needed.
    room.run_as_server(&server, &["wal", "status"]).ok();
    let nowhere = room.path("nowhere");
    let to = ["--to", nowhere.to_str().unwrap(), "--target-time", &between];
    let refused = room.run_as_server(&server, &[&["backup", "restore", &first], &to[..]].concat()).exits(6);
    assert!(refused.stderr.contains("the archive lacks"), "{}", refused.stderr);
    room.run_as_server(&server, &[&["backup", "restore", "acme/cluster"], &to[..]].concat()).exits(5);
    assert!(!nowhere.exists());
    assert_eq!(rows(&room, &server, "first", &[], &first), "one");
    assert_eq!(rows(&room, &server, "second", &[], &second), "one,two,three,four,five");
}

#[test]
fn every_place_that_gets_base_backups_gets_the_wal_behind_them() {
    let room = Room::new();
    let server = server(&installed()[0]);
    archive_into(&room, &server);
    let other = room.path("other");
    let there = ["-r", other.to_str().unwrap()];
    room.run_as_server(&server, &[&there[..], &["init", "--no-recovery-key"]].concat()).ok();
    let here = room.path("repository");
    let dests = ["--dest", here.to_str().unwrap(), "--dest", there[1], "--json"];
    let create = |place: &[&str]| -> serde_json::Value {
        let create = ["backup", "create", "acme", "--cluster"];
        let done = room.run_as_server(&server, &[&create[..], place].concat()).ok();
        serde_json::from_str(&done.text()).unwrap()
    };
    say(&server, "one");
    let first = create(&dests);
    let first = first["record"]["id"].as_str().unwrap();
    say(&server, "two");
    wait_archived(&server);
    let [_, behind_three, lsn] = say(&server, "three");
    let segment = server.psql(&format!("SELECT pg_walfile_name('{lsn}')"));
    wait_archived(&server);
    let copied = create(&dests);
    let copies = copied["copies"].as_array().unwrap();
    assert_eq!((copies.len(), &copies[0]["backups"]), (1, &1.into()), "{copied}");
    assert!(copies[0]["walFiles"].as_u64().unwrap() >= 2, "{copied}");
    room.run_as_server(&server, &[&there[..], &["wal", "status"]].concat()).ok();
    assert_eq!(rows(&room, &server, "copied", &there, first), "one,two,three");

    // Objects of a copy are of today; when what they hold was committed is in the log itself.
    let system_id = server.psql("SELECT system_identifier FROM pg_control_system()");
    fs::remove_file(other.join(format!("wal/{system_id}/00000001/{segment}"))).unwrap();
    let nowhere = room.path("nowhere");
    let restore =
        ["backup", "restore", first, "--to", nowhere.to_str().unwrap(), "--target-time", &behind_three];
    let refused = room.run_as_server(&server, &[&there[..], &restore[..]].concat()).exits(6);
    assert!(refused.stderr.contains(&format!("the archive lacks {segment}")), "{}", refused.stderr);
    assert!(!nowhere.exists());
}
