//! Directories that are backed up when they change, while `serve` runs.

use std::fs;
use std::io::BufRead;
use std::process::Stdio;

use crate::office::Office;

#[test]
fn t10_a_directory_that_changes_is_backed_up_when_it_has_come_to_rest() {
    // The repositories lie beside the directories; and one inside, which must not set itself off.
    let office = Office::of_two("schedule = \"on-change\"\nsettle = \"1s\"\ncopies = [\"ROOT/acme/copy\"]");
    let copy = office.path().join("acme/copy");
    let password = office.path().join("passwords/acme");
    let place = ["-r", copy.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
    office.run(&[&place[..], &["init", "--no-recovery-key"]].concat()).ok();
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let (acme, _) = text.split_once("[tenants.beta").unwrap();
    office.configure(acme);
    let mut daemon = office.program.command(&["serve"]);
    let mut daemon = daemon.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let lines = std::io::BufReader::new(daemon.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    let mut until = |words: &str| assert!(lines.by_ref().any(|line| line.contains(words)), "{words}");
    // It never ran.
    until("backup ok id=acme-papers-");
    office.file("acme/paper", "changed");
    until("backup ok id=acme-papers-");
    // Below a directory that is new.
    office.file("acme/deep/er/paper", "new");
    until("backup ok id=acme-papers-");
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    let listed = office.json(&["backup", "list", "--of", "acme"]);
    assert_eq!(listed["records"].as_array().unwrap().len(), 3, "nothing ran for no reason: {listed}");
    let id = listed["records"][0]["id"].as_str().unwrap();
    let to = office.path().join("to");
    office.run(&["backup", "restore", id, "--to", to.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(to.join("deep/er/paper")).unwrap(), "new");
}
