//! Base backups as they stream.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::lsn::Lsn;
use pg::base_backup::{BaseBackup, Finished, Kind, Options};
use pg::wire::Conversation;
use testkit::postgres::{Postgres, installed};

use crate::setting::{replication, revive, until};

/// Take a backup into `data`, with tablespaces beside it; what it was in the end, and its start.
pub(crate) fn take_into(server: &Postgres, data: &Path, options: &Options) -> (Finished, Lsn) {
    take_over(replication(server), data, options)
}

/// The same over this conversation.
pub(crate) fn take_over(talk: Conversation, data: &Path, options: &Options) -> (Finished, Lsn) {
    fs::create_dir(data).unwrap();
    let mut backup = BaseBackup::start(talk, options).unwrap();
    let start = backup.start_lsn();
    let spaces: Vec<PathBuf> =
        backup.tablespaces().iter().map(|space| Path::new("pg_tblspc").join(space.oid.to_string())).collect();
    fs::create_dir(data.join("pg_tblspc")).unwrap();
    for space in &spaces {
        let place = data.with_extension(space.file_name().unwrap());
        fs::create_dir(&place).unwrap();
        symlink(&place, data.join(space)).unwrap();
    }
    while let Some(mut entry) = backup.next_entry().unwrap() {
        let path = data.join(entry.path());
        match entry.kind().clone() {
            Kind::Directory => fs::create_dir_all(&path).unwrap(),
            Kind::Link(target) => panic!("{} -> {}", path.display(), target.display()),
            Kind::File(size) => {
                assert_eq!(entry.mode() & 0o177, 0, "{}", path.display());
                let mut file = File::create(&path).unwrap();
                // Both ways to read.
                let read = if size % 3 == 0 {
                    std::io::copy(&mut entry, &mut file).unwrap()
                } else {
                    let mut sum = 0;
                    while let Some(piece) = entry.next_piece().unwrap() {
                        file.write_all(&piece).unwrap();
                        sum += piece.len() as u64;
                    }
                    sum
                };
                assert_eq!(read, size, "{}", path.display());
            }
        }
    }
    let (finished, talk) = backup.finish().unwrap();
    talk.close();
    fs::write(data.join("backup_manifest"), &finished.manifest).unwrap();
    (finished, start)
}

/// Let pg_verifybackup judge, the WAL too. The one build of 18 that can be fetched has one that dies now and then.
fn verify(server: &Postgres, data: &Path) {
    if server.client().version().major() >= 18 {
        return testkit::means::lack("pg_verifybackup of PostgreSQL 18 dies at random here");
    }
    let program = server.client().bin_dir().join("pg_verifybackup");
    let output = Command::new(program).arg(data).env("LC_ALL", "C").output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&words));
}

fn with_tablespace(server: &Postgres) -> tempfile::TempDir {
    let place = tempfile::tempdir_in(server.socket_dir()).unwrap();
    let owner = fs::metadata(server.cluster().data_dir()).unwrap();
    use std::os::unix::fs::MetadataExt;
    chown(place.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
    fs::set_permissions(place.path(), PermissionsExt::from_mode(0o700)).unwrap();
    server.psql(&format!("CREATE TABLESPACE far LOCATION '{}'", place.path().display()));
    server.psql(
        "CREATE TABLE stays (x int) TABLESPACE far; INSERT INTO stays SELECT generate_series(1, 50000)",
    );
    place
}

#[test]
fn a_backup_under_load_is_what_pg_verifybackup_and_postgres_take() {
    for bin_dir in installed() {
        let server = Postgres::start_with_settings(&bin_dir, &[("max_wal_size", "64MB")]);
        let _place = with_tablespace(&server);
        server.psql("CREATE TABLE grows (x int)");
        let load = "INSERT INTO grows SELECT generate_series(1, 100);\n".repeat(2000);
        let session = server.session("postgres");
        let mut command = session.command(&server.client().program("psql"));
        let mut load_run = command.args(["-q"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = load_run.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            // It ends when psql does.
            input.write_all(load.as_bytes()).ok();
        });
        until("the load runs", || server.psql("SELECT count(*) > 1000 FROM grows") == "t");
        let home = tempfile::tempdir_in(server.socket_dir()).unwrap();
        let data = home.path().join("data");
        let (finished, start) = take_into(&server, &data, &Options::default());
        load_run.kill().unwrap();
        load_run.wait().unwrap();
        writer.join().unwrap();
        assert!(finished.stop > start && finished.timeline.0 == 1);
        verify(&server, &data);
        // The map says where tablespaces were; here they are links already.
        assert!(fs::read_to_string(data.join("tablespace_map")).unwrap().contains("mainstay-pg-"));
        fs::remove_file(data.join("tablespace_map")).unwrap();
        let restored = revive(&server, &data, &[]);
        assert_eq!(restored.psql("postgres", "SELECT sum(x) FROM stays"), "1250025000");
        let rows: u64 = restored.psql("postgres", "SELECT count(*) FROM grows").parse().unwrap();
        assert!(rows > 1000 && rows.is_multiple_of(100), "{rows}");
    }
}

#[test]
fn an_increment_is_what_changed_and_older_servers_say_that_they_have_none() {
    for bin_dir in installed() {
        let is_old = pg::client::Client::at(&bin_dir).unwrap().version().major() < 17;
        let settings: &[(&str, &str)] = if is_old { &[] } else { &[("summarize_wal", "on")] };
        let server = Postgres::start_with_settings(&bin_dir, settings);
        // Frozen, so that reading it changes nothing more.
        server.psql("CREATE TABLE large AS SELECT generate_series(1, 200000) x");
        server.psql("VACUUM FREEZE large");
        let home = tempfile::tempdir_in(server.socket_dir()).unwrap();
        let (full, _) = take_into(&server, &home.path().join("full"), &Options::default());
        server.psql("UPDATE large SET x = 0 WHERE x = 1");
        let options = Options { parent: Some(full.manifest), ..Options::default() };
        if is_old {
            let refused = BaseBackup::start(replication(&server), &options).err().unwrap();
            assert!(matches!(refused, pg::wire::WireError::TooOld(_)));
            continue;
        }
        let data = home.path().join("increment");
        take_into(&server, &data, &options);
        let node = server.psql("SELECT pg_relation_filepath('large')");
        let (room, name) = node.rsplit_once('/').unwrap();
        let increment = data.join(room).join(format!("INCREMENTAL.{name}"));
        assert!(fs::metadata(increment).unwrap().len() < 64 << 10);
    }
}

#[test]
fn a_death_of_the_server_ends_a_backup() {
    let server = Postgres::start();
    server.psql("CREATE TABLE large AS SELECT generate_series(1, 200000) x; CHECKPOINT");
    let options = Options { rate_kib_max: Some(256), ..Options::default() };
    let mut backup = BaseBackup::start(replication(&server), &options).unwrap();
    assert!(backup.next_entry().unwrap().is_some());
    let pid: i32 = server.psql("SELECT pid FROM pg_stat_replication WHERE state = 'backup'").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let error = loop {
        match backup.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a backup without an end has ended"),
            Err(error) => break error,
        }
    };
    assert!(error.is_passing(), "{error}");
    assert!(backup.finish().is_err());
}

#[test]
fn a_broken_page_is_warned_of_by_file_and_block_and_told_at_the_end() {
    for bin_dir in installed() {
        let server = Postgres::start_with_checksums(&bin_dir, &[]);
        server.psql("CREATE TABLE broken AS SELECT generate_series(1, 1000) x; CHECKPOINT");
        let name = server.psql("SELECT pg_relation_filepath('broken')");
        let file = server.cluster().data_dir().join(&name);
        let mut page = fs::read(&file).unwrap();
        page[8192 + 5000] ^= 1;
        fs::write(&file, page).unwrap();
        let mut backup = BaseBackup::start(replication(&server), &Options::default()).unwrap();
        let error = loop {
            match backup.next_entry() {
                Ok(found) => assert!(found.is_some(), "the broken page was not seen"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.sqlstate(), Some("XX001"), "{error}");
        let warnings = backup.take_warnings();
        let is_it = |words: &str| words.contains(&format!("{name}\", block 1:"));
        assert!(warnings.iter().any(|warning| is_it(&warning.message)), "{warnings:?}");
    }
}
