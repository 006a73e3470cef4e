//! Tables out of the backup of a cluster, as they were at some moment.

use std::fs;
use std::path::PathBuf;

use testkit::postgres::{Postgres, installed};
use testkit::revived::give_to_owner_of;

use crate::load;
use crate::point_in_time::{archive_into, back_up, say, server, wait_archived};
use crate::room::Room;

/// A server with a database of its own for each purpose, and what was committed when.
struct Scene {
    room: Room,
    server: Postgres,
    /// Before the table was dropped.
    time: String,
}

impl Scene {
    fn new() -> Self {
        let (room, server) = (Room::new(), server(&installed()[0]));
        archive_into(&room, &server);
        let space = room.path("fast");
        for place in [&space, &room.path("work")] {
            fs::create_dir(place).unwrap();
            give_to_owner_of(place, &server);
        }
        server.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        for database in ["shop", "other", "rescue"] {
            server.psql(&format!("CREATE DATABASE {database}"));
        }
        server.psql_in(
            "shop",
            "CREATE SCHEMA sales;
             CREATE TABLE sales.customers (id int PRIMARY KEY);
             CREATE TABLE sales.orders (id serial PRIMARY KEY, customer int REFERENCES sales.customers, total int) TABLESPACE fast;
             CREATE INDEX by_total ON sales.orders (total);
             CREATE TABLE sales.events (day int, what text) PARTITION BY RANGE (day);
             CREATE TABLE sales.events_1 PARTITION OF sales.events FOR VALUES FROM (0) TO (10);
             CREATE TABLE sales.events_2 PARTITION OF sales.events FOR VALUES FROM (10) TO (20);
             INSERT INTO sales.customers SELECT generate_series(1, 10);
             INSERT INTO sales.orders (customer, total) SELECT n % 10 + 1, n FROM generate_series(1, 5000) AS n;
             INSERT INTO sales.events SELECT n % 20, 'early' FROM generate_series(1, 400) AS n",
        );
        server.psql_in(
            "other",
            "CREATE TABLE large WITH (autovacuum_enabled = off) AS SELECT n, repeat('x', 500) AS t FROM generate_series(1, 8000) AS n",
        );
        back_up(&room, &server);
        server.psql_in("shop", "INSERT INTO sales.orders (customer, total) VALUES (1, 1000000); ANALYZE");
        server.psql_in("shop", "INSERT INTO sales.events VALUES (3, 'late'), (13, 'late')");
        // This names pages in the WAL that are in no page of the WAL: files of zeros do not fit it.
        server.psql_in("other", "VACUUM large");
        let [_, time, _] = say(&server, "before it went wrong");
        server.psql_in("shop", "DROP TABLE sales.orders; DELETE FROM sales.events");
        Self { room, server, time }
    }

    fn work(&self) -> PathBuf {
        self.room.path("work")
    }

    /// What `backup restore` is asked, for the moment before the table was dropped.
    fn restore<'a>(&'a self, more: &[&'a str]) -> Vec<String> {
        let work = self.work().display().to_string();
        let words = ["backup", "restore", "acme/cluster", "--work-dir", &work];
        words.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        assert_eq!(fs::read_dir(self.work()).unwrap().count(), 0, "something is left in the work directory");
    }
}

fn words(order: &[String]) -> Vec<&str> {
    order.iter().map(String::as_str).collect()
}

#[test]
fn c21_tables_come_back_as_they_were_before_they_were_dropped() {
    let scene = Scene::new();
    let Scene { room, server, time } = &scene;
    wait_archived(server);
    let tables = ["--table", "shop.sales.orders", "--table", "shop.sales.events", "--target-time", time];
    let into = [&tables[..], &["--into-database", "rescue", "--no-tablespaces"]].concat();

    let plan = room
        .run_as_server(server, &words(&scene.restore(&[&into[..], &["--dry-run", "--json"]].concat())))
        .ok();
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["database"], "shop");
    assert_eq!(plan["leftOut"], serde_json::json!(["other", "rescue"]));
    assert_eq!(plan["serverVersion"], load::major(server));
    assert!(plan["neededBytes"].as_str().unwrap().parse::<u64>().unwrap() > 10 << 20, "{plan}");
    scene.assert_nothing_is_left();

    let ran = room.run_as_server(server, &words(&scene.restore(&into))).ok();
    assert!(ran.stderr.contains("tables=4"), "the parts of a partitioned table come with it: {}", ran.stderr);
    assert!(
        ran.stderr.contains("foreign key orders_customer_fkey of sales.orders is left out"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("all of the cluster is restored"), "{}", ran.stderr);
    let rescued = |sql: &str| server.psql_in("rescue", sql);
    assert_eq!(rescued("SELECT count(*), max(total) FROM sales.orders"), "5001|1000000");
    assert_eq!(
        rescued("SELECT count(*) FROM pg_tables WHERE tablespace IS NOT NULL AND schemaname = 'sales'"),
        "0"
    );
    assert_eq!(rescued("SELECT count(*), count(*) FILTER (WHERE what = 'late') FROM sales.events"), "402|2");
    // A recovered sequence is some numbers ahead: those that its WAL had reserved.
    let next: u32 = rescued("INSERT INTO sales.orders (total) VALUES (1) RETURNING id").parse().unwrap();
    assert!((5002..5100).contains(&next), "the sequence goes on: {next}");
    assert_eq!(
        rescued("SELECT count(*) FROM pg_indexes WHERE indexname IN ('by_total', 'orders_pkey')"),
        "2"
    );
    scene.assert_nothing_is_left();

    // As root, too, where we are: into the database itself, where the table is missing and its customers are there.
    let back = [&tables[..2], &["--target-time", time, "--into-database", "shop"]].concat();
    let ran = room.restore(server, &words(&scene.restore(&back))).ok();
    assert!(!ran.stderr.contains("is left out"), "{}", ran.stderr);
    let orders = "SELECT count(*), (SELECT count(*) FROM pg_constraint WHERE conname = 'orders_customer_fkey') FROM sales.orders";
    assert_eq!(server.psql_in("shop", orders), "5001|1");
    assert_eq!(server.psql_in("shop", "SELECT spcname FROM pg_tables t JOIN pg_tablespace ON spcname = t.tablespace WHERE tablename = 'orders'"), "fast");

    // What is there is replaced only where that is said, and confirmed.
    server.psql_in("shop", "DELETE FROM sales.orders");
    let refused = room.restore(server, &words(&scene.restore(&back))).exits(6);
    assert!(refused.stderr.contains("sales.orders is in database \"shop\" already"), "{}", refused.stderr);
    let clean = [&back[..], &["--clean"]].concat();
    room.restore(server, &words(&scene.restore(&clean))).exits(6);
    assert_eq!(server.psql_in("shop", "SELECT count(*) FROM sales.orders"), "0");
    room.restore(server, &words(&scene.restore(&[&clean[..], &["--yes=shop"]].concat()))).ok();
    assert_eq!(server.psql_in("shop", "SELECT count(*) FROM sales.orders"), "5001");
    scene.assert_nothing_is_left();
}

#[test]
fn a_database_that_was_made_anew_of_another_one_is_recovered_with_all_of_the_cluster() {
    let (room, server) = (Room::new(), server(&installed()[0]));
    archive_into(&room, &server);
    let work = room.path("work");
    fs::create_dir(&work).unwrap();
    give_to_owner_of(&work, &server);
    for database in ["shop", "mould", "rescue"] {
        server.psql(&format!("CREATE DATABASE {database}"));
    }
    server.psql_in("mould", "CREATE TABLE cast_of AS SELECT generate_series(1, 3000) AS n");
    back_up(&room, &server);
    server.psql("DROP DATABASE shop");
    // By copying files, as all did before 15: no page of them is in the WAL.
    let strategy = if load::major(&server) >= 15 { "STRATEGY file_copy" } else { "" };
    server.psql(&format!("CREATE DATABASE shop TEMPLATE mould {strategy}"));
    wait_archived(&server);
    let restore =
        ["backup", "restore", "acme/cluster", "--table", "shop.public.cast_of", "--into-database", "rescue"];
    let ran =
        room.run_as_server(&server, &[&restore[..], &["--work-dir", work.to_str().unwrap()]].concat()).ok();
    assert!(ran.stderr.contains("all of the cluster is restored"), "{}", ran.stderr);
    assert_eq!(server.psql_in("rescue", "SELECT count(*), sum(n) FROM cast_of"), "3000|4501500");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
}

#[test]
fn pitfall_17_a_tablespace_made_after_the_backup_keeps_a_recovery_from_writing_into_it() {
    let scene = Scene::new();
    let Scene { room, server, time } = &scene;
    let late = room.path("late");
    fs::create_dir(&late).unwrap();
    give_to_owner_of(&late, server);
    server.psql(&format!("CREATE TABLESPACE late LOCATION '{}'", late.display()));
    server.psql("CREATE TABLE there TABLESPACE late AS SELECT generate_series(1, 700) AS n; CHECKPOINT");
    wait_archived(server);
    let into = ["--table", "shop.sales.customers", "--into-database", "rescue"];
    let refused = room.run_as_server(server, &words(&scene.restore(&into))).exits(6);
    let place = format!("in {} was made behind this backup", late.display());
    assert!(refused.stderr.contains(&place), "{}", refused.stderr);
    scene.assert_nothing_is_left();
    assert_eq!(server.psql("SELECT count(*) FROM there"), "700");
    // Before it was made, it is in nobody's way.
    let before = [&into[..], &["--target-time", time]].concat();
    room.run_as_server(server, &words(&scene.restore(&before))).ok();
    assert_eq!(server.psql_in("rescue", "SELECT count(*) FROM sales.customers"), "10");
    server.psql("CHECKPOINT");
    assert_eq!(server.psql("SELECT count(*) FROM there"), "700");
}
