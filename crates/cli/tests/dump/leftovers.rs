//! What a restore made on its way is gone when it fails, and when it is killed the next one clears up.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::rich;
use testkit::site::at_server;

use crate::site;

const SCRATCH: &str =
    "SELECT datname FROM pg_database WHERE datname LIKE 'mainstay_restore_%' ORDER BY datname";

/// A table that takes a minute to load, and none to make. Its rows are large, so that few of them are on their way
/// when their source dies.
const SLOW: &str = "CREATE TABLE a_slow (line text); INSERT INTO a_slow SELECT repeat('x', 100000) FROM generate_series(1, 480);
    CREATE FUNCTION slow() RETURNS bool LANGUAGE sql AS 'SELECT true';
    ALTER TABLE a_slow ADD CHECK (slow());
    CREATE OR REPLACE FUNCTION slow() RETURNS bool LANGUAGE sql AS 'SELECT pg_sleep(0.25) IS NOT NULL';";

/// Wait for what the server says to fit.
#[track_caller]
fn wait_for(server: &Postgres, sql: &str, fits: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let said = server.psql(sql);
        if fits(&said) {
            return said;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{sql}: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill_9(child: Child) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::KILL).unwrap();
    assert_eq!(Ran::wait(child).code, None);
}

#[test]
fn what_a_killed_restore_left_is_swept_and_a_living_one_is_left_alone() {
    let server = Postgres::start();
    rich::create_small(&server, "small");
    rich::make(&server, "app", SLOW);
    let site = site().with_server(&server);
    let (small, slow) = (site.back_up("small"), site.back_up("app"));
    let restore = ["backup", "restore", &slow, "--database", "again"];
    let (living, dying) = (site.program().start(&restore), site.program().start(&restore));
    let loading =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.a_slow %' AND state = 'active'";
    wait_for(&server, loading, |count| count == "2");
    let both = server.psql(SCRATCH);

    let ran = site.run(&["backup", "restore", &small, "--database", "beside"]).ok();
    assert!(!ran.stderr.contains("mainstay_restore_"), "{}", ran.stderr);
    assert_eq!(server.psql(SCRATCH), both);

    kill_9(dying);
    // Its sessions end with it.
    let used = "SELECT count(DISTINCT datname) FROM pg_stat_activity WHERE datname LIKE 'mainstay_restore_%'";
    wait_for(&server, used, |count| count == "1");
    let ran = site.run(&["backup", "restore", &small, "--database", "afterwards"]).ok();
    let kept = server.psql(SCRATCH);
    assert_eq!(kept.lines().count(), 1, "{kept}");
    let swept: Vec<_> = both.lines().filter(|name| *name != kept).collect();
    ran.says(swept[0]).says("which a restore that was killed had left");
    // A name that only looks alike is somebody's.
    server.psql("CREATE DATABASE mainstay_restore_archive");

    kill_9(living);
    wait_for(&server, used, |count| count == "0");
    site.run(&["backup", "restore", &small, "--database", "at_last"]).ok().says(&kept);
    assert_eq!(server.psql(SCRATCH), "mainstay_restore_archive");
    assert_eq!(server.psql_in("at_last", "SELECT count(*) FROM account"), "200");
}

#[test]
fn roles_made_for_a_restore_that_fails_are_taken_back() {
    let server = Postgres::start();
    server.psql(
        "CREATE ROLE old_group; CREATE ROLE old_member; CREATE ROLE new_group; CREATE ROLE \"new \"\"one'\" LOGIN;
         GRANT old_group TO old_member; GRANT new_group TO \"new \"\"one'\"; GRANT old_group TO new_group;
         ALTER ROLE new_group SET work_mem = '7MB'; COMMENT ON ROLE new_group IS 'new';
         CREATE DATABASE app OWNER new_group",
    );
    // Rows that only this server takes.
    let here = format!(
        "CREATE TABLE t (n int CHECK (current_setting('port') = '{}')); ALTER TABLE t OWNER TO new_group;
         GRANT SELECT ON t TO \"new \"\"one'\"; INSERT INTO t VALUES (1)",
        server.port()
    );
    server.psql_in("app", &here);
    let site = site().with_server(&server);
    let id = site.back_up("app");
    let other = Postgres::start();
    other.psql("CREATE ROLE old_group NOINHERIT; CREATE ROLE old_member LOGIN; CREATE DATABASE there");
    let roles = "SELECT (SELECT json_agg(r ORDER BY rolname) FROM pg_roles r),
        (SELECT json_agg(ARRAY[roleid, member]) FROM pg_auth_members WHERE roleid >= 16384)";
    let (before, names) = (other.psql(roles), rich::databases(&other));
    let program = at_server(site.program(), &other);
    for target in ["new", "there"] {
        let restore = ["backup", "restore", &id, "--database", target, "--with-roles"];
        let ran = program.run(&restore).exits(1).says("check constraint");
        assert!(!ran.stderr.contains("left behind"), "{}", ran.stderr);
        assert_eq!(other.psql(roles), before, "{target}");
        assert_eq!(rich::databases(&other), names, "{target}");
    }
    // Where it goes well they stay, and those that were there are as they were.
    server.psql_in("app", "ALTER TABLE t DROP CONSTRAINT t_check");
    let id = site.back_up("app");
    program.run(&["backup", "restore", &id, "--with-roles"]).ok();
    let members = "SELECT json_agg(ARRAY[g.rolname, u.rolname] ORDER BY 1::text) FROM pg_auth_members m
        JOIN pg_roles g ON g.oid = roleid JOIN pg_roles u ON u.oid = member WHERE roleid >= 16384";
    assert_eq!(other.psql(members), server.psql(members));
    let old = "SELECT rolinherit FROM pg_roles WHERE rolname = 'old_group'";
    assert_eq!(other.psql(old), "f");
}

#[test]
fn roles_of_a_restore_that_was_killed_are_swept_by_the_next_one() {
    let server = Postgres::start();
    server.psql(
        "CREATE ROLE app_group; CREATE ROLE app_member LOGIN; GRANT app_group TO app_member; CREATE ROLE kept",
    );
    rich::make(&server, "app", SLOW);
    server.psql("ALTER DATABASE app OWNER TO app_group");
    rich::create_small(&server, "small");
    let site = site().with_server(&server);
    let (small, slow) = (site.back_up("small"), site.back_up("app"));
    let other = Postgres::start();
    other.psql("CREATE DATABASE there; CREATE ROLE kept; CREATE ROLE precious");
    let program = at_server(site.program(), &other);
    let roles = "SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
    let before = other.psql(roles);
    let loading =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.a_slow %' AND state = 'active'";
    for target in ["again", "there"] {
        let restore = ["backup", "restore", &slow, "--database", target, "--with-roles"];
        let dying = program.start(&restore);
        wait_for(&other, loading, |count| count == "1");
        // One that lives keeps its roles.
        let beside = ["backup", "restore", &small, "--database", &format!("beside_{target}")];
        program.run(&beside).ok();
        kill_9(dying);
        assert!(other.psql(roles).contains("app_member"), "nothing was made that could be left");
        let sessions =
            "SELECT count(*) FROM pg_stat_activity WHERE datname IN ('there') OR datname LIKE 'mainstay_%'";
        wait_for(&other, sessions, |count| count == "0");

        // Whoever may make a database talks nobody into dropping a role.
        other.psql("CREATE ROLE intruder LOGIN CREATEDB");
        let forged = "CREATE DATABASE mainstay_restore_00000000 OWNER intruder";
        other.psql(forged);
        other.psql(
            "COMMENT ON DATABASE mainstay_restore_00000000 IS '{\"roles\":[\"precious\"],\"memberships\":[]}'",
        );
        let restore = ["backup", "restore", &small, "--database", &format!("after_{target}")];
        let ran = program.run(&restore).ok();
        ran.says("removed role \"app_group\", which a restore that was killed had left").says("app_member");
        other.psql("DROP ROLE intruder");
        assert_eq!(other.psql(roles), before, "{target}");
        assert_eq!(other.psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'mainstay_%'"), "0");
    }
    // One that goes well leaves its roles, and no note of them.
    program.run(&["backup", "restore", &small, "--database", "well", "--with-roles"]).ok();
    let with_roles = other.psql(roles);
    assert!(with_roles.contains("app_member"), "{with_roles}");
    program.run(&["backup", "restore", &small, "--database", "at_last"]).ok();
    assert_eq!(other.psql(roles), with_roles);
}

#[test]
fn ctrl_c_takes_back_the_database_and_the_roles_that_a_restore_had_made() {
    let server = Postgres::start();
    server.psql("CREATE ROLE app_group; CREATE ROLE app_member LOGIN; GRANT app_group TO app_member");
    rich::make(&server, "app", SLOW);
    server.psql("ALTER DATABASE app OWNER TO app_group");
    let site = site().with_server(&server);
    let slow = site.back_up("app");
    let other = Postgres::start();
    let roles = "SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles WHERE oid >= 16384";
    let (before, names) = (other.psql(roles), rich::databases(&other));
    let restore = ["backup", "restore", &slow, "--database", "again", "--with-roles"];
    let child = at_server(site.program(), &other).start(&restore);
    let loading =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.a_slow %' AND state = 'active'";
    wait_for(&other, loading, |count| count == "1");
    assert!(other.psql(roles).contains("app_member") && other.psql(SCRATCH).starts_with("mainstay_restore_"));
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let ran = Ran::wait(child).exits(1);
    assert!(!ran.stderr.contains("left behind"), "{}", ran.stderr);
    assert_eq!(other.psql(SCRATCH), "");
    assert_eq!((other.psql(roles), rich::databases(&other)), (before, names));
}
