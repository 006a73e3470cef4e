//! A server that was restored by the configuration of its tenant, and finds its log by that alone.

use std::fs;

use testkit::site::PASSWORD;

use crate::server::Place;

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
    place.configured(&["run", "acme/main"]).ok();
    primary.write(5_000);
    primary.archive_all();
    let rows = primary.rows();
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
