//! Commands around a run.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::program::Ran;

use crate::office::Office;

/// An office whose tenant acme has a directory with these `hooks`.
fn with_hooks(hooks: &str) -> Office {
    let office = Office::of_two("");
    put_hooks(&office, "hooks", hooks);
    office
}

fn put_hooks(office: &Office, key: &str, hooks: &str) {
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let (before, behind) = text.split_once("[tenants.beta").unwrap();
    let before = before.split(key).next().unwrap();
    office.configure(&format!("{before}{key} = {{ {hooks} }}\n[tenants.beta{behind}"));
}

fn log(office: &Office) -> String {
    fs::read_to_string(office.path().join("log")).unwrap_or_default()
}

#[test]
fn t11_commands_run_in_order_around_a_run_and_what_they_say_is_kept() {
    let office = with_hooks(
        "before = [\"echo stop >> ROOT/log\", \"env > ROOT/env; echo said; echo aloud >&2\"],\n\
         after = [\"echo start $MAINSTAY_TENANT/$MAINSTAY_SOURCE $MAINSTAY_OUTCOME $MAINSTAY_BACKUP_ID >> ROOT/log\"],\n\
         on_failure = [\"echo failed >> ROOT/log\"]",
    );
    let ran = office.json(&["run", "acme"]);
    let id = ran["runs"][0]["records"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(log(&office), format!("stop\nstart acme/papers ok {id}\n"));
    let runs = office.json(&["runs", "acme"]);
    let hooks = runs["runs"][0]["hooks"].as_array().unwrap();
    assert_eq!(hooks.len(), 3, "{runs}");
    assert_eq!(
        (hooks[1]["stage"].as_str(), hooks[1]["output"].as_str()),
        (Some("before"), Some("said\naloud"))
    );
    // What they are told holds no secret.
    let environment = fs::read_to_string(office.path().join("env")).unwrap();
    assert!(
        environment.contains("MAINSTAY_STAGE=before") && !environment.contains("Canary"),
        "{environment}"
    );
    assert!(!office.run(&["runs", "--json"]).ok().text().contains("Canary"));
}

#[test]
fn t11_a_command_that_fails_stops_the_chain() {
    let office = with_hooks(
        "before = [\"echo one >> ROOT/log\", \"echo no lock; exit 4\", \"echo three >> ROOT/log\"],\n\
         after = [\"echo after >> ROOT/log\"], on_failure = [\"echo $MAINSTAY_OUTCOME: $MAINSTAY_REASON >> ROOT/log\"]",
    );
    office
        .run(&["run", "acme"])
        .exits(1)
        .says("hook before `echo no lock; exit 4`: it ended with exit status 4: no lock");
    assert!(log(&office).starts_with("one\nfailed: hook before"), "{}", log(&office));
    assert_eq!(log(&office).lines().count(), 2);
    assert_eq!(office.json(&["backup", "list", "--of", "acme"])["records"].as_array().unwrap().len(), 0);
    // The other tenant is not touched.
    office.run(&["run"]).exits(3).says("backup ok id=beta-papers-");
    // One that hangs is ended, and what it held is let go by on_failure.
    let office = with_hooks(
        "before = [{ command = \"sleep 100\", timeout = \"1s\" }], on_failure = [\"echo start >> ROOT/log\"]",
    );
    office.run(&["run", "acme"]).exits(1).says("it was killed after 1 s");
    assert_eq!(log(&office), "start\n");
    // A backup that fails has its own chain, and one that is behind a good backup does not take it away.
    let office = with_hooks("after = [\"exit 1\"], on_failure = [\"echo failed >> ROOT/log\"]");
    office.run(&["run", "acme"]).exits(3).says("run partial source=acme/papers: hook after");
    assert_eq!(log(&office), "");
    fs::remove_dir_all(office.path().join("acme")).unwrap();
    office.run(&["run", "acme"]).exits(5);
    assert_eq!(log(&office), "failed\n");
    office.configure("[repository]\nurl = \"/r\"\n[tenants.a.sources.s]\ndirectory = \"/d\"\nhooks = { before = [\"\"] }\n");
    office.run(&["config", "check"]).exits(2).says(":5: ").says("a command is not empty");
}

/// A restore of one source; what it is restored from is a directory, and databases go the same road.
#[test]
fn t11_commands_run_around_a_restore_and_the_first_that_fails_stops_the_chain() {
    let office = Office::of_two("");
    let good = "before = [\"echo stop >> ROOT/log; echo stopped\"],\n\
        after = [\"echo start $MAINSTAY_SOURCE $MAINSTAY_BACKUP_ID $MAINSTAY_OUTCOME >> ROOT/log\"],\n\
        on_failure = [\"echo $MAINSTAY_OUTCOME: $MAINSTAY_REASON >> ROOT/log\"]";
    put_hooks(&office, "restore_hooks", good);
    office.run(&["run", "acme"]).ok();
    assert_eq!(log(&office), "", "they are not around backups");
    let number = std::cell::Cell::new(0);
    let restore = |more: &[&str]| {
        number.set(number.get() + 1);
        let to = office.path().join(format!("back-{}", number.get()));
        let ran =
            office.run(&[&["backup", "restore", "acme/papers", "--to", to.to_str().unwrap()], more].concat());
        (ran, to)
    };
    let (planned, to) = restore(&["--dry-run"]);
    planned.ok().says("echo stop >>").says("--no-hooks");
    assert!(log(&office).is_empty() && !to.exists());
    let (ran, to) = restore(&[]);
    ran.ok();
    assert!(to.join("paper").exists());
    let told = log(&office);
    assert!(told.starts_with("stop\nstart papers acme-papers-") && told.ends_with(" ok\n"), "{told}");
    let kept = office.json(&["runs", "--restores", "acme/papers"])["restores"][0].clone();
    assert_eq!(
        (kept["outcome"].as_str(), kept["hooks"][0]["output"].as_str()),
        (Some("ok"), Some("stopped")),
        "{kept}"
    );
    // Nothing is stopped for what is refused, or where nobody wants it.
    let full = ["backup", "restore", "acme/papers", "--to", to.to_str().unwrap()];
    office.run(&full).exits(6).says("is not empty");
    let (ran, _) = restore(&["--no-hooks"]);
    ran.ok();
    assert_eq!(log(&office), told);
    // A mistake in the configuration hides no way out, also where it says what to mend.
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&text.replace("directory =", "directori ="));
    let (repository, password) =
        (office.path().join("repositories/acme"), office.path().join("passwords/acme"));
    let (named, to) = (
        ["-r", repository.to_str().unwrap(), "--password-file", password.to_str().unwrap()],
        office.path().join("by-name"),
    );
    let named = [&named[..], &["backup", "restore", "acme/papers", "--to", to.to_str().unwrap()]].concat();
    office.run(&named).exits(2).says("directori").says("--no-hooks");
    office.run(&[&named[..], &["--no-hooks"]].concat()).ok();
    assert_eq!(log(&office), told);
    office.configure(&text);
    // One that fails.
    fs::remove_file(office.path().join("log")).unwrap();
    put_hooks(&office, "restore_hooks", &good.replace("before = [", "before = [\"echo no lock; exit 4\", "));
    let (ran, to) = restore(&[]);
    ran.exits(1).says("hook before `echo no lock; exit 4`: it ended with exit status 4: no lock");
    assert!(
        !to.exists() && log(&office).starts_with("failed: hook before") && log(&office).lines().count() == 1
    );
    let kept = office.json(&["runs", "--restores"])["restores"][0].clone();
    assert_eq!(
        (kept["outcome"].as_str(), kept["hooks"].as_array().unwrap().len()),
        (Some("failed"), 2),
        "{kept}"
    );
    put_hooks(&office, "restore_hooks", "after = [\"exit 1\"]");
    let (ran, to) = restore(&[]);
    ran.exits(3).says("hook after `exit 1`").says("everything is restored");
    assert!(to.join("paper").exists());
    // What is damaged comes to on_failure, and keeps its own exit code.
    put_hooks(&office, "restore_hooks", good);
    fs::remove_file(office.path().join("log")).unwrap();
    fs::rename(office.path().join("repositories/acme/data"), office.path().join("data")).unwrap();
    let (ran, _) = restore(&[]);
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert!(log(&office).contains("failed: ") && !log(&office).contains("start"), "{}", log(&office));
}

/// Each run waits until two are there, so it ends only where two run at one time; and tells when it ends, so a third would show.
#[test]
fn as_many_tenants_run_at_one_time_as_the_limit_says_and_no_more() {
    let tenant = |name: &str| {
        format!(
            "[tenants.{name}.sources.papers]\ndirectory = \"ROOT/{name}\"\n\
             hooks = {{ before = [\"echo + >> ROOT/log; until [ $(grep -c + ROOT/log) -ge 2 ]; do sleep 0.05; done; sleep 0.3\"],\n\
             after = [\"echo - >> ROOT/log\"] }}\n"
        )
    };
    let tenants = ["acme", "beta", "gamma", "delta"];
    let office = Office::new(&format!(
        "[repository]\nurl = \"ROOT/repositories\"\npassword = \"file:ROOT/password\"\n[limits]\ntenants = 2\n{}",
        tenants.map(tenant).concat()
    ));
    office.secret("password", &"Canary-of-all-".repeat(6));
    tenants.iter().for_each(|name| office.file(&format!("{name}/paper"), name));
    office.run(&["init", "--no-recovery-key"]).ok();
    office.run(&["run"]).ok();
    let (mut depth, mut deepest) = (0_i32, 0);
    for line in log(&office).lines() {
        depth += if line == "+" { 1 } else { -1 };
        deepest = deepest.max(depth);
    }
    assert_eq!((depth, deepest, log(&office).lines().count()), (0, 2, 8), "{}", log(&office));
}

/// Whoever asks twice to stop gets no application that stays down, and a restore of which nobody knows.
#[test]
fn t11_what_was_stopped_begins_again_however_often_somebody_asks_to_stop() {
    let office = Office::of_two("");
    office.run(&["run", "acme"]).ok();
    let hooks = "before = [\"touch ROOT/began; while [ ! -e ROOT/never ]; do sleep 0.05; done\"],\n\
        on_failure = [\"touch ROOT/failing; while [ ! -e ROOT/go ]; do sleep 0.05; done; echo start >> ROOT/log\"]";
    put_hooks(&office, "restore_hooks", hooks);
    let to = office.path().join("back");
    let restore = office.program.start(&["backup", "restore", "acme/papers", "--to", to.to_str().unwrap()]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait_for = |name: &str| {
        while !office.path().join(name).exists() {
            assert!(Instant::now() < deadline, "{name} never comes");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for comes in ["began", "failing"] {
        wait_for(comes);
        kill_process(Pid::from_child(&restore), Signal::INT).unwrap();
    }
    office.file("go", "");
    Ran::wait(restore).exits(1);
    assert_eq!(log(&office), "start\n");
    assert!(!to.exists());
    assert_eq!(office.json(&["runs", "--restores"])["restores"][0]["outcome"], "failed");
}
