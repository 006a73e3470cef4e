//! Sources that are backed up and restored together.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pg::throwaway::SUPERUSER;
use serde_json::Value;
use testkit::postgres::{Postgres, installed};
use testkit::program::Ran;
use testkit::revived::{Revived, give_to_owner_of};

use crate::office::Office;
use crate::{next_second, source, with_database};

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
        "restore_hooks = { before = [\"echo stop >> ROOT/log\"], after = [\"echo start >> ROOT/log\"], on_failure = [\"echo $MAINSTAY_OUTCOME $MAINSTAY_REASON >> ROOT/log\"] }\n",
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
    // Asking for what is cold stops nothing and restores nothing.
    let asked = program.run(&[&restore[..], &["--warm-up-only"]].concat()).ok();
    assert!(asked.text().contains("nothing is cold") && !asked.stderr.contains("restore ok"));
    assert!(!back.exists() && !office.path().join("log").exists());
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
    let ran = program.run(&restore).exits(3).says("this run is INCOMPLETE: 1 members are missing");
    ran.says("restore INCOMPLETE set=acme/portal").says("members=3 missing=1");
    let log = fs::read_to_string(office.path().join("log")).unwrap();
    assert!(
        log.ends_with("start\nstop\nincomplete of 3 members 1 are missing: 1 are in no backup of it\n"),
        "{log}"
    );
    assert_eq!(office.json(&["runs", "--restores"])["restores"][0]["outcome"], "incomplete");
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

/// A directory, the whole server, and each of its databases as a set; beside it the source `app`, which is one of these databases.
fn with_server(server: &Postgres) -> Office {
    let address = format!("postgresql://{SUPERUSER}@127.0.0.1:{}/postgres", server.port());
    let office = with_database(
        server,
        &format!(
            "[tenants.acme.sources.main]\ncluster = \"{address}\"\npassword = \"file:ROOT/server\"\n\
             restore_hooks = {{ before = [\"echo $MAINSTAY_BACKUP_ID >> ROOT/ids\"] }}\n\
             [tenants.acme.sources.all]\ndatabases = \"{address}\"\nexclude = [\"postgres\"]\npassword = \"file:ROOT/server\"\n\
             [tenants.acme.sources.web]\ndirectory = \"ROOT/web\"\n\
             [tenants.acme.sets.portal]\nmembers = [\"web\", \"main\", \"all\"]\nschedule = \"@daily\"\nmax_age = \"26h\"\n\
             restore_hooks = {{ before = [\"echo stop >> ROOT/log\"], after = [\"echo start >> ROOT/log\"] }}\n"
        ),
    );
    server.psql_in("postgres", "CREATE DATABASE shop");
    server.psql_in("shop", "CREATE TABLE goods AS SELECT generate_series(1, 10) n");
    office.file("web/index", "a page");
    office
}

/// The labels of one run of the set, by what they are of.
fn labels(office: &Office, newest: usize) -> Vec<(String, String)> {
    let listed = office.json(&["backup", "list"]);
    let records = listed["records"].as_array().unwrap().iter();
    let of_set = records.filter(|one| one["label"].as_str().unwrap().starts_with("set=portal/"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<_> =
        of_set.take(newest).map(|one| (text(&one["source"]), text(&one["label"]))).collect();
    found.sort();
    found
}

/// What a set lacks, by all who can be asked.
fn assert_lacks_a_database(office: &Office) {
    let state = office.json(&["status"])["sets"][0].clone();
    assert_eq!(
        (state["state"].as_str(), &state["missing"][0]),
        (Some("INCOMPLETE"), &"all".into()),
        "{state}"
    );
    office.run(&["backup", "list"]).ok().says("set acme/portal, run ").says("is INCOMPLETE: 1 of 3 members");
    let sets = office.json(&["backup", "list"])["incompleteSets"].clone();
    assert_eq!(
        (sets[0]["name"].as_str(), sets[0]["missing"].as_u64()),
        (Some("acme/portal"), Some(1)),
        "{sets}"
    );
    office.run(&["watch", "--once"]).exits(7).says("lacks all (1 of 2 are there)");
}

#[test]
fn t10_a_set_of_a_cluster_and_of_every_database_is_whole_or_seen_to_lack_one() {
    let server = Postgres::start_with_settings(&installed()[0], &[("wal_level", "replica")]);
    let office = with_server(&server);
    office.run(&["run"]).ok().says("set ok name=acme/portal").says("members=3");
    let first = jiff::Timestamp::now();
    let found = labels(&office, 9);
    let sources: Vec<_> = found.iter().map(|(source, _)| source.as_str()).collect();
    assert_eq!(sources, ["all.app", "main", "shop", "web"], "{found:?}");
    for (source, label) in &found {
        let is_database = ["all.app", "shop"].contains(&source.as_str());
        assert!(label.ends_with(if is_database { "/3/all/2" } else { "/3" }), "{source}: {label}");
    }
    office.run(&["watch", "--once"]).ok();
    assert_eq!(office.json(&["status"])["sets"][0]["state"], "ok");
    // A table whose file is gone cannot be dumped, while the cluster can be backed up.
    let file = "CREATE TABLE bad AS SELECT 1 AS n; CHECKPOINT; SELECT pg_relation_filepath('bad')";
    let file = server.psql_in("shop", file);
    fs::remove_file(server.cluster().data_dir().join(file.trim())).unwrap();
    next_second();
    let ran = office.run(&["run", "acme/portal"]).exits(3);
    ran.says("run incomplete source=acme/all: shop: ")
        .says("set INCOMPLETE name=acme/portal")
        .says("missing=all");
    assert_lacks_a_database(&office);
    // A machine that remembers nothing learns it from the repository.
    fs::remove_dir_all(office.path().join(".local")).unwrap();
    assert_lacks_a_database(&office);
    assert_eq!(office.json(&["run", "--due", "--dry-run"])["due"].as_array().unwrap().len(), 0);
    // One more joins.
    server.psql_in("shop", "DROP TABLE bad");
    server.psql_in("postgres", "CREATE DATABASE later");
    next_second();
    office.run(&["run", "acme/portal"]).ok();
    let found = labels(&office, 5);
    assert_eq!(found.iter().filter(|(_, label)| label.ends_with("/3/all/3")).count(), 3, "{found:?}");
    assert_names_mean_sources(&office, &server);
    office.run(&["watch", "--once"]).ok();
    names_what_it_restores(&office, first);
    comes_back(&office, &server);
}

/// A target in the past is reached from an older backup, and it is that one of which the commands around it are told.
fn names_what_it_restores(office: &Office, time: jiff::Timestamp) {
    let (there, time) = (office.path().join("there"), time.to_string());
    let restore = ["backup", "restore", "acme/main", "--to", there.to_str().unwrap(), "--target-time", &time];
    let ran = office.run(&restore).ok();
    let id = ran.stderr.split("restore ok id=").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(fs::read_to_string(office.path().join("ids")).unwrap(), format!("{id}\n"));
    let listed = office.json(&["backup", "list"])["records"].as_array().unwrap().clone();
    let newest = listed.iter().find(|one| one["source"] == "main").unwrap();
    assert_ne!(newest["id"], id);
    assert_eq!(office.json(&["runs", "--restores"])["restores"][0]["backup"], id);
}

/// By one command: the directory, then the data directory, then the databases.
fn comes_back(office: &Office, server: &Postgres) {
    let program =
        office.program.clone().with("PGHOST", "127.0.0.1").with("PGPORT", server.port().to_string());
    let program = program.with("PGUSER", SUPERUSER).with("PGPASSWORD", server.password());
    let back = office.path().join("back");
    let restore = ["backup", "restore", "acme/portal", "--database", "{database}_back"];
    program.run(&restore).exits(2).says("is a cluster, and nobody said where it goes");
    let restore = [&restore[..], &["--to", back.to_str().unwrap(), "--target-action", "promote"]].concat();
    let planned = program.run(&[&restore[..], &["--dry-run"]].concat()).ok();
    planned
        .says("3 members in 5 backups, directories first")
        .says("echo stop")
        .says("recover to the end of the backup");
    assert!(!back.exists() && !office.path().join("log").exists());
    let ran = program.run(&restore).ok().says("restore ok set=acme/portal").says("members=3");
    let at = |words: &str| ran.stderr.rfind(words).unwrap_or_else(|| panic!("{words}: {}", ran.stderr));
    let order = ["web", "main", "all.app"].map(|source| at(&format!("restore ok id=acme-{source}-")));
    assert!(order.is_sorted(), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(office.path().join("log")).unwrap(), "stop\nstart\n");
    assert_eq!(fs::read_to_string(back.join("web/index")).unwrap(), "a page");
    assert_eq!(server.psql_in("app_back", "SELECT count(*) FROM t").trim(), "1000");
    assert_eq!(server.psql_in("shop_back", "SELECT count(*) FROM goods").trim(), "10");
    assert_eq!(server.psql("SELECT count(*) FROM pg_database WHERE datname = 'later_back'").trim(), "1");
    let (home, data) = (office.path(), back.join("main"));
    fs::set_permissions(home, PermissionsExt::from_mode(0o755)).unwrap();
    give_to_owner_of(home, server);
    let environment = [("HOME", home), ("MAINSTAY_NO_AGENT", Path::new("1"))];
    let revived = Revived::try_start_with(&data, server, &[], &environment);
    let revived = revived.unwrap_or_else(|words| panic!("the server does not start:\n{words}"));
    revived.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(revived.psql("app", "SELECT count(*) FROM t"), "1000");
    assert_eq!(revived.psql("shop", "SELECT count(*) FROM goods"), "10");
    // Databases came to the living server behind the backup.
    assert_eq!(revived.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%back'"), "0");
    revived.stop();
}

/// The source `app` is not the database `app` of the member `all`, of which there is a newer backup.
fn assert_names_mean_sources(office: &Office, server: &Postgres) {
    let listed = office.json(&["backup", "list"]);
    let is_own = |one: &&Value| one["source"] == "app" && one["label"] == "";
    let own = listed["records"].as_array().unwrap().iter().find(is_own).unwrap()["id"].clone();
    let program =
        office.program.clone().with("PGHOST", "127.0.0.1").with("PGPORT", server.port().to_string());
    let program = program.with("PGUSER", SUPERUSER).with("PGPASSWORD", server.password());
    let restore =
        |name: &str| program.run(&["backup", "restore", name, "--database", "anew", "--dry-run", "--json"]);
    let planned: Value = serde_json::from_str(&restore("acme/app").ok().text()).unwrap();
    assert_eq!(planned["id"], own);
    let planned: Value = serde_json::from_str(&restore("acme/shop").ok().text()).unwrap();
    let newest = listed["records"].as_array().unwrap().iter().find(|one| one["source"] == "shop").unwrap();
    assert_eq!(planned["id"], newest["id"], "nothing else is called shop");
}
