//! The observer: with a real mail server, a web server, and a daemon that is dead.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

#[path = "../office/mod.rs"]
mod office;

use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::http::{self, Response};
use testkit::mail::{Encryption, MAIL_PASSWORD, MailServer, USER};

use office::Office;

/// What a web server was told, by path.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

fn web() -> (u16, Heard) {
    let heard: Heard = Arc::default();
    let keep = Arc::clone(&heard);
    let port = http::start(move |request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        keep.lock().unwrap().push((request.path.clone(), body));
        Response::of(if request.path == "/broken" { 500 } else { 200 }, "")
    });
    (port, heard)
}

fn paths(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
}

/// Nobody who makes backups is running: what is missing is told all the same, once, again after a time, and when it ends.
#[test]
fn u3_a_missing_backup_is_told_by_web_and_mail_though_no_daemon_lives() {
    let (port, heard) = web();
    let mail = MailServer::start(Encryption::StartTls);
    let office = Office::of_two("schedule = \"@daily\"\nmax_age = \"1h\"");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.secret("mail", MAIL_PASSWORD);
    office.configure(&format!(
        "{text}[notify.ops]\nwebhook = {{ url = \"http://127.0.0.1:{port}/hook\" }}\n\
         email = {{ to = [\"oncall@acme.example\"], from = \"mainstay@acme.example\", ca = \"{}\",\n\
         server = \"smtp://{USER}@127.0.0.1:{}\", password = \"file:ROOT/mail\" }}\n\
         [watch]\nnotify = [\"ops\"]\nheartbeat = \"http://127.0.0.1:{port}/alive\"\n",
        mail.authority().display(),
        mail.port()
    ));
    let look = || office.run(&["watch", "--once"]);
    look().exits(7).says("alarm acme/papers: there is no good backup").says("alarm beta/papers");
    assert_eq!(paths(&heard), ["/hook", "/alive"]);
    let body = heard.lock().unwrap()[0].1.clone();
    assert!(body.contains("acme/papers") && body.contains("\"fault\":\"missing\""), "{body}");
    let mails = mail.mails();
    assert!(mails.len() == 1 && mails[0].contains("to: oncall@acme.example"), "{mails:?}");
    assert!(mails[0].contains("Subject: mainstay: 2 backups need attention"), "{}", mails[0]);
    // It lasts: nobody is told again, and the sign of life goes on.
    look().exits(7);
    assert_eq!((paths(&heard).len(), mail.mails().len()), (3, 1));
    office.run(&["run", "acme"]).ok();
    let shown = office.json(&["watch", "--once"]);
    assert_eq!(shown["alarms"].as_array().unwrap().len(), 1, "{shown}");
    let told = mail.mails();
    assert!(told.len() == 2 && told[1].contains("well again: acme/papers"), "{told:?}");
    office.run(&["run", "beta"]).ok();
    assert!(look().ok().text().contains("all is well"));
    // Gone behind everybody's back.
    fs::remove_dir_all(office.path().join("repositories/acme")).unwrap();
    look().exits(7).says("alarm acme/papers: nobody can look");
    for secret in [MAIL_PASSWORD, "Canary-of-acme"] {
        assert!(!mail.mails().concat().contains(secret) && !format!("{heard:?}").contains(secret));
    }
}

/// An alarm that reaches nobody is worse than an alarm; it is told again until somebody takes it.
#[test]
fn an_alarm_that_reached_nobody_is_a_failure_and_is_told_again() {
    let (port, heard) = web();
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let with = |notify: &str| {
        office.configure(&format!("{text}[notify.ops]\n{notify}\n[watch]\nnotify = [\"ops\"]\nheartbeat = \"http://127.0.0.1:{port}/alive\"\n"));
        office.run(&["watch", "--once"])
    };
    let broken = format!("webhook = {{ url = \"http://127.0.0.1:{port}/broken\" }}");
    with(&broken).exits(1).says("ops was not told: 127.0.0.1").says("alarm acme/papers");
    // No sign of life: whoever waits for it hears that something is wrong.
    assert_eq!(paths(&heard), ["/broken"]);
    with("webhook = { url = \"http://backups.example/x\" }").exits(1).says("only https://");
    let plain = MailServer::start(Encryption::None);
    let tls = MailServer::start(Encryption::FromTheFirstByte);
    office.secret("mail", MAIL_PASSWORD);
    let email = |server: String, ca: &std::path::Path| {
        format!(
            "email = {{ to = [\"a@b.example\"], from = \"m@b.example\", server = \"{server}\", password = \"file:ROOT/mail\", ca = \"{}\" }}",
            ca.display()
        )
    };
    // A server that does not encrypt gets neither the password nor the news.
    with(&email(format!("smtp://{USER}@127.0.0.1:{}", plain.port()), &plain.authority()))
        .exits(1)
        .says("was not told");
    assert_eq!(plain.mails(), Vec::<String>::new());
    // One for whom nobody vouches gets nothing either.
    with(&email(format!("smtps://{USER}@127.0.0.1:{}", tls.port()), &plain.authority()))
        .exits(1)
        .says("was not told");
    with(&email(format!("smtps://nobody@127.0.0.1:{}", tls.port()), &tls.authority()))
        .exits(1)
        .says("was not told");
    assert_eq!(tls.mails(), Vec::<String>::new());
    with(&email(format!("smtps://{USER}@127.0.0.1:{}", tls.port()), &tls.authority())).exits(7);
    assert_eq!(tls.mails().len(), 1);
    assert_eq!(paths(&heard).last().unwrap(), "/alive");
}

#[test]
fn backups_that_others_make_are_watched_as_they_are() {
    let office = Office::new(
        "[watch.dumps.legacy]\npath = \"ROOT/dumps/*.dump\"\nmax_age = \"26h\"\n\
         [watch.pgbackrest.main]\nstanza = \"main\"\nmax_age = \"26h\"\n",
    );
    let program = |answer: &str| {
        office.file("bin/pgbackrest", &format!("#!/bin/sh\ncat <<'JSON'\n{answer}\nJSON\n"));
        let path = office.path().join("bin/pgbackrest");
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let bin = format!("{}:{}", office.path().join("bin").display(), std::env::var("PATH").unwrap());
    let look = || office.program.clone().with("PATH", &bin).run(&["watch", "--once"]);
    program("[]");
    look()
        .exits(7)
        .says("alarm dumps/legacy: there is no good backup")
        .says("alarm pgbackrest/main: nobody can look");
    office.file("dumps/a.dump", "PGDMP and so on");
    let now = jiff::Timestamp::now().as_second();
    program(&format!(
        r#"[{{"name":"main","backup":[{{"info":{{"size":5}},"timestamp":{{"start":1,"stop":{now}}}}}],"status":{{"code":0,"message":"ok"}}}}]"#
    ));
    look().ok();
    office.file("dumps/b.dump", "pg_dump: error: connection failed");
    look().exits(7).says("alarm dumps/legacy: the newest backup is not good");
}

/// As a loop it goes on though a look fails, and ends with a signal.
#[test]
fn as_a_loop_it_looks_again_and_outlives_a_mistake_in_the_configuration() {
    let (port, heard) = web();
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let watch = format!("{text}[watch]\nevery = \"1s\"\nheartbeat = \"http://127.0.0.1:{port}/alive\"\n");
    office.configure(&watch);
    let mut observer =
        office.program.command(&["watch"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let more_than = |count: usize| {
        while paths(&heard).len() <= count {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    more_than(1);
    office.configure("[nonsense]");
    std::thread::sleep(Duration::from_secs(2));
    let count = paths(&heard).len();
    office.configure(&watch);
    more_than(count);
    let pid = rustix::process::Pid::from_child(&observer);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(observer.wait().unwrap().code(), Some(0));
}

/// Where `[watch]` names nobody, what concerns several sources is told to those who hear of one of them.
#[test]
fn a_set_and_a_mistake_are_told_to_the_receivers_of_the_defaults() {
    let (port, heard) = web();
    let office = Office::of_two("");
    office.run(&["run"]).ok();
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let text = text.replace("[defaults]", "[defaults]\nnotify = [\"ops\"]");
    let text = format!(
        "{text}[notify.ops]\nwebhook = {{ url = \"http://127.0.0.1:{port}/hook\" }}\n\
         [tenants.acme.sets.portal]\nmembers = [\"papers\"]\nmax_age = \"1h\"\n\
         [watch]\nevery = \"1s\"\nheartbeat = \"http://127.0.0.1:{port}/alive\"\n"
    );
    office.configure(&text);
    office.run(&["watch", "--once"]).exits(7).says("alarm acme/portal");
    let told = || -> Vec<String> {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|(path, _)| path == "/hook").map(|(_, body)| body.clone()).collect()
    };
    assert!(told().len() == 1 && told()[0].contains("acme/portal"), "{:?}", told());
    let mut observer =
        office.program.command(&["watch"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let until = |is_there: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !is_there() {
            assert!(std::time::Instant::now() < deadline, "{heard:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // It has read the right one when it gave a sign of its own.
    until(&|| paths(&heard).iter().filter(|path| *path == "/alive").count() > 1);
    office.configure("[nonsense]");
    until(&|| told().len() == 2);
    assert!(told()[1].contains("configuration"), "{:?}", told());
    let pid = rustix::process::Pid::from_child(&observer);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(observer.wait().unwrap().code(), Some(0));
}

/// Of two receivers one cannot be told: the other hears of it, and the sign of life goes on.
#[test]
fn one_receiver_that_cannot_be_told_does_not_silence_the_observer() {
    let (port, heard) = web();
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&format!(
        "{text}[notify.ops]\nwebhook = {{ url = \"http://127.0.0.1:{port}/broken\" }}\n\
         [notify.boss]\nwebhook = {{ url = \"http://127.0.0.1:{port}/boss\" }}\n\
         [watch]\nnotify = [\"ops\", \"boss\"]\nheartbeat = \"http://127.0.0.1:{port}/alive\"\n"
    ));
    let look = || office.run(&["watch", "--once"]);
    look().exits(1).says("ops was not told");
    let told = |path: &str| -> Vec<String> {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|(known, _)| known == path).map(|(_, body)| body.clone()).collect()
    };
    let boss = told("/boss");
    assert!(boss.len() == 2 && boss[0].contains("acme/papers") && boss[1].contains("notify/ops"), "{boss:?}");
    assert_eq!(told("/alive").len(), 1);
    // It lasts, and is told to the one who cannot hear alone.
    look().exits(1);
    assert_eq!((told("/broken").len(), told("/boss").len(), told("/alive").len()), (2, 2, 2));
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.configure(&text.replace("/broken", "/mended"));
    look().exits(7);
    assert!(told("/boss").last().unwrap().contains("recovered\":[\"notify/ops\"]"), "{:?}", told("/boss"));
    assert!(told("/mended")[0].contains("acme/papers"));
}

/// Mail is down, and then the web: the alarm comes by the other, once, and whoever is reached hears that one way is blocked.
#[test]
fn what_one_way_does_not_take_comes_by_the_other_and_is_not_told_twice() {
    let (port, heard) = web();
    let mail = MailServer::start(Encryption::FromTheFirstByte);
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    office.secret("mail", MAIL_PASSWORD);
    let look = |mail_port: u16, hook: &str| {
        office.configure(&format!(
            "{text}[notify.ops]\nwebhook = {{ url = \"http://127.0.0.1:{port}/{hook}\" }}\n\
             email = {{ to = [\"a@b.example\"], from = \"m@b.example\", ca = \"{}\",\n\
             server = \"smtps://{USER}@127.0.0.1:{mail_port}\", password = \"file:ROOT/mail\" }}\n\
             [watch]\nnotify = [\"ops\"]\nheartbeat = \"http://127.0.0.1:{port}/alive\"\n",
            mail.authority().display(),
        ));
        office.run(&["watch", "--once"])
    };
    let told = |path: &str| -> Vec<String> {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|(known, _)| known == path).map(|(_, body)| body.clone()).collect()
    };
    // Nobody listens at port 1.
    for _ in 0..2 {
        look(1, "hook").exits(1).says("ops/email was not told");
    }
    let by_web = told("/hook");
    assert!(by_web.len() == 2 && by_web[0].contains("acme/papers"), "{by_web:?}");
    assert!(by_web[1].contains("notify/ops/email"), "{by_web:?}");
    assert_eq!(told("/alive").len(), 2, "somebody was reached");
    fs::remove_dir_all(office.path().join(".local")).unwrap();
    for _ in 0..2 {
        look(mail.port(), "broken").exits(1).says("ops/webhook was not told");
    }
    let mails = mail.mails();
    assert!(mails.len() == 2 && mails[0].contains("acme/papers"), "{mails:?}");
    assert!(mails[1].contains("notify/ops/webhook"), "{mails:?}");
    // Both are well again: the web hears what it missed, and the mail that the web is back.
    look(mail.port(), "hook").exits(7);
    assert!(told("/hook")[2].contains("acme/papers"));
    assert!(mail.mails()[2].contains("well again: notify/ops/webhook"), "{:?}", mail.mails());
}

/// As the repository shows them.
#[test]
fn u3_a_backup_that_shrank_is_late_or_is_damaged_is_an_alarm() {
    let office = Office::of_two("");
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let (acme, _) = text.split_once("[tenants.beta").unwrap();
    let look = |more: &str| {
        office.configure(&format!("{acme}{more}"));
        office.run(&["watch", "--once"])
    };
    office.file("acme/large", &"a paper among many\n".repeat(1000));
    office.run(&["run", "acme"]).ok();
    look("").ok();
    fs::remove_file(office.path().join("acme/large")).unwrap();
    office.run(&["run", "acme"]).ok();
    look("").exits(7).says("alarm acme/papers: the newest backup has 15B, those before it had 18.6KiB");
    look("[watch]\nshrunk = 100\n").ok();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let is_late = || look("max_age = \"1s\"\n[watch]\nshrunk = 100\n").stderr.contains("older than 1s");
    while !is_late() {
        assert!(std::time::Instant::now() < deadline, "it is never late");
    }
    // What only the newest one has is damaged, and somebody looked.
    let packs = || -> std::collections::BTreeSet<_> {
        let folders = fs::read_dir(office.path().join("repositories/acme/data")).unwrap();
        let folders = folders.map(|folder| folder.unwrap().path());
        folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|pack| pack.unwrap().path())).collect()
    };
    let before = packs();
    testkit::tree::fill_with_noise(&office.path().join("acme/noise"), 1, 1);
    let ran = office.json(&["run", "acme"]);
    let new: Vec<_> = packs().difference(&before).cloned().collect();
    assert!(!new.is_empty());
    for pack in new {
        fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&pack, vec![0; fs::metadata(&pack).unwrap().len() as usize]).unwrap();
    }
    look("").ok();
    office.run(&["backup", "verify", ran["runs"][0]["records"][0]["id"].as_str().unwrap()]).exits(4);
    look("").exits(7).says("alarm acme/papers: the newest backup is not good; the last good one is of");
}

/// Threat 15: what cares for backups is looked at in the repository, whatever a job says of itself.
#[test]
fn threat_15_prune_and_verification_that_stopped_are_seen() {
    let office = Office::of_two("");
    office.run(&["run", "acme"]).ok();
    office.run(&["run", "acme"]).ok();
    let text = fs::read_to_string(office.path().join("mainstay.toml")).unwrap();
    let (acme, _) = text.split_once("[tenants.beta").unwrap();
    let look = |watch: &str| {
        office.configure(&format!("{acme}[watch]\n{watch}\n"));
        office.run(&["watch", "--once"])
    };
    let until = |watch: &str, words: &str| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !look(watch).stderr.contains(words) {
            assert!(std::time::Instant::now() < deadline, "{words}");
        }
    };
    look("prune = \"1h\"\nverify = \"1h\"").ok();
    until("verify = \"1s\"", "alarm acme/papers: none of its backups was ever verified");
    let listed = office.json(&["backup", "list"]);
    let id = listed["records"][1]["id"].as_str().unwrap().to_owned();
    office.run(&["backup", "verify", &id]).ok();
    until("verify = \"1s\"", "alarm acme/papers: the last verification that passed is of");
    look("verify = \"1h\"").ok();
    office.run(&["backup", "delete", &id]).ok();
    look("prune = \"1h\"").ok();
    until("prune = \"1s\"", "alarm acme: what was deleted on");
    office.run(&["prune", "--cooling-off", "0h"]).ok();
    look("prune = \"1s\"").ok();
}

/// Threat 2: keys that were changed, and a repository that was put in the place of another, alarm until somebody takes them.
#[test]
fn u15_a_key_that_was_swapped_is_seen_until_it_is_accepted() {
    let office = Office::of_two("");
    office.run(&["run"]).ok();
    let look = || office.run(&["watch", "--once"]);
    look().ok();
    let new = office.path().join("new");
    office.run(&["key", "add", "--of", "acme", "--generate-password", new.to_str().unwrap()]).ok();
    look().exits(7).says("alarm acme: its keys are others than before: 1 new, 0 gone");
    look().exits(7);
    office.run(&["watch", "--accept", "acme"]).ok();
    look().ok();
    // Another repository, which the same password opens.
    let place = office.path().join("repositories/acme");
    fs::remove_dir_all(&place).unwrap();
    let password = office.path().join("passwords/acme");
    let named = ["-r", place.to_str().unwrap(), "--password-file", password.to_str().unwrap()];
    office.run(&[&named[..], &["init", "--no-recovery-key", "--again"]].concat()).ok();
    office.run(&["run", "acme"]).ok();
    look()
        .exits(7)
        .says("alarm acme: it is another repository than the one that was there")
        .says("--accept acme");
}
