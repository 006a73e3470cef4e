//! `run`, `run --due`, what they skip, forget and remember.

use std::fs;
use std::io::BufRead;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::Office;

fn outcomes(runs: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    runs["runs"].as_array().unwrap().iter().map(|run| (text(&run["name"]), text(&run["outcome"]))).collect()
}

#[test]
fn c20_what_is_due_runs_once_and_what_was_missed_comes_once() {
    let office = Office::of_two("schedule = \"@daily\"");
    let due = office.json(&["run", "--due", "--dry-run"]);
    assert_eq!(due["due"].as_array().unwrap().len(), 2);
    let mut ran = outcomes(&office.json(&["run", "--due"]));
    ran.sort();
    assert_eq!(
        ran,
        [("acme/papers", "ok"), ("beta/papers", "ok")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert_eq!(outcomes(&office.json(&["run", "--due"])), []);
    // This machine forgets everything: the repositories know what was made.
    fs::remove_dir_all(office.path().join(".local")).unwrap();
    assert_eq!(outcomes(&office.json(&["run", "--due"])), []);
    office.run(&["run", "acme"]).ok().says("backup ok id=acme-papers-");
    office
        .run(&["run", "acme/nothing"])
        .exits(5)
        .says("no tenant, source or set is called acme/nothing")
        .says("acme/papers");
    let runs = office.json(&["runs"]);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 3, "{runs}");
}

#[test]
fn one_that_fails_stops_no_other_and_its_reason_is_kept() {
    let office = Office::of_two("");
    fs::remove_dir_all(office.path().join("acme")).unwrap();
    let ran = office.run(&["run"]).exits(3);
    ran.says("run failed source=acme/papers").says("backup ok id=beta-papers-");
    let runs = office.json(&["runs", "acme"]);
    let reason = runs["runs"][0]["reason"].as_str().unwrap();
    assert!(runs["runs"][0]["outcome"] == "failed" && reason.contains("acme"), "{runs}");
    // Alone, it has its own exit code and words.
    office.run(&["run", "acme"]).exits(5).says("acme");
    office.secret("passwords/beta", "wrong");
    office.run(&["run", "beta"]).exits(2).says("password");
    fs::remove_file(office.path().join("passwords/beta")).unwrap();
    office.run(&["run", "beta"]).exits(2).says("passwords/beta");
}

#[test]
fn status_says_what_may_be_lost_now_and_exits_7_where_a_backup_is_late() {
    let office = Office::of_two("schedule = \"@daily\"\nmax_age = \"1h\"");
    office.run(&["status"]).exits(7).says("no backup in time of acme/papers, beta/papers");
    office.run(&["run"]).ok();
    let status = office.json(&["status", "acme"]);
    let acme = &status["sources"][0];
    assert!(
        acme["state"] == "ok" && acme["lastGoodId"].as_str().unwrap().starts_with("acme-papers-"),
        "{status}"
    );
    assert!(acme["rpoSeconds"].as_str().unwrap().parse::<u64>().unwrap() < 600);
    assert!(!acme["next"].as_str().unwrap().is_empty());
    let shown = office.run(&["status"]).ok().text();
    assert!(shown.starts_with("SOURCE") && shown.lines().count() == 3, "{shown}");
    // Twice as much as before.
    assert_eq!(acme["trendPercent"], "");
    office.file("acme/paper", &"what acme wrote".repeat(2));
    office.run(&["run", "acme"]).ok();
    assert_eq!(office.json(&["status", "acme"])["sources"][0]["trendPercent"], "100");
    assert!(office.run(&["status", "acme"]).ok().text().contains(" +100% "));
}

/// This machine remembers that it made a good backup; what became of it since stands in the repository.
#[test]
fn status_asks_the_repositories_where_it_is_told_to() {
    let office = Office::of_two("");
    let ran = office.json(&["run", "acme"]);
    let id = ran["runs"][0]["records"][0]["id"].as_str().unwrap();
    for pack in walk(&office.path().join("repositories/acme/data")) {
        let length = fs::metadata(&pack).unwrap().len() as usize;
        fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&pack, vec![0; length]).unwrap();
    }
    office.run(&["backup", "verify", id]).exits(4);
    let state = |more: &[&str]| {
        let status = office.json(&[&["status", "acme"], more].concat());
        let acme = status["sources"][0].clone();
        (acme["state"].as_str().unwrap().to_owned(), acme["lastGoodId"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(&[]), ("ok".to_owned(), id.to_owned()));
    assert_eq!(state(&["--refresh"]), ("failed".to_owned(), String::new()));
    assert_eq!(state(&[]).0, "failed");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// What ran is known again from the repositories alone; and a history that is damaged keeps no backup from being made.
#[test]
fn the_history_comes_back_from_the_repositories_and_a_damaged_one_stops_nothing() {
    let office = Office::of_two("schedule = \"@daily\"");
    for more in ["", " and more"] {
        office.file("acme/paper", &format!("what acme wrote{more}"));
        office.run(&["run"]).ok();
    }
    let known = |arguments: &[&str]| -> Vec<(String, String, String, String)> {
        let runs = office.json(arguments);
        let text = |run: &Value, key: &str| run[key].as_str().unwrap().to_owned();
        let one = |run: &Value| {
            (text(run, "backup"), text(run, "source"), text(run, "outcome"), text(run, "sizeBytes"))
        };
        let mut known: Vec<_> = runs["runs"].as_array().unwrap().iter().map(one).collect();
        known.sort();
        known
    };
    let before = known(&["runs"]);
    assert_eq!(before.len(), 4, "{before:?}");
    fs::remove_dir_all(office.path().join(".local")).unwrap();
    assert_eq!(known(&["runs"]), []);
    assert_eq!(known(&["runs", "--rebuild"]), before);
    assert_eq!(known(&["runs", "--rebuild"]), before, "each is learned once");
    // Its first page is whole, so that it opens.
    let file = office.path().join(".local/state/mainstay/runs.sqlite");
    let mut bytes = fs::read(&file).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(&file, bytes).unwrap();
    let ran = office.run(&["run", "--due"]).ok().says("the repositories are asked");
    assert!(!ran.stderr.contains("backup ok"), "nothing is due: {}", ran.stderr);
    office.run(&["run", "acme"]).ok().says("backup ok id=acme-papers-");
    office.run(&["status"]).ok().says("the repositories are asked");
}

#[test]
fn retention_of_the_configuration_forgets_after_a_good_backup() {
    let office = Office::of_two("retention = { keep_last = 2 }");
    for _ in 0..4 {
        office.run(&["run", "acme"]).ok();
    }
    office.run(&["run", "beta"]).ok();
    let listed = office.run(&["backup", "list", "--of", "acme"]).ok().text();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    // Nothing is gone for good.
    office.run(&["backup", "undelete", "--of", "acme"]).ok();
}

#[test]
fn copies_go_to_further_repositories_each_with_its_own_password() {
    let office =
        Office::of_two("copies = [{ url = \"ROOT/second\", password = \"file:ROOT/passwords/second\" }]");
    office.secret("passwords/second", &"Canary-of-the-second-".repeat(5));
    let place = office.path().join("second");
    let password = office.path().join("passwords/second");
    let second = ["-r", place.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
    // One place is down: the backup is made, and what is missing is said.
    office.run(&["run", "acme"]).exits(3).says("run incomplete source=acme/papers").says("second");
    office.run(&[&second[..], &["init", "--no-recovery-key"]].concat()).ok();
    office.run(&["run"]).ok();
    let listed = office.run(&[&second[..], &["backup", "list"]].concat()).ok().text();
    assert_eq!(listed.lines().count(), 4, "the one that it missed came too: {listed}");
}

/// Two at one time, as two pods or a daemon and a cron job are: one backs up, the other says that it was skipped.
#[test]
fn u4_a_lease_guards_against_a_second_machine_and_ends_with_its_holder() {
    let office = Office::of_two("");
    // Minutes at this speed: it is killed long before.
    testkit::tree::fill_with_noise(&office.path().join("acme/noise"), 1, 8);
    let mut slow = office.program.command(&["run", "acme", "--limit-upload", "20K"]);
    let mut slow = slow.stderr(Stdio::piped()).spawn().unwrap();
    let repository = office.path().join("repositories/acme");
    let lease = || {
        fs::read_dir(repository.join("x/lease")).is_ok_and(|mut all| {
            all.any(|one| one.unwrap().file_name().to_string_lossy().starts_with("run-acme"))
        })
    };
    while !lease() {
        assert!(slow.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = office.program.clone().with("XDG_STATE_HOME", office.path().join("other"));
    other.run(&["run", "acme"]).ok().says("run skipped source=acme/papers: another mainstay");
    slow.kill().unwrap();
    slow.wait().unwrap();
    // Killed, it holds nobody up.
    other.run(&["run", "acme"]).ok().says("backup ok id=acme-papers-");
    // And its run is said to have failed.
    office.run(&["run", "acme"]).ok();
    let runs = office.json(&["runs"]);
    let outcomes: Vec<_> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["outcome"].clone()).collect();
    assert_eq!(outcomes, ["ok", "failed"]);
    office.run(&["check", "--of", "acme", "--read-data"]).ok();
}

/// It runs what is due, takes a changed configuration without a restart, and ends with a signal.
#[test]
fn serve_runs_what_is_due_and_takes_a_changed_configuration() {
    let office = Office::of_two("schedule = \"@daily\"");
    let mut daemon = office.program.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(daemon.stderr.take().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    let mut until = |words: &str| lines.by_ref().find(|line| line.contains(words)).unwrap_or_default();
    assert!(!until("backup ok id=").is_empty());
    assert!(!until("backup ok id=").is_empty());
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure("[nonsense]");
    assert!(!until("the configuration stays as it was").is_empty());
    office.file("gamma/paper", "new");
    office.secret("passwords/gamma", &"Canary-of-gamma-".repeat(6));
    office.configure(&format!("{text}[tenants.gamma.sources.papers]\ndirectory = \"ROOT/gamma\"\n"));
    // Its repository is missing: that is said, and the others go on.
    assert!(!until("run failed source=gamma/papers").is_empty());
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    let runs = office.json(&["runs"]);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 3, "{runs}");
}

/// A folder that nobody can write stops no backup.
#[test]
fn without_a_place_for_its_history_it_backs_up_all_the_same() {
    let office = Office::of_two("");
    let nowhere = office.program.clone().with("MAINSTAY_STATE_DIR", "/proc/nowhere");
    nowhere.run(&["run"]).ok().says("runs are not remembered").says("backup ok id=acme-papers-");
}
