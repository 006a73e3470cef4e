//! A server that was restored by the configuration of its tenant, and finds its log by that alone.

use std::fs;

use model::lsn::Lsn;
use testkit::site::PASSWORD;

use crate::server::{Place, Server};

#[test]
fn c21_what_is_restored_by_a_tenants_configuration_recovers_through_an_agent_with_that_alone() {
    let place = Place::new();
    let push = place.archive_command("host-a");
    let mut primary = place.initdb("a").start(&[("archive_mode", "on"), ("archive_command", &push)]);
    let password = place.password_file();
    // Two tenants, so that one has to be meant; the other's repository has no log.
    let other = place.path().join("other").display().to_string();
    place.mainstay(&["-r", &other, "init", "--no-recovery-key"]).ok();
    let repository =
        |place: &str| format!("repository = {{ url = \"{place}\", password = \"file:{password}\" }}");
    place.configure(&format!(
        "[tenants.acme]\n{}\n[tenants.acme.sources.main]\ncluster = \"{}\"\n\
         [tenants.other]\n{}\n[tenants.other.sources.etc]\ndirectory = \"PLACE/host-a\"\n",
        repository("PLACE/repository"),
        primary.uri("postgres"),
        repository(&other)
    ));
    primary.write(100);
    let ran = place.configured(&["run", "acme/main"]).ok();
    assert!(!ran.stderr.contains("no later time"), "its WAL is here: {}", ran.stderr);
    primary.write(5_000);
    primary.archive_all();
    let rows = primary.rows();
    how_far_the_archive_is_behind_is_told(&place, &primary);
    primary.stop("INT");

    let mut back = place.server("back");
    let to = back.directory.display().to_string();
    let ran = place.configured(&["backup", "restore", "acme/main", "--to", &to]).ok();
    assert!(!ran.stderr.contains("MAINSTAY_PASSWORD"), "it needs no variable: {}", ran.stderr);
    let settings = fs::read_to_string(back.directory.join("postgresql.auto.conf")).unwrap();
    let config = place.path().join("mainstay.toml").display().to_string();
    assert!(settings.contains(&format!("--config {config} --of acme wal fetch %f")), "{settings}");
    assert!(!settings.contains(PASSWORD), "{settings}");
    // Its environment says nothing of a repository.
    back.begin(&[]);
    back.wait_for("SELECT NOT pg_is_in_recovery()");
    assert_eq!(back.rows(), rows);
    let agents = place.agents_with(&format!("--config {config} "));
    assert_eq!(agents.len(), 1, "an agent has brought the log:\n{}", back.log_text());
}

/// In bytes by what the server says, in seconds by the end of the archive, and what can be come back to.
fn how_far_the_archive_is_behind_is_told(place: &Place, primary: &Server<'_>) {
    // An hour and a half ago, but for the oldest, which came late: that is no progress.
    place.archived_minutes_ago(90);
    let oldest = place.archived().into_iter().find(|path| path.extension().is_none()).unwrap();
    fs::File::open(oldest).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    let written =
        || primary.psql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").parse::<u64>().unwrap();
    let before = written();
    let ran = place.configured(&["--json", "wal", "status", "--source", "acme/main"]).ok();
    let status: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let cluster = &status["clusters"][0];
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let position = |value: &serde_json::Value| value.as_str().unwrap().parse::<Lsn>().unwrap();
    let ranges = cluster["timelines"][0]["ranges"].as_array().unwrap();
    let end = position(&ranges.last().unwrap()["endLsn"]);
    let told = end.0 + number(&cluster["lagBytes"]);
    assert!(before <= told && told <= written(), "{before} {told}: {cluster}");
    assert!((5400..9000).contains(&number(&cluster["lagSeconds"])), "{cluster}");
    let backup = place.configured(&["--json", "backup", "list", "acme"]).ok();
    let backup: serde_json::Value = serde_json::from_slice(&backup.stdout).unwrap();
    let (backup, window) = (&backup["records"][0], &cluster["windows"][0]);
    assert_eq!((&window["backup"], &window["fromLsn"]), (&backup["id"], &backup["stopLsn"]), "{cluster}");
    assert_eq!(position(&window["toLsn"]), end);
    assert!(cluster["windows"].as_array().unwrap().len() == 1 && ranges.len() == 1, "{cluster}");

    // In words, of the server that flags name; and without one.
    let socket = primary.socket_folder();
    let named = ["wal", "status", "--db-user", "postgres", "--db-host", &socket];
    let words = place.mainstay(&named).ok().text();
    assert!(words.contains(" behind the server") && words.contains(", the last one 5"), "{words}");
    let words = place.mainstay(&["wal", "status"]).ok().text();
    assert!(!words.contains("behind the server"), "{words}");
    // Who does not answer keeps nobody from seeing the rest.
    let dead = place.mainstay(&["wal", "status", "--db-host", "/nonexistent"]).ok();
    assert!(dead.text().contains("can come back on timeline 1"), "{}", dead.text());
    assert!(dead.stderr.contains("how far the log of the server is cannot be told"), "{}", dead.stderr);
}
