//! What must not become a backup, and what must be told.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::means;
use testkit::postgres::{Postgres, installed};
use testkit::program::Program;
use testkit::revived::{Revived, give_to_owner_of};
use testkit::site::{Site, id_of};
use testkit::strace::{self, Fault};

use crate::load::{self, Load};
use crate::room::Room;
use crate::site;

#[test]
fn pitfall_21_a_page_that_does_not_fit_its_checksum_is_named_and_the_backup_counts_for_nothing() {
    let server = Postgres::start_with_checksums(&installed()[0], &[("wal_level", "replica")]);
    assert_eq!(server.psql("SHOW data_checksums"), "on");
    load::fill_of_scale(&server, 1);
    let file = server.psql("SELECT pg_relation_filepath('words')");
    // From here on the server has no reason to write it again.
    server.psql("VACUUM words; CHECKPOINT");
    let site = site();
    let create = |more: &[&str]| {
        load::program(&site, &server).run(&[&["backup", "create", "acme", "--cluster"], more].concat())
    };
    // A file that was made so shortly before a backup is taken whole the next time.
    std::thread::sleep(Duration::from_secs(3));
    let good = id_of(&create(&[]).ok());

    let path = server.cluster().data_dir().join(&file);
    let sound = std::fs::read(&path).unwrap();
    let words = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Of the first the position is from before the good backup; the second is something else altogether, and says of itself that
    // it was changed where the log has never been; the third looks at first like a page that was never written.
    words.write_all_at(b"rotten", 5 * 8192 + 4000).unwrap();
    words.write_all_at(&[b'x'; 8192], 6 * 8192).unwrap();
    words.write_all_at(&[0, 0], 7 * 8192 + 14).unwrap();
    for kind in ["increment 1,", "full,"] {
        let ran = create(&[]).exits(3);
        for page in 5..8 {
            let named = format!("page {page} of {file} does not fit its checksum");
            assert!(ran.stderr.contains(&named), "{}", ran.stderr);
        }
        assert_eq!(ran.stderr.matches("does not fit").count(), 3, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("cluster: {kind}")), "{}", ran.stderr);
        assert_eq!(load::record(&site, &site.ids()[0])["incomplete"], true);
        let is_told = ran.stderr.contains("the backup before is incomplete, so this backup is a full one");
        assert_eq!(is_told, kind == "full,", "{}", ran.stderr);
    }

    // A server that sends its files does not ask for positions that cannot be, names what it finds, and there is no backup.
    let before = site.ids();
    let ran = create(&["--via", "stream"]).exits(1);
    let named = format!("checksum verification failed in file \"./{file}\", block 5");
    assert!(ran.stderr.contains(&named) && ran.stderr.contains("--via local"), "{}", ran.stderr);
    assert_eq!(site.ids(), before);

    // However many bad ones came since, the good one is the last that counts.
    let forget = || site.run(&["forget", "--keep-last", "1"]).ok();
    forget();
    assert_eq!(site.ids(), before, "what is newer than it stays, too");
    std::fs::write(&path, sound).unwrap();
    let ran = create(&[]).ok();
    assert!(ran.stderr.contains("cluster: full,"), "{}", ran.stderr);
    forget();
    assert_eq!(site.ids(), [id_of(&ran)], "{good} was the last good one until now");
}

#[test]
fn pitfall_13_a_killed_backup_leaves_nothing_and_the_next_one_is_whole() {
    if !strace::is_permitted() {
        return;
    }
    let server = load::server(&installed()[0]);
    load::fill(&server);
    let site = site();
    let command = ["backup", "create", "acme", "--cluster"];
    for nth in [1, 2] {
        let faulted = Fault::kill("linkat").nth(nth).run(&load::program(&site, &server), &command);
        assert!(faulted.ran.code != Some(0), "it was not killed");
        assert!(site.ids().is_empty(), "a killed backup is seen");
    }
    // Backup mode ends with its session.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainstay' AND pid <> pg_backend_pid()";
    until("the session ends", || server.psql(sessions) == "0");
    let slots = "SELECT count(*) FROM pg_replication_slots";
    until("the slot goes with it", || server.psql(slots) == "0");
    let id = load::back_up(&site, &server, &[]);
    assert_whole(&site, &server, &id);
    site.assert_sound();
}

#[test]
fn what_a_killed_backup_has_stored_is_not_sent_again() {
    let server = load::server(&installed()[0]);
    // Forty megabytes that nothing compresses.
    server.psql(
        "CREATE TABLE noise AS SELECT n, (SELECT string_agg(sha512(convert_to(n || ' ' || m, 'UTF8')), ''::bytea) \
         FROM generate_series(1, 30) AS m) AS bytes FROM generate_series(1, 20000) AS n; CHECKPOINT",
    );
    let noise: u64 = server.psql("SELECT pg_table_size('noise')").parse().unwrap();
    assert!(noise > 38 << 20, "{noise}");
    let site = site();
    let stored = || {
        let below = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        let packs = below(site.repository().join("data")).flat_map(|folder| below(folder.path()));
        packs.map(|pack| pack.metadata().map_or(0, |about| about.len())).sum::<u64>()
    };
    let slowly = ["backup", "create", "acme", "--cluster", "--rate-kib-max", "4096"];
    let mut killed = load::program(&site, &server).start(&slowly);
    until("more than half of it is stored", || stored() > noise / 2);
    killed.kill().unwrap();
    assert!(!killed.wait().unwrap().success(), "it was over before it was killed");
    assert!(site.ids().is_empty());
    let id = load::back_up(&site, &server, &[]);
    // The server's own catalogs and the WAL of the backup are small, and one pack may have been on its way; what was stored by
    // then once more would be two packs.
    let (limit, stored) = (noise + (24 << 20), stored());
    assert!(stored < limit, "{stored} bytes are stored of {noise}, at most {limit} were expected");
    site.run(&["backup", "verify", &id]).ok();
    site.assert_sound();
}

#[test]
fn pitfall_16_a_backup_whose_session_ends_is_none() {
    let room = Room::new();
    let server = load::server(&installed()[0]);
    load::fill_of_scale(&server, 1);
    // What a capture of the files alone gave as zeros: how far a replica has come.
    server.psql(
        "SELECT pg_replication_origin_create('far'); SELECT pg_replication_origin_advance('far', '0/1234ABCD'); CHECKPOINT",
    );
    let slowly = ["backup", "create", "acme", "--cluster", "--via", "local", "--rate-kib-max", "5120"];
    let running = load::program(&room.site, &server).start(&slowly);
    // Backup mode has begun, and nothing more was asked: files are read.
    let session = "FROM pg_stat_activity JOIN pg_replication_slots ON active_pid = pid \
         WHERE slot_name LIKE 'mainstay\\_%' AND state = 'idle' AND query LIKE '%pg_replication_slots WHERE active_pid%'";
    until("it reads", || server.psql(&format!("SELECT count(*) {session}")) == "1");
    server.psql(&format!("SELECT pg_terminate_backend(pid) {session}"));
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(room.site.ids().is_empty(), "what was read without backup mode is a backup");
    until("the slot goes with it", || server.psql("SELECT count(*) FROM pg_replication_slots") == "0");

    let id = load::back_up(&room.site, &server, &[]);
    let data = room.path("restored");
    let to = ["--to", data.to_str().unwrap(), "--target", "immediate", "--target-action", "promote"];
    room.restore(&server, &[&["backup", "restore", &id][..], &to].concat()).ok();
    let revived = room.revive(&data, &server);
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    let far = "SELECT external_id, remote_lsn FROM pg_show_replication_origin_status()";
    assert_eq!(revived.psql("postgres", far), "far|0/1234ABCD");
}

#[test]
fn a_server_that_archives_nothing_is_told_of_and_the_backup_is_none_the_worse() {
    let server = load::server_with(&installed()[0], &[("archive_mode", "on"), ("archive_command", "false")]);
    let site = site();
    let create = ["backup", "create", "acme", "--cluster"];
    let program = load::program(&site, &server);
    let ran = program.run(&create).ok().says("the server does not archive its WAL: 0000000100000000");
    let waits = ran.stderr.lines().find(|line| line.contains("cluster: full,")).unwrap();
    assert!(waits.contains(" s for the checkpoint, ") && waits.contains(" s for the archiver"), "{waits}");
}

#[test]
fn pitfall_14_relations_that_come_and_go_meanwhile_harm_nothing() {
    let server = load::server(&installed()[0]);
    load::fill(&server);
    let (site, place) = (site(), tempfile::tempdir().unwrap());
    let busy = Load::of_tables(&server, place.path());
    let full = load::back_up(&site, &server, &[]);
    let increment = load::back_up(&site, &server, &[]);
    drop(busy);
    assert_whole(&site, &server, &full);
    assert_ne!(full, increment);
    let chain = tempfile::tempdir().unwrap();
    let links = load::restored_by_restic(&site, &increment, chain.path());
    load::judge(&server, "pg_verifybackup", &["-n", links.join("01").to_str().unwrap()]);
}

#[test]
fn pitfall_15_a_page_that_changed_under_an_old_time_is_taken() {
    let server = load::server(&installed()[0]);
    load::fill(&server);
    let site = site();
    load::back_up(&site, &server, &[]);
    let path = server.cluster().data_dir().join(server.psql("SELECT pg_relation_filepath('words')"));
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    server.psql("UPDATE words SET word = 'changed' WHERE n = 7; CHECKPOINT");
    // Whoever turns the time of a file back cannot turn back when its inode changed.
    std::fs::File::open(&path).unwrap().set_modified(before).unwrap();
    let id = load::back_up(&site, &server, &[]);
    let chain = tempfile::tempdir().unwrap();
    let link = load::restored_by_restic(&site, &id, chain.path()).join("01");
    let (name, database) = (path.file_name().unwrap(), path.parent().unwrap().file_name().unwrap());
    let folder = link.join("base").join(database);
    // A file that is as young as the backup before is taken whole.
    let partly = std::fs::read(folder.join(format!("INCREMENTAL.{}", name.to_str().unwrap())));
    let bytes = partly.or_else(|_| std::fs::read(folder.join(name))).unwrap();
    assert!(bytes.windows(7).any(|seven| seven == b"changed"), "the page is not in the increment");
}

#[test]
fn an_increment_needs_the_mark_that_the_backup_before_left_in_the_directory() {
    let server = load::server(&installed()[0]);
    let site = site();
    let back_up = || {
        let ran = load::program(&site, &server).run(&["backup", "create", "acme", "--cluster"]).ok();
        ran.stderr.lines().find(|line| line.contains("cluster: ")).unwrap().to_owned()
    };
    assert!(back_up().contains("full"));
    assert!(back_up().contains("increment 1"));
    let mark = server.cluster().data_dir().join("mainstay.marker");
    let before = std::fs::read(&mark).unwrap();
    assert!(back_up().contains("increment 2"));
    // The machine is turned back to where it was before the last backup.
    std::fs::write(&mark, before).unwrap();
    assert!(back_up().contains("full"), "an increment against a history that is no more");
    assert!(back_up().contains("increment 1"));
    // Whoever wants all of it gets it, where an increment was possible.
    let create = ["backup", "create", "acme", "--cluster", "--full"];
    assert!(load::program(&site, &server).run(&create).ok().stderr.contains("cluster: full,"));
}

#[test]
fn nothing_rests_on_a_chain_of_which_a_verification_failed() {
    let server = load::server(&installed()[0]);
    let site = site();
    let back_up = || load::program(&site, &server).run(&["backup", "create", "acme", "--cluster"]).ok();
    let first = id_of(&back_up());
    assert!(back_up().stderr.contains("cluster: increment 1,"));
    // What is wrong in a pack of the first link is so in all that rests on it, also where nobody has looked at these.
    let packs = site.files().into_iter().filter(|(name, _)| name.starts_with("data/"));
    let (name, sound) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let pack = site.repository().join(name);
    let mut broken = sound.clone();
    broken[sound.len() / 2] ^= 1;
    std::fs::write(&pack, broken).unwrap();
    site.run(&["backup", "verify", &first]).exits(4);
    std::fs::write(&pack, sound).unwrap();
    let ran = back_up();
    assert!(
        ran.stderr.contains("cluster: full,")
            && ran
                .stderr
                .contains(&format!("the verification of {first}, which it would rest on, has failed")),
        "{}",
        ran.stderr
    );

    // Nobody knows what a snapshot is of that cannot be read, and a backup is made all the same.
    let snapshots = || site.files().into_iter().filter(|(name, _)| name.starts_with("snapshots/"));
    let before: Vec<String> = snapshots().map(|(name, _)| name).collect();
    assert!(back_up().stderr.contains("cluster: increment 1,"));
    let (name, mut bytes) = snapshots().find(|(name, _)| !before.contains(name)).unwrap();
    bytes[40] ^= 1;
    std::fs::write(site.repository().join(&name), bytes).unwrap();
    // As on the day after: those of the last hour are looked at for the id of the new one.
    let now = std::time::SystemTime::now();
    for (one, _) in snapshots() {
        let hours = if one == name { 20 } else { 40 };
        let file = std::fs::File::options().write(true).open(site.repository().join(one)).unwrap();
        file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
    }
    let ran = back_up();
    let is_told = ran.stderr.contains("the backup before is damaged: ");
    assert!(ran.stderr.contains("cluster: full,") && is_told, "{}", ran.stderr);
    assert!(back_up().stderr.contains("cluster: increment 1,"));
}

#[test]
fn pitfall_15_a_database_that_was_dropped_and_copied_anew_under_its_number_is_taken_whole() {
    let server = load::server(&installed()[0]);
    let site = site();
    let make = "CREATE DATABASE again OID 90000 STRATEGY file_copy";
    server.psql(make);
    // What was made so shortly before a backup is doubtful, and taken whole the next time: also a new server's databases.
    std::thread::sleep(std::time::Duration::from_secs(4));
    load::back_up(&site, &server, &[]);
    server.psql("DROP DATABASE again");
    server.psql(make);
    let id = load::back_up(&site, &server, &[]);
    let place = tempfile::tempdir().unwrap();
    let link = load::restored_by_restic(&site, &id, place.path()).join("01");
    let names = |database: &str| -> Vec<String> {
        let listed = std::fs::read_dir(link.join("base").join(database)).unwrap().flatten();
        listed.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let partly = |names: &[String]| names.iter().filter(|name| name.starts_with("INCREMENTAL.")).count();
    assert_eq!(partly(&names("90000")), 0, "pages of a database that is no more would come back");
    assert!(partly(&names("1")) > 50, "that of another one is an increment");
}

#[test]
fn a_role_with_the_rights_that_the_book_names_is_enough_with_replication_or_without() {
    let server = load::server(&installed()[0]);
    load::fill(&server);
    let site = site();
    server.psql(
        "CREATE ROLE backup LOGIN PASSWORD 'b'; GRANT pg_read_all_settings TO backup; \
         GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO backup",
    );
    let program = load::program(&site, &server).with("PGUSER", "backup").with("PGPASSWORD", "b");
    let create = ["backup", "create", "acme", "--cluster", "--via", "local", "--full"];
    let without = id_of(&program.run(&create).ok());
    assert_whole(&site, &server, &without);
    server.psql("ALTER ROLE backup REPLICATION");
    assert_whole(&site, &server, &id_of(&program.run(&create).ok()));
}

/// Another server's data directory at the path that the primary's has on its own machine.
#[test]
fn the_data_directory_of_a_standby_is_not_taken_for_its_primarys() {
    if !means::is_root("mount one directory over another") {
        return;
    }
    let server = load::server_with(&installed()[0], &[("full_page_writes", "on")]);
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = copy_of(&server, place.path());
    let _standby = Revived::start(&data, &server, &[("full_page_writes", "on")]);
    let site = site();
    let hidden = Program::new("unshare")
        .with("HOME", site.path())
        .with("MAINSTAY_PASSWORD", testkit::site::PASSWORD)
        .with("MAINSTAY_REPOSITORY", site.repository())
        .with("MAINSTAY_PG_BIN_DIR", server.client().bin_dir());
    let script = format!(
        "mount --bind {} {} && exec {} backup create acme --cluster --via local",
        data.display(),
        server.cluster().data_dir().display(),
        env!("CARGO_BIN_EXE_mainstay")
    );
    let ran = testkit::site::at_server(hidden, &server).run(&["-m", "sh", "-c", &script]);
    ran.exits(2).says("cannot be read on this machine");
    assert!(site.ids().is_empty());
}

/// A standby's data directory, made by pg_basebackup.
pub(crate) fn copy_of(server: &Postgres, place: &Path) -> PathBuf {
    let data = place.join("standby");
    let mut command = std::process::Command::new(server.client().program("pg_basebackup"));
    command.envs(load::pgbench(server).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = command.args(["-R", "-c", "fast", "-D"]).arg(&data).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    give_to_owner_of(&data, server);
    data
}

#[test]
fn pitfall_12_a_standby_is_backed_up_and_is_the_same_cluster() {
    let settings = [("full_page_writes", "on")];
    let server = load::server_with(&installed()[0], &settings);
    load::fill(&server);
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = copy_of(&server, place.path());
    let standby = Revived::start(&data, &server, &settings);
    assert_eq!(standby.psql("postgres", "SELECT pg_is_in_recovery()"), "t");
    let busy = Load::start(&server);
    let site = site();
    let program = load::program(&site, &server).with("PGPORT", standby.port().to_string());
    let id = id_of(&program.run(&["backup", "create", "acme", "--cluster", "--via", "local"]).ok());
    drop(busy);
    standby.stop();
    assert_whole(&site, &server, &id);
    // What comes back of it is a server of its own, and no standby of the one that lives.
    let to = place.path().join("back");
    let restore = ["backup", "restore", &id, "--to", to.to_str().unwrap()];
    site.program().with("MAINSTAY_NO_AGENT", "1").run(&restore).ok();
    assert!(to.join("recovery.signal").exists() && !to.join("standby.signal").exists());
    let conf = std::fs::read_to_string(to.join("postgresql.auto.conf")).unwrap();
    assert!(conf.trim_end().lines().any(|line| line == "primary_conninfo = ''"), "{conf}");
}

/// PostgreSQL finds nothing wrong with what restic restores of it, and starts on it.
#[track_caller]
fn assert_whole(site: &Site, server: &Postgres, id: &str) {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = load::restored_by_restic(site, id, place.path()).join("00");
    load::judge(server, "pg_verifybackup", &[data.to_str().unwrap()]);
    for signal in ["standby.signal", "recovery.signal"] {
        std::fs::remove_file(data.join(signal)).ok();
    }
    load::revive(&data, server).stop();
}

/// Wait until it holds.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
