//! The observer while it stays.

use std::fs;
use std::io::BufRead;
use std::process::Stdio;

use crate::Office;

/// A mistake in the file of one tenant must not silence the alarms of all.
#[test]
fn a_configuration_that_cannot_be_read_is_an_alarm_and_what_was_in_it_is_watched_on() {
    let office = Office::of_two("max_age = \"1h\"");
    office.run(&["run"]).ok();
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let text = format!("{text}[watch]\nevery = \"1s\"\n");
    office.configure(&text);
    let mut observer = office.program.command(&["watch"]);
    let mut observer = observer.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = std::io::BufReader::new(observer.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    let mut until = |words: &str| assert!(lines.by_ref().any(|line| line.contains(words)), "{words}");
    // It has read the right one when it alarms of what is gone.
    fs::rename(office.path().join("repositories/acme"), office.path().join("away")).unwrap();
    until("alarm acme/papers: nobody can look");
    office.configure(&text.replace("[watch]", "[watcher]"));
    until("alarm configuration: it cannot be read, and what was in it before is looked at");
    until("alarm acme/papers: nobody can look");
    office.configure(&text.replace("[tenants.acme.", "[tenants.gamma."));
    until("alarm gamma/papers: nobody can look");
    let pid = rustix::process::Pid::from_child(&observer);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(observer.wait().unwrap().code(), Some(0));
}

#[test]
fn h10_the_observer_alarms_of_a_repository_that_was_wiped_and_of_one_begun_anew_in_its_place() {
    let office = Office::of_two("max_age = \"1h\"");
    office.run(&["run"]).ok();
    office.run(&["watch", "--once"]).ok();
    let place = office.path().join("repositories/acme");
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir(&place).unwrap();
    let alarmed = office.run(&["watch", "--once"]).exits(7).says("acme/papers");
    assert!(!alarmed.stderr.contains("beta/papers"), "{}", alarmed.stderr);
    // Made by whoever wiped it: empty, or with a backup of nothing in it.
    office.run(&["init", "--no-recovery-key", "--again"]).ok();
    office.run(&["watch", "--once"]).exits(7).says("acme/papers");
    fs::remove_file(office.path().join("acme/paper")).unwrap();
    office.run(&["run", "acme"]).ok();
    let alarmed = office.run(&["watch", "--once"]).exits(7);
    assert!(alarmed.stderr.contains("alarm acme"), "{}", alarmed.stderr);
}
