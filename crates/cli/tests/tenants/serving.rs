//! `mainstay serve` while it lives: what is changed under it, who else is at work beside it.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::means::is_root;

use crate::Office;

/// A daemon, and what it says.
struct Daemon {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Daemon {
    fn of(office: &Office) -> Self {
        let mut command = office.program.command(&["serve"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that has one of these words.
    fn until(&mut self, words: &[&str]) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.unwrap());
        lines
            .find(|line| words.iter().any(|words| line.contains(words)))
            .unwrap_or_else(|| panic!("{words:?}"))
    }

    /// Ended by a signal.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        // What it says on the way must find room.
        self.lines.by_ref().for_each(drop);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
    }
}

fn until_exists(office: &Office, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !office.path().join(name).exists() {
        assert!(Instant::now() < deadline, "{name} never comes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// With `more` tables, and a run of acme's papers that lasts until there is a file `go`.
fn with_a_long_run(text: &str, more: &str) -> String {
    let hook = "hooks = { before = [\"touch ROOT/began; while [ ! -e ROOT/go ]; do sleep 0.05; done\"] }";
    format!(
        "{}{more}",
        text.replace("[tenants.beta", &format!("{hook}\n[limits]\ntenants = 2\n[tenants.beta"))
    )
}

fn source(tenant: &str, name: &str) -> String {
    format!("[tenants.{tenant}.sources.{name}]\ndirectory = \"ROOT/{tenant}\"\n")
}

/// A run is out, and the configuration is changed: who is new runs at once; what becomes due of the tenant that is at work is
/// skipped and not queued; another machine keeps away; and when the run is over, its tenant is free.
#[test]
fn u4_a_long_run_keeps_no_other_tenant_waiting_and_what_it_overlaps_is_skipped() {
    let office = Office::of_two("schedule = \"@daily\"");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&with_a_long_run(&text, ""));
    let mut daemon = Daemon::of(&office);
    daemon.until(&["backup ok id=beta-papers-"]);
    until_exists(&office, "began");
    // A daemon and a cron job, on this machine and on another one.
    let other = office.program.clone().with("XDG_STATE_HOME", office.path().join("other"));
    other.run(&["run", "--due", "acme"]).ok().says("run skipped source=acme/papers: another mainstay");
    if is_root("be on another machine") {
        let script = "echo elsewhere > /proc/sys/kernel/hostname && exec \"$0\" \"$@\"";
        let elsewhere = other.under(&["unshare", "--uts", "sh", "-c", script]);
        elsewhere.run(&["run", "acme"]).ok().says("run skipped source=acme/papers: another mainstay");
    }
    // One source more of the tenant that is at work, and one more tenant.
    office.file("gamma/paper", "new");
    office.secret("passwords/gamma", &"Canary-of-gamma-".repeat(6));
    let mut more = [source("acme", "more"), source("gamma", "papers")].concat();
    let later = with_a_long_run(&text, &more).replace("ROOT", &office.path().to_string_lossy());
    office.file("later.toml", &later);
    let config = office.path().join("later.toml");
    office.run(&["--config", config.to_str().unwrap(), "init", "--no-recovery-key"]).ok();
    office.configure(&later);
    daemon.until(&["run skipped source=acme/more: a run of this tenant is out since"]);
    daemon.until(&["backup ok id=gamma-papers-"]);
    assert!(!office.path().join("go").exists());
    office.file("go", "");
    daemon.until(&["backup ok id=acme-papers-"]);
    // Skipped is skipped: it waits for its next time, and others of the tenant run.
    for name in ["third", "fourth", "fifth"] {
        more += &source("acme", name);
        office.configure(&with_a_long_run(&text, &more));
        let (ok, skipped) =
            (format!("backup ok id=acme-{name}-"), format!("run skipped source=acme/{name}:"));
        // What comes behind the backup may not be over yet.
        if daemon.until(&[&ok, &skipped]).contains(&ok) {
            break;
        }
        assert_ne!(name, "fifth", "its tenant is never free");
    }
    daemon.end();
    let outcome = |name: &str| {
        let runs = office.json(&["runs", name]);
        let runs = runs["runs"].as_array().unwrap().clone();
        assert_eq!(runs.len(), 1, "{runs:?}");
        (runs[0]["outcome"].clone(), runs[0]["reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(outcome("acme/papers").0, "ok");
    let (skipped, reason) = outcome("acme/more");
    assert!(skipped == "skipped" && reason.starts_with("a run of this tenant is out since"), "{reason}");
    // Whoever was kept away finds the backup that the other one made.
    let told = other.run(&["status", "acme/papers", "--json"]).ok().text();
    assert!(told.contains("\"lastGoodId\": \"acme-papers-"), "{told}");
}

/// Passwords are fetched for each run, and the file of variables is read again when it changes.
#[test]
fn a_password_and_a_variable_that_are_replaced_hold_from_the_next_run_on() {
    let office = Office::of_two("schedule = \"on-change\"\nsettle = \"1s\"");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let repository = "repository = { url = \"ROOT/repositories/acme\", password = \"${ACME_KEY}\" }";
    let acme = "[tenants.acme.sources";
    office.configure(&text.replace(acme, &format!("[tenants.acme]\n{repository}\n{acme}")));
    let put_variable = |password: &str| office.secret(".env", &format!("ACME_KEY={password}\n"));
    put_variable(&fs::read_to_string(office.path().join("passwords/acme")).unwrap());
    let mut daemon = Daemon::of(&office);
    let both = |daemon: &mut Daemon| {
        let [acme, beta] = ["acme", "beta"].map(|tenant| format!("backup ok id={tenant}"));
        let first = daemon.until(&[&acme, &beta]);
        daemon.until(&[if first.contains(&acme) { &beta } else { &acme }]);
    };
    both(&mut daemon);
    for tenant in ["acme", "beta"] {
        let new = office.path().join(format!("new-{tenant}"));
        office.run(&["key", "rotate", "--of", tenant, "--generate-password", new.to_str().unwrap()]).ok();
    }
    put_variable(fs::read_to_string(office.path().join("new-acme")).unwrap().trim());
    daemon.until(&["was changed and is read again"]);
    fs::rename(office.path().join("new-beta"), office.path().join("passwords/beta")).unwrap();
    for tenant in ["acme", "beta"] {
        office.file(&format!("{tenant}/paper"), "changed");
    }
    both(&mut daemon);
    daemon.end();
}
