//! What the doctor says of a cluster and its log, that every step is named, and that nothing is changed.

use std::fs;

use serde_json::Value;
use testkit::means;
use testkit::postgres::of_major;
use testkit::program::Ran;
use testkit::site::PASSWORD;

use crate::server::{Place, Server};

/// The findings of one area and level, as one text.
fn found(ran: &Ran, area: &str, level: &str) -> String {
    let document: Value = serde_json::from_str(&ran.text()).unwrap_or_else(|_| panic!("{}", ran.stderr));
    let all = document["findings"].as_array().unwrap().iter();
    all.filter(|one| one["area"] == area && one["level"] == level).map(|one| format!("{one}\n")).collect()
}

#[track_caller]
fn has(ran: &Ran, area: &str, level: &str, words: &str) {
    assert!(found(ran, area, level).contains(words), "{area} {level} {words:?} is not in\n{}", ran.text());
}

fn configure(place: &Place, server: &Server<'_>, user: &str) {
    place.configure(&format!(
        "[tenants.acme]\nrepository = {{ url = \"PLACE/repository\", password = \"${{MAINSTAY_PASSWORD}}\" }}\n\
         [tenants.acme.sources.main]\ncluster = \"{}\"\nwal = {{ max_lag = \"5m\" }}\n",
        server.uri(user)
    ));
}

/// Our own command, as the book has it, with what a server's environment would say.
fn ours(place: &Place, repository: &str) -> String {
    let at = |name: &str| place.path().join(name).display().to_string();
    format!(
        "HOME={} MAINSTAY_NO_AGENT=1 MAINSTAY_REPOSITORY={} MAINSTAY_PASSWORD={PASSWORD} {} wal push %p",
        at("host-a"),
        at(repository),
        env!("CARGO_BIN_EXE_mainstay")
    )
}

#[test]
fn t14_the_doctor_names_what_keeps_wal_from_coming_and_touches_no_foreign_command() {
    let place = Place::new();
    let server = place.initdb("a").start(&[("archive_mode", "on")]);
    configure(&place, &server, "postgres");
    let doctor = || place.configured(&["--json", "doctor"]);
    let ran = doctor().ok();
    has(&ran, "repository", "ok", "opens");
    has(&ran, "cluster", "ok", "acme/main: role postgres may back it up");
    has(&ran, "wal", "warning", "archive_command is empty");
    has(&ran, "wal", "warning", "archive_timeout is not set, and WAL is to be archived within 5m");

    // Somebody else's command, which fails.
    server.set("archive_command", "env API_TOKEN=hunter2 cp %p /nonexistent/%f");
    server.psql("SELECT pg_switch_wal()");
    server.wait_for("SELECT failed_count > 0 FROM pg_stat_archiver");
    let settings = || fs::read(server.directory.join("postgresql.auto.conf")).unwrap();
    let before = settings();
    let ran = doctor().exits(2);
    has(&ran, "wal", "problem", "archive_command is another's: 'env …'; it is left as it is");
    has(&ran, "wal", "problem", "the archiver fails: 0000000100000000");
    assert!(settings() == before && !ran.text().contains("hunter2"), "{}", ran.text());

    // A script whose words tell nothing, and whose work is here.
    server.set("archive_command", &place.archive_command("host-a"));
    server.set("archive_timeout", "1min");
    server.archive_all();
    let ran = doctor().ok();
    has(&ran, "wal", "ok", "what it archives is in the repository");
    assert_eq!(found(&ran, "wal", "warning"), "");
    server.set("archive_command", &ours(&place, "repository"));
    server.write(1);
    server.archive_all();
    let ran = doctor().ok();
    has(&ran, "wal", "ok", "archive_command hands it to mainstay");
    has(&ran, "wal", "ok", "is in the repository");
    // By the environment of a shell instead of a configuration.
    let named = ["--json", "doctor", "--db-user", "postgres", "--db-host", &server.socket_folder()];
    has(&place.mainstay(&named).ok(), "wal", "ok", "archive_command hands it to mainstay");

    // A command that keeps nothing and says yes: who backs up looks for himself.
    server.set("archive_command", "/bin/true");
    place.configured(&["run", "acme/main"]).ok().says("for archived, and it is not in this repository");
    server.set("archive_command", &ours(&place, "repository"));
    server.write(1);
    server.archive_all();

    // A slot that nobody uses, a role that may not, and an archive that lost what it had taken.
    server.psql("SELECT pg_create_physical_replication_slot('left_behind', true); CREATE ROLE weak LOGIN");
    has(&doctor().ok(), "cluster", "warning", "nobody uses slot left_behind");
    has(&doctor().ok(), "cluster", "warning", "max_slot_wal_keep_size is no limit");
    // One for which the server has given up what it was to keep.
    server.set("max_slot_wal_keep_size", "1MB");
    has(&doctor().ok(), "cluster", "warning", "beyond 1.0MiB (max_slot_wal_keep_size) its user cannot go on");
    server.write(5_000);
    server.psql("CHECKPOINT");
    server.wait_for("SELECT wal_status = 'lost' FROM pg_replication_slots");
    has(&doctor().ok(), "cluster", "warning", "slot left_behind has lost WAL that it was to keep");
    server.archive_all();
    server.psql("SELECT pg_drop_replication_slot('left_behind')");
    configure(&place, &server, "weak");
    let ran = doctor().exits(2);
    has(&ran, "cluster", "problem", "role weak may neither put it into backup mode nor have it streamed");
    has(&ran, "cluster", "problem", "GRANT EXECUTE ON FUNCTION pg_");
    configure(&place, &server, "postgres");
    server.set("archive_timeout", "0");
    place.archived().iter().for_each(|path| fs::remove_file(path).unwrap());
    has(&doctor().exits(7), "wal", "problem", "for archived, and the repository has it not");
    if means::is_root("make what is closed to others") {
        what_root_made_is_closed_to_the_server(&place, &server);
    }
}

fn what_root_made_is_closed_to_the_server(place: &Place, server: &Server<'_>) {
    let repository = place.path().join("of-root").display().to_string();
    place.as_root(&["-r", &repository, "init", "--no-recovery-key"]).ok();
    server.set("archive_command", &ours(place, "of-root"));
    let socket = server.socket_folder();
    let named = ["-r", &repository, "--json", "doctor", "--db-user", "postgres", "--db-host", &socket];
    let ran = place.as_root(&named);
    has(&ran, "wal", "problem", "belongs to root and is closed to postgres, whom the server runs as");
    has(&ran, "wal", "problem", &format!("chown -R postgres {repository}"));
}

#[test]
fn a_cluster_whose_wal_is_promised_and_not_archived_is_a_problem_and_one_that_is_not_is_none() {
    let place = Place::new();
    let mut server = place.initdb("a").start(&[("wal_level", "minimal"), ("max_wal_senders", "0")]);
    configure(&place, &server, "postgres");
    let ran = place.configured(&["--json", "doctor"]).exits(2);
    has(&ran, "cluster", "problem", "acme/main: wal_level is minimal: no cluster is backed up");
    server.stop("INT");
    let mut server = server.start(&[]);
    let ran = place.configured(&["--json", "doctor"]).exits(2);
    assert!(!found(&ran, "cluster", "problem").contains("wal_level"), "{}", ran.text());
    has(&ran, "wal", "problem", "acme/main: archive_mode is off");
    has(&ran, "wal", "problem", "mainstay wal push %p");
    // Whoever only dumps its databases has promised nothing.
    fs::remove_file(place.path().join("mainstay.toml")).unwrap();
    let socket = server.socket_folder();
    let named = ["--json", "doctor", "--db-user", "postgres", "--db-host", &socket];
    has(&place.mainstay(&named).ok(), "wal", "ok", "archive_mode is off");

    // It archived until it was started without: what it wrote since is hardly anything, and nobody takes it.
    let push = place.archive_command("host-a");
    server.stop("INT");
    let mut server = server.start(&[("archive_mode", "on"), ("archive_command", &push)]);
    server.write(10);
    server.archive_all();
    server.stop("INT");
    let _server = server.start(&[]);
    has(&place.mainstay(&named).ok(), "wal", "warning", "nobody receives from this server");
}

#[test]
fn a_server_that_could_say_what_changed_and_does_not_is_told_of() {
    let Some(bin) = of_major(18) else { return means::lack("PostgreSQL 18 cannot be had here") };
    let place = Place::of(bin);
    let server = place.initdb("a").start(&[]);
    configure(&place, &server, "postgres");
    let doctor = || place.configured(&["--json", "doctor"]);
    has(&doctor().exits(2), "cluster", "ok", "summarize_wal is off: increments look at files");
    server.set("summarize_wal", "on");
    let ran = doctor().exits(2);
    assert!(!found(&ran, "cluster", "ok").contains("summarize_wal"), "{}", ran.text());
}
