//! Chains of PostgreSQL's own incremental backups.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use engine::EngineError;
use engine::restore_cluster::ClusterOrder;
use pg::control_file::{CONTROL_FILE, ControlFile};
use testkit::postgres::{Postgres, installed};
use testkit::revived::{Revived, give_to_owner_of};

use super::files_world::World;
use super::{base_backup, contents, order, restored, run, store, store_again, with_increments};

const LOAD: &str = "CREATE TABLE ledger (id serial PRIMARY KEY, amount int NOT NULL);
    CREATE INDEX ON ledger (amount);
    CREATE TABLE cut AS SELECT n, repeat('x', 500) AS t FROM generate_series(1, 4000) AS n;
    CREATE TABLE gone AS SELECT generate_series(1, 1000) AS n;
    INSERT INTO ledger (amount) SELECT n % 100 FROM generate_series(1, 30000) AS n;";

/// Everything that a relation can do between two backups.
fn change(server: &Postgres, round: u32) {
    server.psql(&format!(
        "UPDATE ledger SET amount = amount + 1 WHERE id % 997 = {round};
         DELETE FROM cut WHERE n > {};
         INSERT INTO ledger (amount) SELECT n FROM generate_series(1, 500) AS n;
         CREATE TABLE new_{round} AS SELECT generate_series(1, 3000) AS n;",
        3000 / round
    ));
    server.psql("VACUUM cut");
    if round == 2 {
        // What was cut to nothing grows again.
        server.psql("TRUNCATE gone; INSERT INTO gone SELECT generate_series(1, 50); DROP TABLE new_1");
        server.psql("INSERT INTO cut SELECT n, repeat('y', 500) FROM generate_series(10000, 10900) AS n");
    }
    server.psql("CHECKPOINT");
}

#[test]
fn a_chain_is_merged_to_what_pg_combinebackup_makes_of_it() {
    for bin_dir in with_increments() {
        let settings = [("summarize_wal", "on"), ("wal_level", "replica"), ("autovacuum", "off")];
        let server = Postgres::start_with_settings(&bin_dir, &settings);
        let mut world = World::new();
        let link = |number: u32| world.data().join(format!("chain/{number:02}"));
        std::fs::create_dir(world.data().join("chain")).unwrap();
        server.psql(LOAD);
        base_backup(&server, &link(0), None);
        for round in 1..=3 {
            change(&server, round);
            base_backup(&server, &link(round), Some(&link(round - 1)));
        }
        let rows = server.psql("SELECT count(*), sum(amount) FROM ledger");
        let combined = world.path("combined");
        run(Command::new(bin_dir.join("pg_combinebackup"))
            .args(["--no-sync", "--output"])
            .arg(&combined)
            .args((0..=3).map(link)));

        let record = store(&mut world, 4, server.client().version().major());
        let to = world.path("restored");
        let report = restored(&world, &record, &order(&to, vec![])).unwrap();
        assert!(report.bytes > 8 << 20, "{report:?}");
        let (mut ours, mut theirs) = (contents(&to), contents(&combined));
        assert!(ours.remove(Path::new("recovery.signal")).is_some());
        for name in ["postgresql.auto.conf", "backup_manifest"] {
            ours.remove(Path::new(name));
            theirs.remove(Path::new(name));
        }
        // No server starts from a checkpoint that the file has, but from that of the label.
        let control = |tree: &mut std::collections::BTreeMap<PathBuf, (u32, Vec<u8>)>| {
            ControlFile::parse(&tree.remove(Path::new(CONTROL_FILE)).unwrap().1).unwrap()
        };
        let (own, other) = (control(&mut ours), control(&mut theirs));
        assert_eq!(ControlFile { checkpoint: other.checkpoint, ..own }, other);
        let names = |tree: &std::collections::BTreeMap<_, _>| {
            tree.keys().cloned().collect::<Vec<std::path::PathBuf>>()
        };
        assert_eq!(names(&ours), names(&theirs));
        for (name, content) in &ours {
            assert!(*content == theirs[name], "{} differs", name.display());
        }
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);

        give_to_owner_of(&to, &server);
        open_up(&world);
        let revived = Revived::start(&to, &server, &[]);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        assert_eq!(revived.psql("postgres", "SELECT count(*), sum(amount) FROM ledger"), rows);
        // What is built for other distributions has no contrib modules.
        if revived.psql("postgres", "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'")
            == "1"
        {
            run(revived.program("pg_amcheck").args(["--heapallindexed", "--install-missing", "--all"]));
        }
    }
}

#[test]
fn a_full_backup_comes_back_to_the_last_byte() {
    for bin_dir in installed() {
        let server = Postgres::start_with(&bin_dir);
        server.psql(LOAD);
        let mut world = World::new();
        std::fs::create_dir(world.data().join("chain")).unwrap();
        base_backup(&server, &world.data().join("chain/00"), None);
        let record = store(&mut world, 1, server.client().version().major());
        let to = world.path("restored");
        restored(&world, &record, &order(&to, vec![])).unwrap();
        give_to_owner_of(&to, &server);
        open_up(&world);
        // Its own judge, before recovery changes the files; the manifest has the sum of every one.
        // The one build of 18 that can be fetched has one that dies at random.
        match server.client().version().major() {
            18.. => testkit::means::lack("pg_verifybackup of PostgreSQL 18 dies at random here"),
            _ => run(Command::new(bin_dir.join("pg_verifybackup")).arg(&to)),
        }
        let revived = Revived::start(&to, &server, &[]);
        revived.wait_for("SELECT pg_is_in_recovery()", "f");
        assert_eq!(revived.psql("postgres", "SELECT count(*) FROM ledger"), "30000");
        revived.stop();
        let again = restored(&world, &record, &order(&to, vec![]));
        assert!(matches!(again, Err(EngineError::Refused(_))), "{again:?}");
    }
}

#[test]
fn pitfall_11_a_backup_without_its_label_or_with_that_of_another_one_is_refused_and_nothing_is_touched() {
    let server = Postgres::start();
    let mut world = World::new();
    std::fs::create_dir(world.data().join("chain")).unwrap();
    let link = world.data().join("chain/00");
    base_backup(&server, &link, None);
    let good = store(&mut world, 1, server.client().version().major());
    let label = std::fs::read_to_string(link.join("backup_label")).unwrap();
    let control = std::fs::read(link.join(CONTROL_FILE)).unwrap();
    let (to, taken) = (world.path("restored"), world.path("taken"));
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("precious"), "mine").unwrap();
    let mut refused = |file: &str, content: Option<&[u8]>, words: &str| {
        match content {
            Some(content) => std::fs::write(link.join(file), content).unwrap(),
            None => std::fs::remove_file(link.join(file)).unwrap(),
        }
        let record = store_again(&mut world, good.clone());
        for place in [&to, &taken] {
            let order = ClusterOrder { delta: true, ..order(place, vec![]) };
            let error = restored(&world, &record, &order).unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(words), "{error}");
        }
    };
    refused("backup_label", None, "backup_label");
    refused("backup_label", Some(b""), "START WAL LOCATION");
    let other = label.replace("START WAL LOCATION: 0/", "START WAL LOCATION: 1/");
    refused("backup_label", Some(other.as_bytes()), "begins at 1/");
    std::fs::write(link.join("backup_label"), &label).unwrap();
    refused(CONTROL_FILE, None, "pg_control");
    refused(CONTROL_FILE, Some(&[&control[..16], &[9], &control[17..]].concat()), "pg_control");
    assert!(!to.exists());
    assert_eq!(contents(&taken).into_keys().collect::<Vec<_>>(), [PathBuf::from("precious")]);
}

/// The directory that the tests' servers lie in is theirs alone; the user of the server must get through.
fn open_up(world: &World) {
    std::fs::set_permissions(world.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}
