//! What is done with backups once they are there: copy, hold, delete, forget, prune, figures, keys' neighbours.

use std::fs;

use serde_json::Value;
use testkit::site::{PASSWORD, Site, files_below};
use testkit::tree::assert_same_tree;

use crate::{create, fill, id, restore, site};

#[track_caller]
fn json(site: &Site, arguments: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(arguments);
    serde_json::from_slice(&site.run(&all).ok().stdout).unwrap()
}

/// Everything but leases and locks, which come and go.
fn stored(site: &Site) -> Vec<(String, Vec<u8>)> {
    let is_kept = |name: &str| !name.starts_with("x/lease/") && !name.starts_with("locks/");
    site.files().into_iter().filter(|(name, _)| is_kept(name)).collect()
}

#[test]
fn copy_brings_backups_under_another_password() {
    let (site, data) = site();
    fill(&data, 20, 50_000);
    let first = id(&create(&site, &data, &["--label", "one", "--hold"]).ok());
    fs::write(data.join("more"), "more").unwrap();
    let second = id(&create(&site, &data, &[]).ok());
    let password = "O".repeat(64);
    let file = site.path().join("other-password");
    fs::write(&file, &password).unwrap();
    std::process::Command::new("chmod").arg("600").arg(&file).status().unwrap();
    let place = site.path().join("other");
    let other = site.program().with("MAINSTAY_REPOSITORY", &place).with("MAINSTAY_PASSWORD", &password);
    let (to, file) = (place.to_str().unwrap(), file.to_str().unwrap());
    site.run(&["copy", "--to", to, "--to-password-file", file]).exits(5).says("no repository");
    other.run(&["init", "--no-recovery-key"]).ok();
    site.run(&["copy", "--to", to]).exits(2).says("wrong password");
    site.run(&["copy", "nothing", "--to", to, "--to-password-file", file]).exits(5);
    let one = json(&site, &["copy", &first, "--to", to, "--to-password-file", file]);
    assert_eq!((one["copied"].as_array().unwrap().len(), &one["skipped"]), (1, &0.into()), "{one}");
    let rest = json(&site, &["copy", "--to", to, "--to-password-file", file]);
    assert_eq!((rest["copied"].as_array().unwrap().len(), &rest["skipped"]), (1, &1.into()), "{rest}");
    let stored: u64 = rest["storedBytes"].as_str().unwrap().parse().unwrap();
    assert!(stored < 20_000, "only what the second backup added: {stored}");
    site.run(&["copy", "--to", site.repository().to_str().unwrap()]).exits(6).says("same repository");
    // The same ids, labels and holds there, and every byte; also for restic.
    let listed: Value =
        serde_json::from_slice(&other.run(&["--json", "backup", "list"]).ok().stdout).unwrap();
    let records = listed["records"].as_array().unwrap();
    let seen: Vec<_> = records.iter().map(|one| (one["id"].as_str().unwrap(), one["hold"] == true)).collect();
    assert_eq!(seen, [(second.as_str(), false), (first.as_str(), true)]);
    let back = site.path().join("back");
    other.run(&["backup", "restore", &second, "--to", back.to_str().unwrap()]).ok();
    assert_same_tree(&data, &back);
    other.run(&["check", "--read-data"]).ok();
    for restic in testkit::restic::installed() {
        restic.run(&place, &password, &["check", "--read-data"]).ok();
    }
}

#[test]
fn a_backup_is_held_deleted_brought_back_and_pruned() {
    let (site, data) = site();
    fill(&data, 10, 100_000);
    let id = id(&create(&site, &data, &[]).ok());
    site.run(&["backup", "hold", &id]).ok();
    assert_eq!(json(&site, &["backup", "get", &id])["hold"], true);
    site.run(&["backup", "delete", &id]).exits(6).says("on hold");
    site.run(&["backup", "unhold", &id]).ok();
    assert_eq!(json(&site, &["backup", "get", &id])["hold"], false);
    let before = stored(&site);
    site.run(&["backup", "delete", &id, "--dry-run"]).ok();
    assert!(stored(&site) == before, "a dry run changes nothing");
    site.run(&["backup", "delete", &id]).ok();
    assert!(site.ids().is_empty());
    site.run(&["backup", "restore", &id, "--to", "/nonexistent/x"]).exits(5);
    site.run(&["backup", "delete", &id]).exits(5);
    assert_eq!(json(&site, &["backup", "undelete"])["deleted"][0]["id"], id.as_str());
    // Within the cooling-off time prune takes nothing.
    let report = json(&site, &["prune"]);
    assert_eq!(report["report"]["removedPacks"], 0, "{report}");
    assert!(report["report"]["waiting"].as_u64().unwrap() >= 2, "{report}");
    site.run(&["backup", "undelete", &id]).ok();
    assert_eq!(site.ids(), std::slice::from_ref(&id));
    let to = site.path().join("to");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
    assert_same_tree(&data, &to);
    site.assert_sound();
    site.run(&["backup", "delete", &id]).ok();
    let before = stored(&site);
    let plan = json(&site, &["prune", "--cooling-off", "0h", "--dry-run"]);
    assert!(plan["report"]["removedPacks"].as_u64().unwrap() >= 2 && plan["dryRun"] == true, "{plan}");
    assert!(stored(&site) == before, "a dry run changes nothing");
    let done = json(&site, &["prune", "--cooling-off", "0h"]);
    assert_eq!(done["report"]["removedPacks"], plan["report"]["removedPacks"], "{done}");
    site.run(&["backup", "undelete", &id]).exits(5);
    assert!(files_below(&site.repository().join("data")).is_empty());
    site.assert_sound();
    for wrong in ["x", "-1h", "3 parsecs"] {
        site.run(&["prune", &format!("--cooling-off={wrong}")]).exits(2);
    }
    site.run(&["prune", "--max-unused", "101%"]).exits(2);
}

#[test]
fn c12_what_disappeared_is_marked_and_what_was_deleted_is_not() {
    let (site, data) = site();
    let mut ids = vec![];
    for number in 0..4 {
        fs::write(data.join("file"), format!("state {number}")).unwrap();
        ids.push(id(&create(&site, &data, &[]).ok()));
    }
    let snapshot = |id: &str| json(&site, &["backup", "get", id])["snapshot"].as_str().unwrap().to_owned();
    let (taken, lost) = (snapshot(&ids[1]), snapshot(&ids[2]));
    site.run(&["backup", "delete", &ids[0]]).ok();
    // By another program, and by somebody with a hand on the store.
    for restic in testkit::restic::installed().into_iter().take(1) {
        site.restic(&restic, &["forget", &taken]).ok();
    }
    fs::remove_file(site.repository().join("snapshots").join(&lost)).unwrap();
    let listed = site.run(&["backup", "list"]).ok();
    let kind_of = |id: &str| {
        let text = String::from_utf8(listed.stdout.clone()).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{id} "))).map(str::to_owned);
        line.map(|line| line.split_whitespace().nth(6).unwrap().to_owned())
    };
    let kinds: Vec<_> = ids.iter().map(|id| kind_of(id)).collect();
    let [missing, there] = ["directory(missing)", "directory"].map(|kind| Some(kind.to_owned()));
    assert_eq!(kinds, [None, missing.clone(), missing, there]);
    assert!(listed.stderr.contains(&format!("{} disappeared", ids[2])), "{}", listed.stderr);
    let listed = json(&site, &["backup", "list"]);
    let of = |part: &str| -> Vec<String> {
        let records = listed[part].as_array().unwrap().iter();
        records.map(|record| record["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((of("records"), of("missing")), (vec![ids[3].clone()], vec![ids[2].clone(), ids[1].clone()]));
    for verb in [&["backup", "get", &ids[2]][..], &["backup", "restore", &ids[1], "--to", "/nonexistent/x"]] {
        site.run(verb).exits(5).says("disappeared");
    }
    // What was deleted and is gone for good did not disappear, and prune clears away what did.
    site.run(&["prune", "--cooling-off", "0h"]).ok();
    assert_eq!(json(&site, &["backup", "list"])["missing"].as_array().unwrap().len(), 0);
    assert_eq!(site.ids(), [ids[3].clone()]);
    site.assert_sound();
}

#[test]
fn forget_says_why_and_a_dry_run_forgets_nothing() {
    let (site, data) = site();
    let mut ids = vec![];
    for number in 0..4 {
        fs::write(data.join("file"), format!("state {number}")).unwrap();
        ids.push(id(&create(&site, &data, if number == 0 { &["--hold"] } else { &[] }).ok()));
    }
    let before = stored(&site);
    let plan = site.run(&["forget", "--keep-last", "1", "--dry-run"]).ok().text();
    assert!(plan.starts_with("ID ") && plan.contains("2 would be forgotten"), "{plan}");
    let action = |id: &str| {
        let line = plan.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap().to_owned();
        line.split_whitespace().nth(2).unwrap().to_owned()
    };
    let actions: Vec<_> = ids.iter().map(|id| action(id)).collect();
    assert_eq!(actions, ["keep", "forget", "forget", "keep"], "the first one is held\n{plan}");
    assert!(stored(&site) == before, "a dry run changes nothing");
    let kept = json(&site, &["forget", "--keep-within", "1d"]);
    assert_eq!(kept["forgotten"].as_array().unwrap().len(), 0, "all are younger");
    assert_eq!(json(&site, &["forget", "other", "--keep-last", "1"])["plan"].as_array().unwrap().len(), 0);
    // The four are of one year, or of two where it ends just now.
    let yearly = ["forget", "--keep-yearly", "3", "--time-zone", "Europe/Vienna", "--dry-run"];
    let kept =
        json(&site, &yearly)["plan"].as_array().unwrap().iter().filter(|one| one["forget"] == false).count();
    assert!((2..=3).contains(&kept), "the held one, and the newest of each year: {kept}");
    site.run(&["forget", "--keep-daily", "1", "--time-zone", "Atlantis"]).exits(2).says("Europe/Vienna");
    let done = json(&site, &["forget", "acme", "--keep-last", "1", "--keep-within", "0h"]);
    assert_eq!(done["forgotten"].as_array().unwrap().len(), 2, "{done}");
    assert_eq!(site.ids(), [ids[3].as_str(), &ids[0]]);
    site.run(&["backup", "undelete", &ids[1]]).ok();
    site.run(&["backup", "verify", &ids[1]]).ok();
    site.run(&["forget"]).exits(2).says("no policy");
    site.run(&["forget", "--keep-within", "soon"]).exits(2).says("soon");
    site.run(&["forget", "--keep-last", "many"]).exits(2).says("many");
    site.assert_sound();
}

#[test]
fn stats_tell_raw_and_stored_bytes_and_both_ratios() {
    let (site, data) = site();
    fs::write(data.join("text"), "the same words over and over ".repeat(100_000)).unwrap();
    let raw = fs::metadata(data.join("text")).unwrap().len();
    create(&site, &data, &[]).ok();
    create(&site, &data, &[]).ok();
    let stats = json(&site, &["stats", "--waste"]);
    let number = |name: &str| stats[name].as_str().map_or(f64::NAN, |text| text.parse().unwrap());
    assert_eq!((number("snapshots"), number("rawBytes")), (2.0, (2 * raw) as f64), "{stats}");
    assert!(stats["dedupRatio"].as_f64().unwrap() >= 1.9, "{stats}");
    assert!(stats["compressionRatio"].as_f64().unwrap() > 10.0, "{stats}");
    let packs: u64 =
        files_below(&site.repository().join("data")).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let stored = number("storedBytes");
    assert!(stored > 0.5 * packs as f64 && stored <= packs as f64, "{stored} of {packs} bytes in data/");
    assert!(stats["waste"]["unusedBytes"].is_string(), "{stats}");
    let text = site.run(&["stats"]).ok().text();
    for word in ["backups", "deduplication", "compression", "TENANT", "acme"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn check_reads_the_share_that_is_asked_for() {
    let (site, data) = site();
    fill(&data, 60, 1_000_000);
    create(&site, &data, &[]).ok();
    let all = json(&site, &["check", "--read-data"]);
    let packs = all["packs"].as_u64().unwrap();
    assert!(packs >= 4 && all["packsRead"] == packs, "{all}");
    assert_eq!(json(&site, &["check"])["packsRead"], 0);
    assert_eq!(json(&site, &["check", "--read-data=50%"])["packsRead"], packs.div_ceil(2));
    assert_eq!(json(&site, &["check", "--read-data=1%"])["packsRead"], 1);
    for wrong in ["0%", "101%", "half", "-5%"] {
        site.run(&["check", &format!("--read-data={wrong}")]).exits(2).says(wrong);
    }
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let (site, _) = site();
    let commands =
        ["init", "backup", "check", "stats", "forget", "prune", "copy", "key", "demo", "completions", "man"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = site.program().without("MAINSTAY_PASSWORD").run(&["completions", shell]).ok().text();
        for command in commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(!script.contains(PASSWORD));
    }
    site.run(&["completions", "tcsh"]).exits(2).says("tcsh");
    let place = site.path().join("man");
    site.run(&["man", place.to_str().unwrap()]).ok();
    for page in
        ["mainstay", "mainstay-backup", "mainstay-backup-create", "mainstay-prune", "mainstay-key-rotate"]
    {
        let text = fs::read_to_string(place.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".TH") && !text.contains(PASSWORD), "{page}");
    }
    // The shell that reads it must understand it.
    let script = site.path().join("completion.bash");
    fs::write(&script, site.run(&["completions", "bash"]).ok().stdout).unwrap();
    testkit::program::Program::new("bash").run(&["-n", script.to_str().unwrap()]).ok();
}
