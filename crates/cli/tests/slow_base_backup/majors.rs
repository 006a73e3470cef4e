//! The road of a cluster on every major that is promised: each way in, each way back, and PostgreSQL's own programs as the
//! judges of each.
//!
//! A major that cannot be had on this machine is said, and is not taken for one that was judged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use testkit::means;
use testkit::postgres::{Postgres, of_major};
use testkit::program::Ran;
use testkit::revived::{Revived, give_to_owner_of};
use testkit::site::id_of;

use crate::load;
use crate::point_in_time::{archive_into, say, wait_archived};
use crate::room::Room;

#[test]
fn c21_a_cluster_of_13_goes_in_and_comes_back_on_every_road() {
    road_of(13);
}

#[test]
fn c21_a_cluster_of_14_goes_in_and_comes_back_on_every_road() {
    road_of(14);
}

#[test]
fn c21_a_cluster_of_15_goes_in_and_comes_back_on_every_road() {
    road_of(15);
}

#[test]
fn c21_a_cluster_of_16_goes_in_and_comes_back_on_every_road() {
    road_of(16);
}

#[test]
fn c21_a_cluster_of_17_goes_in_and_comes_back_on_every_road() {
    road_of(17);
}

#[test]
fn c21_a_cluster_of_18_goes_in_and_comes_back_on_every_road() {
    road_of(18);
}

fn road_of(major: u32) {
    let Some(bin_dir) = of_major(major) else {
        return means::lack(&format!("PostgreSQL {major} cannot be had here"));
    };
    let road = Road::new(&bin_dir);
    let first = road.back_up(&["--name", "main"], "full");
    let stream = ["--name", "streamed", "--via", "stream"];
    let told = |ran: &Ran| ran.stderr.contains("sends no increments");
    assert_eq!(told(&road.back_up(&stream, "full")), major < 17);
    road.server.psql(
        "UPDATE words SET word = 'changed' WHERE n % 500 = 7; INSERT INTO ledger (said) VALUES ('between')",
    );
    let streamed = road.back_up(&stream, if major >= 17 { "increment 1" } else { "full" });
    assert!(!told(&streamed), "it is told once: {}", streamed.stderr);
    let second = road.back_up(&["--name", "main"], "increment 1");
    road.server.psql_in("shop", "INSERT INTO orders VALUES (0, 'before')");
    let [_, time, _] = say(&road.server, "the mark");
    road.server.psql("DELETE FROM words; INSERT INTO ledger (said) VALUES ('after')");
    road.server.psql_in("shop", "DELETE FROM orders");
    wait_archived(&road.server);

    let (second, streamed) = (id_of(&second), id_of(&streamed));
    assert_ne!(id_of(&first), second);
    road.chain_comes_back_at(&second, &time);
    road.stream_comes_back(&streamed);
    road.one_table_comes_back_at(&time);
    road.one_database_comes_back_at(&time);
    road.restic_gives_what_postgresql_starts(&second);
    road.room.site.run(&["check"]).ok();
}

/// A server of one major that archives into a repository.
struct Road {
    room: Room,
    server: Postgres,
}

impl Road {
    fn new(bin_dir: &Path) -> Self {
        let (room, major) = (Room::new(), load::major_of(bin_dir));
        let mut settings = vec![("wal_level", "replica"), ("archive_mode", "on"), ("full_page_writes", "on")];
        if major >= 17 {
            settings.push(("summarize_wal", "on"));
        }
        let server = Postgres::start_with_checksums(bin_dir, &settings);
        server.psql("ALTER SYSTEM SET archive_command = '/bin/true'; SELECT pg_reload_conf()");
        server.psql("CREATE TABLE ledger (id serial PRIMARY KEY, said text)");
        load::fill_of_scale(&server, 1);
        for database in ["shop", "rescue"] {
            server.psql(&format!("CREATE DATABASE {database}"));
        }
        server.psql_in(
            "shop",
            "CREATE TABLE orders AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 3000) AS n",
        );
        let functions = match major {
            ..15 => "pg_start_backup(text, boolean, boolean), pg_stop_backup(boolean, boolean)",
            15.. => "pg_backup_start(text, boolean), pg_backup_stop(boolean)",
        };
        server.psql(&format!(
            "CREATE ROLE backup LOGIN REPLICATION PASSWORD 'b'; GRANT pg_read_all_settings TO backup;
             GRANT EXECUTE ON FUNCTION {functions} TO backup"
        ));
        archive_into(&room, &server);
        Self { room, server }
    }

    /// Back up as the server's user, and in the server as a role that has the rights that the book names; what was made is
    /// what was wanted.
    #[track_caller]
    fn back_up(&self, more: &[&str], wanted: &str) -> Ran {
        let create = ["backup", "create", "acme", "--cluster"];
        let program =
            load::program(&self.room.site, &self.server).with("PGUSER", "backup").with("PGPASSWORD", "b");
        let ran = self.room.run_as_server_by(program, &self.server, &[&create[..], more].concat()).ok();
        assert!(ran.stderr.contains(&format!("cluster: {wanted}")), "{}", ran.stderr);
        ran
    }

    /// Restore into a directory of that name.
    #[track_caller]
    fn restored(&self, name: &str, which: &str, more: &[&str]) -> PathBuf {
        let data = self.room.path(name);
        let restore = ["backup", "restore", which, "--to", data.to_str().unwrap()];
        self.room.run_as_server(&self.server, &[&restore[..], more].concat()).ok();
        data
    }

    /// Every page of a cluster that was shut down fits its checksum.
    #[track_caller]
    fn assert_pages(&self, revived: Revived, data: &Path) {
        revived.stop();
        load::judge(&self.server, "pg_checksums", &["--check", "-D", data.to_str().unwrap()]);
    }

    /// Full and increment, merged and recovered up to the mark: nothing that came after it, and all that came before.
    fn chain_comes_back_at(&self, id: &str, time: &str) {
        let data = self.restored("chain", id, &["--target-time", time]);
        let revived = self.room.revive(&data, &self.server);
        // 14 and later say `paused` themselves; this they all say.
        revived.wait_for("SELECT pg_is_wal_replay_paused()", "t");
        let ledger = "SELECT string_agg(said, ', ' ORDER BY id) FROM ledger";
        revived.wait_for(ledger, "between, the mark");
        revived.psql("postgres", "SELECT pg_promote()");
        load::assert_sound(&revived);
        assert_eq!(revived.psql("postgres", WORDS), "20000|40");
        assert_eq!(revived.psql("shop", "SELECT count(*) FROM orders"), "3001");
        self.assert_pages(revived, &data);
    }

    fn stream_comes_back(&self, id: &str) {
        let data = self.restored("streamed", id, &["--target", "immediate", "--target-action", "promote"]);
        // A chain that was merged has no manifest.
        if load::major(&self.server) < 17 {
            load::judge(&self.server, "pg_verifybackup", &["--exit-on-error", data.to_str().unwrap()]);
        }
        let revived = self.room.revive(&data, &self.server);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        load::assert_sound(&revived);
        assert_eq!(revived.psql("postgres", WORDS), "20000|40");
        self.assert_pages(revived, &data);
    }

    fn one_table_comes_back_at(&self, time: &str) {
        let work = self.room.path("work");
        fs::create_dir(&work).unwrap();
        give_to_owner_of(&work, &self.server);
        let restore = [
            "backup",
            "restore",
            "acme/main",
            "--table",
            "postgres.public.words",
            "--into-database",
            "rescue",
        ];
        let at = ["--target-time", time, "--work-dir", work.to_str().unwrap()];
        self.room.run_as_server(&self.server, &[&restore[..], &at].concat()).ok();
        assert_eq!(self.server.psql_in("rescue", WORDS), "20000|40");
        assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    }

    fn one_database_comes_back_at(&self, time: &str) {
        let at = ["--database", "shop", "--target-time", time, "--target-action", "promote"];
        let data = self.restored("shop", "acme/main", &at);
        let revived = self.room.revive(&data, &self.server);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        assert_eq!(
            revived.psql("shop", "SELECT count(*), count(*) FILTER (WHERE t = 'before') FROM orders"),
            "3001|1"
        );
    }

    /// The chain made a full backup, and on 17 and later the chain as it is, come back without mainstay.
    fn restic_gives_what_postgresql_starts(&self, id: &str) {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let whole = id_of(&self.room.run_as_server(&self.server, &["consolidate", id]).ok());
        let data = load::restored_by_restic(&self.room.site, &whole, place.path()).join("00");
        self.starts(&data);
        if load::major(&self.server) >= 17 {
            let place = tempfile::tempdir().unwrap();
            fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
            let chain = load::restored_by_restic(&self.room.site, id, place.path());
            let links = ["00", "01"].map(|link| chain.join(link).to_str().unwrap().to_owned());
            let data = place.path().join("combined");
            let [full, increment] = &links;
            load::judge(&self.server, "pg_combinebackup", &[full, increment, "-o", data.to_str().unwrap()]);
            self.starts(&data);
        }
    }

    #[track_caller]
    fn starts(&self, data: &Path) {
        load::judge(&self.server, "pg_verifybackup", &[data.to_str().unwrap()]);
        let revived = load::revive(data, &self.server);
        assert_eq!(revived.psql("postgres", WORDS), "20000|40");
        self.assert_pages(revived, data);
    }
}

const WORDS: &str = "SELECT count(*), count(*) FILTER (WHERE word = 'changed') FROM words";
