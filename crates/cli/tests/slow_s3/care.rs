//! What is done with backups once they are there, and what is said when something is missing or refused.

use std::os::unix::fs::PermissionsExt;

use testkit::s3::S3;
use testkit::service::free_port;
use testkit::site::{PASSWORD, Site, id_of};

use crate::{BUCKET, Far, ceph, text};

#[test]
fn a_strict_s3_is_cared_for_and_says_no_in_words() {
    let s3 = ceph();
    let far = Far::on(&s3, "care");
    each_no_has_its_words_and_code(&s3, &far);
    what_is_forgotten_is_pruned(&far);
    a_copy_comes_home(&far);
    a_password_is_replaced(&far);
    a_wiped_bucket_is_an_alarm(&s3);
}

fn each_no_has_its_words_and_code(s3: &S3, far: &Far) {
    let list = ["backup", "list"];
    let with = |name: &str, value: &str| far.program.clone().with(name, value);
    with("MAINSTAY_REPOSITORY", &s3.url("no-such-bucket", "p")).run(&list).exits(5).says("make the bucket");
    with("MAINSTAY_REPOSITORY", &s3.url(BUCKET, "empty")).run(&list).exits(5).says("mainstay init");
    with("AWS_SECRET_ACCESS_KEY", "wrong").run(&list).exits(2).says("secret does not belong");
    with("AWS_ACCESS_KEY_ID", "NOBODY").run(&list).exits(2).says("does not know these credentials");
    with("MAINSTAY_PASSWORD", "wrong").run(&list).exits(2).says("password");
    let bare = far.program.clone().without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    bare.with("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{}", free_port()))
        .run(&list)
        .exits(2)
        .says("no credentials")
        .says("set AWS_ACCESS_KEY_ID");
    let nobody = format!("s3://{BUCKET}/p?endpoint=http://127.0.0.1:{}", free_port());
    let ran = with("MAINSTAY_REPOSITORY", &nobody).run(&["--retry-for", "1", "backup", "list"]);
    ran.exits(1).says("refused").says("is the address right");
    with("MAINSTAY_REPOSITORY", &s3.url(BUCKET, "a//b")).run(&list).exits(2).says("prefix");
    // None of these words has the secret.
    for (name, value) in [("AWS_ACCESS_KEY_ID", "NOBODY"), ("AWS_SECRET_ACCESS_KEY", "CanaryWrongSecret")] {
        let ran = with(name, value).run(&list);
        assert!(!ran.stderr.contains("Canary") && !ran.text().contains("Canary"), "{}", ran.stderr);
    }
}

fn what_is_forgotten_is_pruned(far: &Far) {
    let mut ids = vec![];
    let source = far.source("changing", 8);
    for number in 0..3 {
        std::fs::write(source.join("big"), vec![number; 3 << 20]).unwrap();
        std::fs::copy(source.join("sub/0"), source.join(format!("copy-{number}"))).unwrap();
        ids.push(id_of(&far.back_up(&source, &[]).ok()));
    }
    let other = far.source("other one", 24);
    let dropped = id_of(&far.back_up(&other, &[]).ok());
    far.run(&["backup", "delete", &dropped]).ok();
    let kept = far.json(&["forget", "--keep-last", "1"]);
    assert_eq!(kept["forgotten"].as_array().unwrap().len(), 2, "{kept}");
    let plan = far.json(&["prune", "--cooling-off", "0h", "--dry-run"]);
    let done = far.json(&["prune", "--cooling-off", "0h"]);
    assert!(done["report"]["removedPacks"].as_u64().unwrap() >= 1, "{done}");
    assert_eq!(done["report"]["removedPacks"], plan["report"]["removedPacks"], "{done}");
    assert_eq!(far.ids(), [ids[2].as_str()]);
    far.assert_restores(&ids[2], &source);
    far.assert_sound();
}

fn a_copy_comes_home(far: &Far) {
    let home = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    let done = far.json(&["copy", "--to", text(&home.repository())]);
    assert_eq!(done["copied"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(home.ids(), far.ids());
    home.assert_sound();
}

/// H10, as it happened: somebody empties the bucket.
fn a_wiped_bucket_is_an_alarm(s3: &S3) {
    let far = Far::on(s3, "wiped");
    let source = far.source("tree", 8);
    far.back_up(&source, &[]).ok();
    let listed = s3.ask("GET", &format!("{BUCKET}?prefix=wiped"), &[], "");
    let keys: Vec<_> = listed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert!(keys.len() > 5, "{listed}");
    keys.iter().for_each(|key| _ = s3.ask("DELETE", &format!("{BUCKET}/{key}"), &[], ""));
    far.back_up(&source, &[]).exits(6).says("is gone").says("init --again");
    far.run(&["init", "--no-recovery-key"]).exits(6);
    far.run(&["init", "--no-recovery-key", "--again"]).ok();
    let id = id_of(&far.back_up(&source, &[]).ok());
    far.assert_restores(&id, &source);
    far.assert_sound();
}

fn a_password_is_replaced(far: &Far) {
    let new = "N".repeat(20) + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH";
    let file = far.site.path().join("new");
    std::fs::write(&file, &new).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    far.run(&["key", "rotate", "--new-password-file", text(&file)]).ok();
    let with = |password: &str| far.program.clone().with("MAINSTAY_PASSWORD", password);
    with(PASSWORD).run(&["backup", "list"]).exits(2).says("password");
    with(&new).run(&["check", "--read-data"]).ok();
}

#[test]
fn a_verification_asks_the_store_whatever_this_machine_remembers() {
    let s3 = S3::moto();
    s3.make_bucket(BUCKET);
    let temporary = tempfile::tempdir().unwrap();
    let mut far = Far::bare_on(&s3, "verified");
    far.program = far.program.with("TMPDIR", temporary.path());
    far.run(&["init", "--no-recovery-key"]).ok();
    let id = id_of(&far.back_up(&far.source("tree", 4), &[]).ok());
    far.run(&["backup", "verify", &id]).ok();
    // The shortest pack is the one of the directories, which the backup itself has put at hand here.
    let listed = s3.ask("GET", &format!("{BUCKET}?list-type=2&prefix=verified/data/"), &[], "");
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    let packs = listed.split("<Contents>").skip(1);
    let packs = packs.map(|one| (between(one, "Size").parse::<u64>().unwrap(), between(one, "Key")));
    let (_, trees) = packs.min().unwrap();
    s3.ask("DELETE", &format!("{BUCKET}/{trees}"), &[], "");
    let to = far.site.path().join("remembered");
    far.run(&["backup", "restore", &id, "--to", text(&to)]).ok();
    far.run(&["backup", "verify", &id]).exits(4).says("is gone");
    let record = far.json(&["backup", "get", &id]);
    assert_eq!(record["lastVerification"]["result"], "failed", "{record}");
    far.run(&["check"]).exits(4);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "something was left behind");
}
