//! Sources that are backed up and restored together.

use std::fs;
use std::time::{Duration, Instant};

use testkit::postgres::Postgres;
use testkit::program::Ran;

use crate::office::Office;
use crate::{source, with_database};

/// A database and two directories of a tenant, as a set.
fn with_set(server: &Postgres, more: &str) -> Office {
    let set = format!(
        "[tenants.acme.sources.keys]\ndirectory = \"ROOT/keys\"\n[tenants.acme.sources.web]\ndirectory = \"ROOT/web\"\n\
         [tenants.acme.sets.portal]\nmembers = [\"keys\", \"app\", \"web\"]\nschedule = \"@daily\"\nmax_age = \"26h\"\n{more}"
    );
    let office = with_database(server, &set);
    office.file("keys/ca.pem", "a key");
    office.file("web/index", "a page");
    office
}

#[test]
fn t10_a_set_is_taken_together_and_a_missing_member_is_seen() {
    let server = Postgres::start();
    let office = with_set(
        &server,
        "hooks = { before = [\"echo stop >> ROOT/log\"], after = [\"echo start >> ROOT/log\"], on_failure = [\"echo $MAINSTAY_REASON >> ROOT/log\"] }\n",
    );
    assert_eq!(office.json(&["status"])["sets"][0]["state"], "never-run");
    office.run(&["run", "--due"]).ok().says("set ok name=acme/portal").says("members=3");
    assert_eq!(fs::read_to_string(office.path().join("log")).unwrap(), "stop\nstart\n");
    let listed = office.json(&["backup", "list"]);
    let labels: Vec<_> =
        listed["records"].as_array().unwrap().iter().map(|one| one["label"].as_str().unwrap()).collect();
    assert_eq!(labels.len(), 3);
    assert!(
        labels
            .iter()
            .all(|label| *label == labels[0] && label.starts_with("set=portal/") && label.ends_with("/3")),
        "{labels:?}"
    );
    let state = |office: &Office| office.json(&["status"])["sets"][0].clone();
    assert_eq!(state(&office)["state"], "ok");
    office.run(&["watch", "--once"]).ok();
    // One member alone is no run of the set, and all are due again only together.
    office.run(&["run", "acme/web"]).ok();
    assert_eq!(state(&office)["state"], "ok");
    assert_eq!(office.json(&["run", "--due", "--dry-run"])["due"].as_array().unwrap().len(), 0);
    fs::rename(office.path().join("keys"), office.path().join("away")).unwrap();
    office.run(&["run", "acme/portal"]).exits(3).says("set INCOMPLETE name=acme/portal").says("missing=keys");
    let incomplete = state(&office);
    assert_eq!(
        (incomplete["state"].as_str(), &incomplete["missing"][0]),
        (Some("INCOMPLETE"), &"keys".into()),
        "{incomplete}"
    );
    assert!(office.run(&["status"]).text().contains("INCOMPLETE:keys"));
    assert!(fs::read_to_string(office.path().join("log")).unwrap().ends_with("missing keys\n"));
    office
        .run(&["watch", "--once"])
        .exits(7)
        .says("alarm acme/portal: the set is INCOMPLETE")
        .says("lacks keys");
    // The repository alone tells it to a machine that remembers nothing.
    fs::remove_dir_all(office.path().join(".local")).unwrap();
    assert_eq!(state(&office)["state"], "INCOMPLETE");
    fs::rename(office.path().join("away"), office.path().join("keys")).unwrap();
    office.run(&["run", "acme/portal"]).ok();
    office.run(&["watch", "--once"]).ok();
}

#[test]
fn t10_t11_a_set_comes_back_by_one_command_directories_first() {
    let server = Postgres::start();
    let office = with_set(
        &server,
        "restore_hooks = { before = [\"echo stop >> ROOT/log\"], after = [\"echo start >> ROOT/log\"], on_failure = [\"echo failed >> ROOT/log\"] }\n",
    );
    let program =
        office.program.clone().with("PGHOST", "127.0.0.1").with("PGPORT", server.port().to_string());
    let program = program.with("PGUSER", pg::throwaway::SUPERUSER).with("PGPASSWORD", server.password());
    office.run(&["run", "acme/portal"]).ok();
    let back = office.path().join("back");
    let restore =
        ["backup", "restore", "acme/portal", "--to", back.to_str().unwrap(), "--database", "{database}_back"];
    let planned = program.run(&[&restore[..], &["--dry-run"]].concat()).ok();
    planned.says("3 members, directories first");
    assert!(
        !back.exists() && !server.psql_in("postgres", "SELECT datname FROM pg_database").contains("app_back")
    );
    let ran = program.run(&restore).ok().says("restore ok set=acme/portal");
    let at = |words: &str| ran.stderr.rfind(words).unwrap_or_else(|| panic!("{words}: {}", ran.stderr));
    assert!(
        at("restore ok id=acme-keys-") < at("restore ok id=acme-app-")
            && at("restore ok id=acme-web-") < at("restore ok id=acme-app-")
    );
    assert_eq!(fs::read_to_string(back.join("keys/ca.pem")).unwrap(), "a key");
    assert_eq!(fs::read_to_string(back.join("web/index")).unwrap(), "a page");
    assert_eq!(server.psql_in("app_back", "SELECT count(*) FROM t").trim(), "1000");
    assert_eq!(fs::read_to_string(office.path().join("log")).unwrap(), "stop\nstart\n");
    // What is there already is refused before anything is written or stopped.
    fs::remove_dir_all(&back).unwrap();
    program.run(&restore).exits(6);
    assert!(!back.exists());
    assert_eq!(fs::read_to_string(office.path().join("log")).unwrap(), "stop\nstart\n");
    // Over what is there, with the name of the set.
    server.psql_in("app", "DROP TABLE t");
    office.file("web/index", "defaced");
    let over = ["backup", "restore", "acme/portal", "--delta", "--clean"];
    program.run(&over).exits(6).says("--yes=acme/portal");
    program.run(&[&over[..], &["--yes=acme/portal"]].concat()).ok();
    assert_eq!(server.psql_in("app", "SELECT count(*) FROM t").trim(), "1000");
    assert_eq!(fs::read_to_string(office.path().join("web/index")).unwrap(), "a page");
    // A run that lacks a member is not taken unless it is named.
    fs::remove_dir_all(office.path().join("keys")).unwrap();
    let run = |ran: &testkit::program::Ran| ran.stderr.split("run=").nth(1).unwrap()[..16].to_owned();
    let incomplete = run(&office.run(&["run", "acme/portal"]).exits(3));
    let named = format!("acme/portal@{incomplete}");
    let there = office.path().join("there");
    let restore =
        ["backup", "restore", &named, "--to", there.to_str().unwrap(), "--database", "{database}_there"];
    program.run(&restore).exits(3).says("this run is INCOMPLETE: 1 members are missing");
    assert!(there.join("web/index").exists() && !there.join("keys").exists());
    program.run(&["backup", "restore", "acme/portal@20200101T000000Z"]).exits(5).says(&incomplete);
}

/// Nobody else is at a tenant while a set of it runs, and what is stopped for it is stopped once.
#[test]
fn u4_a_set_is_run_by_one_machine_at_a_time_and_the_other_says_that_it_was_skipped() {
    let server = Postgres::start();
    let office = with_set(
        &server,
        "hooks = { before = [\"echo stop >> ROOT/log; while [ ! -e ROOT/go ]; do sleep 0.05; done\"] }\n",
    );
    let first = office.program.start(&["run", "acme/portal"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !office.path().join("log").exists() {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    office
        .run(&["run", "acme/portal"])
        .ok()
        .says("run skipped source=acme/app: another mainstay backs acme up");
    office.file("go", "");
    Ran::wait(first).ok().says("set ok name=acme/portal");
    assert_eq!(fs::read_to_string(office.path().join("log")).unwrap(), "stop\n");
    assert_eq!(office.json(&["backup", "list"])["records"].as_array().unwrap().len(), 3);
    assert_eq!(office.json(&["status"])["sets"][0]["state"], "ok");
}

#[test]
fn a_set_that_makes_no_sense_is_refused_with_its_line() {
    let server = Postgres::start();
    let office = with_set(&server, "");
    let refused = |more: &str, words: &str| {
        office.configure(&source(&server, more));
        office.run(&["config", "check"]).exits(2).says(words);
    };
    refused("[tenants.acme.sets.x]\nmembers = [\"ap\"]\n", "no source is called ap");
    refused("[tenants.acme.sets.x]\nmembers = []\n", "it has no members");
    refused("[tenants.acme.sets.app]\nmembers = [\"app\"]\n", "a source is called so");
    refused("schedule = \"@daily\"\n[tenants.acme.sets.x]\nmembers = [\"app\"]\n", "app says schedule");
    refused(
        "[tenants.acme.sets.x]\nmembers = [\"app\"]\n[tenants.acme.sets.y]\nmembers = [\"app\"]\n",
        "app is in two sets",
    );
}
