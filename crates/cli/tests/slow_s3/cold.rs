//! Hot and cold parts in object storage: what of the cold one is asked for, and what is warmed up before it is read.

use std::fs;

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::s3::S3;
use testkit::site::{at_server, files_below, id_of};

use crate::{BUCKET, Far, ceph, text, with_credentials};

/// On one server, below two prefixes; `class` is the storage class of the cold part's packs.
pub(crate) fn pair(s3: &S3, class: &str) -> Far {
    let mut far = Far::bare(&format!("{}{class}", s3.url(BUCKET, "cold")), with_credentials);
    far.program = far.program.with("MAINSTAY_REPOSITORY_HOT", s3.url(BUCKET, "hot"));
    far.restic_url = s3.restic_url(BUCKET, "cold");
    far.run(&["init", "--no-recovery-key"]).ok();
    far
}

/// Nobody may read anything below this prefix.
fn deny_reading(s3: &S3, prefix: &str) {
    let policy = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Deny\",\"Principal\":\"*\",\
         \"Action\":[\"s3:GetObject\"],\"Resource\":[\"arn:aws:s3:::{BUCKET}/{prefix}/*\"]}}]}}"
    );
    s3.ask("PUT", &format!("{BUCKET}?policy="), &[], &policy);
}

#[test]
fn u8_whoever_may_not_read_the_cold_part_does_all_but_restore() {
    let s3 = ceph();
    let far = pair(&s3, "");
    let cold = far.program.clone().without("MAINSTAY_REPOSITORY_HOT");
    deny_reading(&s3, "cold");
    // The policy holds.
    cold.run(&["backup", "list"]).exits(1).says("permission denied");

    let source = far.source("tree", 8);
    let first = id_of(&far.back_up(&source, &[]).ok());
    fs::remove_dir_all(&source).unwrap();
    far.source("tree", 40);
    fs::write(source.join("more"), "more").unwrap();
    let second = id_of(&far.back_up(&source, &["--hold"]).ok());
    fs::write(source.join("still more"), "more").unwrap();
    let third = id_of(&far.back_up(&source, &[]).ok());
    assert_eq!(far.ids(), [third.as_str(), &second, &first]);
    far.run(&["backup", "get", &first]).ok();
    far.run(&["backup", "unhold", &second]).ok();
    far.run(&["backup", "delete", &second]).ok();
    far.run(&["backup", "undelete", &second]).ok();
    far.run(&["stats"]).ok();
    far.run(&["key", "list"]).ok();
    far.run(&["check"]).ok();
    far.run(&["forget", "--keep-last", "1", "--dry-run"]).ok();
    far.run(&["forget", "--keep-last", "1"]).ok();
    let plan = far.json(&["prune", "--cooling-off", "0h", "--dry-run"]);
    assert_ne!(plan["report"]["removedPacks"], 0, "{plan}");
    far.run(&["prune", "--cooling-off", "0h"]).ok();
    // What was brought back was received last.
    assert_eq!(far.ids(), [third.as_str(), &second]);
    far.run(&["repair", "hot", "--dry-run"]).exits(1).says("permission denied");
    let to = far.site.path().join("denied");
    far.run(&["backup", "restore", &third, "--to", text(&to)]).exits(1).says("permission denied");

    s3.ask("DELETE", &format!("{BUCKET}?policy="), &[], "");
    far.assert_restores(&third, &source);
    far.assert_sound();
    // And the other way round: packs of data are not looked for in hot alone, nor metadata in cold.
    deny_reading(&s3, "hot");
    far.run(&["backup", "list"]).exits(1).says("permission denied");
    cold.run(&["backup", "list"]).ok();
}

#[test]
fn u8_cold_packs_are_told_asked_for_and_waited_for() {
    let s3 = S3::moto();
    s3.thaw_at_look(2);
    s3.make_bucket(BUCKET);
    let far = pair(&s3, "&storage-class=DEEP_ARCHIVE");
    let source = far.source("tree", 24);
    let id = id_of(&far.back_up(&source, &[]).ok());
    far.run(&["check"]).ok();
    far.run(&["check", "--read-data"]).exits(3).says("too cold to be read");

    let to = far.site.path().join("back");
    let plan = |far: &Far| -> Value { far.json(&["backup", "restore", &id, "--to", text(&to), "--dry-run"]) };
    let cold = plan(&far)["packs"]["cold"].clone();
    let bytes: u64 = cold["bytes"].as_str().unwrap().parse().unwrap();
    assert!(cold["packs"].as_u64().unwrap() > 0 && bytes > 24 << 20, "{cold}");
    let words = far.run(&["backup", "restore", &id, "--to", text(&to), "--dry-run"]).ok();
    words.says("cold      ").says("24.0");
    let of_one = ["backup", "restore", &id, "--to", text(&to), "--path", "none", "--dry-run"];
    far.run(&of_one).exits(5);

    // Asked for, and nothing waited for; whoever comes back asks for nothing twice.
    let only = ["--json", "backup", "restore", &id, "--to", text(&to), "--warm-up-only"];
    let asked = crate::json(&far.run(&only).ok());
    assert_eq!(asked["asked"], cold["packs"], "{asked}");
    assert!(!to.exists());
    assert_eq!(crate::json(&far.run(&only).ok())["asked"], 0);
    far.assert_restores(&id, &source);
    assert_eq!(plan(&far)["packs"]["cold"]["packs"], 0);
    far.run(&["backup", "verify", &id]).ok();

    // Another backup of which some is cold: verify, export and copy wait for it.
    let more = far.source("more", 8);
    let later = id_of(&far.back_up(&more, &[]).ok());
    far.run(&["backup", "verify", &later, "--warm-up-speed", "bulk", "--warm-up-days", "2"]).ok();
    let last = far.source("last one", 8);
    let last_id = id_of(&far.back_up(&last, &[]).ok());
    let file = far.site.path().join("export.tar");
    far.run(&["backup", "export", &last_id, "--output", text(&file)]).ok();
    assert!(fs::metadata(&file).unwrap().len() > 8 << 20);
    let fourth = id_of(&far.back_up(&far.source("4", 8), &[]).ok());
    let near = far.site.path().join("near");
    let on_near = far.program.clone().without("MAINSTAY_REPOSITORY_HOT").with("MAINSTAY_REPOSITORY", &near);
    on_near.run(&["init", "--no-recovery-key"]).ok();
    far.run(&["copy", &fourth, "--to", text(&near)]).ok();
    on_near.run(&["check", "--read-data"]).ok();
}

#[test]
fn u8_a_cold_dump_is_warmed_up_before_its_plan_is_made() {
    let (s3, server) = (S3::moto(), Postgres::start());
    s3.thaw_at_look(2);
    s3.make_bucket(BUCKET);
    let mut far = pair(&s3, "&storage-class=GLACIER");
    far.program = at_server(far.program, &server);
    let rows = "create table t as select n, md5(n::text) from generate_series(1, 20000) n";
    server.psql("create database app");
    server.psql_in("app", rows);
    let id = id_of(&far.run(&["backup", "create", "acme", "--database", "app"]).ok());
    let restore = ["backup", "restore", &id, "--database", "back"];
    let plan = far.json(&[&restore[..], &["--dry-run"]].concat());
    assert!(plan["packs"]["cold"]["packs"].as_u64().unwrap() > 0, "{plan}");
    far.run(&[&restore[..], &["--dry-run"]].concat()).ok().says("it is data, too");
    far.run(&restore).ok().says("restore ok");
    assert_eq!(server.psql_in("back", "select count(*) from t").trim(), "20000");
    // Now that it is warm the plan can be told.
    let restore = ["backup", "restore", &id, "--database", "once more", "--dry-run"];
    far.run(&restore).ok().says("1 tables, 20000 rows");
}

#[test]
fn u8_a_lost_hot_part_warms_up_the_trees_alone() {
    let s3 = S3::moto();
    s3.thaw_at_look(2);
    s3.make_bucket(BUCKET);
    let far = pair(&s3, "&storage-class=GLACIER");
    let source = far.source("tree", 24);
    let id = id_of(&far.back_up(&source, &[]).ok());
    let new_hot = s3.url(BUCKET, "hot-again");
    let far = Far { program: far.program.clone().with("MAINSTAY_REPOSITORY_HOT", &new_hot), ..far };
    far.run(&["backup", "list"]).exits(6).says("repair hot");
    let plan = far.json(&["repair", "hot", "--dry-run"])["hot"].clone();
    assert!(plan["packs"].as_u64().unwrap() > 0, "{plan}");
    let asked = far.json(&["repair", "hot", "--warm-up-only"]);
    assert_eq!(asked["asked"], plan["packs"], "{asked}");
    far.run(&["repair", "hot"]).ok();
    assert_eq!(far.ids(), [id.as_str()]);
    // The data is as cold as it was.
    let to = far.site.path().join("back");
    let cold = far.json(&["backup", "restore", &id, "--to", text(&to), "--dry-run"])["packs"]["cold"].clone();
    assert!(cold["packs"].as_u64().unwrap() > 0, "{cold}");
    far.assert_restores(&id, &source);
    assert!(!files_below(&source).is_empty());
    far.run(&["check"]).ok();
    what_is_too_cold_to_be_indexed_is_said(&s3, &far, "hot-again");
}

/// The index file of packs that are cold is damaged in both parts: nobody can say what they hold, and nothing is given up.
fn what_is_too_cold_to_be_indexed_is_said(s3: &S3, far: &Far, hot: &str) {
    let keys = || -> Vec<String> {
        let listed = s3.ask("GET", BUCKET, &[], "");
        listed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    };
    let before = keys();
    far.back_up(&far.source("later", 8), &[]).ok();
    let new: Vec<_> = keys().into_iter().filter(|key| !before.contains(key)).collect();
    let packs = |keys: &[String]| keys.iter().filter(|key| key.starts_with("cold/data/")).count();
    for part in ["cold", hot] {
        let index = new.iter().find(|key| key.starts_with(&format!("{part}/index/"))).unwrap();
        s3.ask("PUT", &format!("{BUCKET}/{index}"), &[], "junk");
    }
    far.run(&["check"]).exits(4);
    far.run(&["repair"]).exits(3).says("too cold to say what they hold").says("ask the provider");
    assert_eq!(packs(&keys()), packs(&before) + packs(&new), "no pack is given up");
}
