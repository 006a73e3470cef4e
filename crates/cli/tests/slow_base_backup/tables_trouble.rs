//! Tables out of a cluster that cannot come, and what is left of a restore that was stopped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::postgres::{Postgres, installed};

use crate::load;
use crate::room::Room;

struct Scene {
    room: Room,
    server: Postgres,
}

impl Scene {
    /// A server with a lock on `held` that outlives it and its copies.
    fn new() -> Self {
        let settings = [("max_prepared_transactions", "5"), ("full_page_writes", "on")];
        let (room, server) = (Room::new(), load::server_with(&installed()[0], &settings));
        server.psql("CREATE DATABASE shop");
        server.psql("CREATE DATABASE rescue");
        server.psql("ALTER SYSTEM SET work_mem = '7MB'");
        server.psql_in("shop", "CREATE TABLE free AS SELECT 1 AS n; CREATE TABLE held AS SELECT 2 AS n");
        server.psql_in("shop", "BEGIN; LOCK TABLE held; PREPARE TRANSACTION 'holding'");
        load::back_up(&room.site, &server, &[]);
        fs::create_dir(room.path("work")).unwrap();
        Self { room, server }
    }

    fn work(&self) -> PathBuf {
        self.room.path("work")
    }

    fn order(&self, table: &str) -> Vec<String> {
        let work = self.work().display().to_string();
        let words = [
            "backup",
            "restore",
            "acme/cluster",
            "--work-dir",
            &work,
            "--into-database",
            "rescue",
            "--table",
            table,
        ];
        words.map(str::to_owned).to_vec()
    }

    /// A restore of a table that nobody gets at.
    fn start(&self) -> Child {
        let (order, password) = (self.order("shop.public.held"), self.room.path("password"));
        let mut words = vec!["--password-file", password.to_str().unwrap()];
        words.extend(order.iter().map(String::as_str));
        load::program(&self.room.site, &self.server).without("MAINSTAY_PASSWORD").start(&words)
    }

    /// Its private place, when the server there has recovered.
    #[track_caller]
    fn wait_for_dump(&self) -> PathBuf {
        let begin = Instant::now();
        loop {
            let found = fs::read_dir(self.work()).unwrap().flatten().map(|entry| entry.path());
            if let Some(place) = found.into_iter().find(|place| place.join("tables.dump").exists()) {
                return place;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "it never comes to the dump");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn postmaster(place: &Path) -> i32 {
    let pid_file = fs::read_to_string(place.join("data/postmaster.pid")).unwrap();
    pid_file.lines().next().unwrap().trim().parse().unwrap()
}

/// Whether a server runs on what was at `place`.
fn lives(pid: i32, place: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).contains(place.to_str().unwrap())
}

/// It has no secret of ours, no library of the original, and no address.
#[track_caller]
fn assert_closed(pid: i32, place: &Path) {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let names: Vec<_> =
        environment.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one)).collect();
    let is_known =
        |one: &str| ["", "PATH", "LD_LIBRARY_PATH", "LC_ALL"].contains(&one.split('=').next().unwrap());
    // The server itself adds what it found out, like the place of its programs.
    let secrets =
        names.iter().filter(|one| !is_known(one) && !one.starts_with("PG") && !one.starts_with("LC_"));
    assert_eq!(secrets.collect::<Vec<_>>(), Vec::<&std::borrow::Cow<'_, str>>::new());
    assert!(!names.iter().any(|one| one.contains("PASS")), "{names:?}");
    let pid_file = fs::read_to_string(place.join("data/postmaster.pid")).unwrap();
    let lines: Vec<_> = pid_file.lines().collect();
    assert_eq!((lines[4], lines[5]), (place.join("run").to_str().unwrap(), ""), "socket and address");
    let auto_conf = fs::read_to_string(place.join("data/postgresql.auto.conf")).unwrap();
    assert!(!auto_conf.contains("work_mem"), "settings of the original: {auto_conf}");
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_restore_that_is_stopped_takes_its_server_along_and_what_a_killed_one_left_is_removed_by_the_next() {
    let scene = Scene::new();
    let mut stopped = scene.start();
    let place = scene.wait_for_dump();
    let server = postmaster(&place);
    assert!(lives(server, &place));
    assert_closed(server, &place);
    kill_process(Pid::from_child(&stopped), Signal::INT).unwrap();
    assert_ne!(stopped.wait().unwrap().code(), Some(0));
    assert!(!lives(server, &place), "the throw-away server lives");
    assert_eq!(fs::read_dir(scene.work()).unwrap().count(), 0);

    let mut killed = scene.start();
    let place = scene.wait_for_dump();
    let server = postmaster(&place);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(place.exists());
    let order = scene.order("shop.public.free");
    let order: Vec<_> = order.iter().map(String::as_str).collect();
    let ran = scene.room.restore(&scene.server, &order).ok();
    assert!(ran.stderr.contains(&format!("removed {}", place.display())), "{}", ran.stderr);
    until("the server that was left ends", || !lives(server, &place));
    assert_eq!(fs::read_dir(scene.work()).unwrap().count(), 0);
    assert_eq!(scene.server.psql_in("rescue", "SELECT n FROM free"), "1");
}

#[test]
fn what_is_not_there_is_named_with_what_is_like_it() {
    let scene = Scene::new();
    let Scene { room, server } = &scene;
    let run = |table: &str, more: &[&str]| {
        let order = scene.order(table);
        let order: Vec<_> = order.iter().map(String::as_str).chain(more.iter().copied()).collect();
        room.restore(server, &order)
    };
    let ran = run("shap.public.free", &[]).exits(5);
    assert!(ran.stderr.contains("no database \"shap\" in the backup; there is shop"), "{}", ran.stderr);
    let ran = run("shop.public.fre", &[]).exits(5);
    assert!(
        ran.stderr.contains("no table public.fre in database \"shop\"")
            && ran.stderr.contains("there is public.free"),
        "{}",
        ran.stderr
    );
    // The only database that somebody made need not be named; of two, one must be.
    let ran = run("public.free", &[]).exits(2);
    assert!(ran.stderr.contains("rescue, shop"), "{}", ran.stderr);
    run("free", &[]).exits(2);
    run("shop.public.free", &["--table", "rescue.public.free"]).exits(2);
    run("shop.public.free", &["--to", "/nowhere"]).exits(2);
    let work = scene.work();
    let elsewhere = [
        "backup",
        "restore",
        "acme/cluster",
        "--table",
        "shop.public.free",
        "--work-dir",
        work.to_str().unwrap(),
    ];
    room.restore(server, &elsewhere).exits(2);
    let missing = [&elsewhere[..], &["--into-database", "rescu"]].concat();
    let ran = room.restore(server, &missing).exits(5);
    assert!(ran.stderr.contains("there is rescue"), "{}", ran.stderr);

    // Client programs alone recover nothing.
    let clients = room.path("clients");
    fs::create_dir(&clients).unwrap();
    for name in ["pg_dump", "pg_restore", "psql"] {
        symlink(server.client().program(name), clients.join(name)).unwrap();
    }
    let ran = run("shop.public.free", &["--pg-bin-dir", clients.to_str().unwrap()]).exits(2);
    let package = format!("install postgresql-{}", load::major(server));
    assert!(ran.stderr.contains(&package), "{}", ran.stderr);
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    assert_eq!(server.psql_in("rescue", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
}
