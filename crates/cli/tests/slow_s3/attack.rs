//! The attacker has every right that the backup host has, and the bucket's owner's beside: what a bucket with versions
//! gives back (threat 1).

use testkit::s3::{S3, with_credentials};
use testkit::site::{Site, files_below, id_of};

use crate::{BUCKET, Far, ceph, text};

/// A bucket that keeps versions.
const KEPT: &str = "kept";

pub(crate) fn set_versioning(s3: &S3, status: &str) {
    let body = format!(
        "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status>\
         </VersioningConfiguration>"
    );
    s3.ask("PUT", &format!("{KEPT}?versioning="), &[], &body);
}

/// The text of every `<tag>`.
pub(crate) fn each<'a>(xml: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap()).collect()
}

/// When the store took the last thing, by its clock, which counts in whole seconds: what comes next comes in another one.
pub(crate) fn last_change(s3: &S3, bucket: &str) -> String {
    let listed = s3.ask("GET", &format!("{bucket}?versions="), &[], "");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    (*each(&listed, "LastModified").iter().max().expect("something is there")).to_owned()
}

/// Every object is overwritten, deleted, or both.
pub(crate) fn destroy(s3: &S3, bucket: &str) {
    let listed = s3.ask("GET", bucket, &[], "");
    let keys = each(&listed, "Key");
    assert!(keys.len() > 8, "{listed}");
    for (number, key) in keys.iter().enumerate() {
        let path = format!("{bucket}/{key}");
        let delete = || s3.ask("DELETE", &path, &[], "");
        let overwrite = || s3.ask("PUT", &path, &[], "your files are encrypted");
        match number % 4 {
            0 => drop(delete()),
            1 => drop(overwrite()),
            2 => drop((delete(), overwrite())),
            _ => drop((overwrite(), delete())),
        }
    }
}

/// The files that this machine remembers.
fn remembered(far: &Far) -> Vec<String> {
    let cache = far.site.path().join(".cache");
    let mut names: Vec<_> = files_below(&cache).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

#[test]
fn a_versioned_bucket_gives_back_what_an_attacker_destroyed_threat_1() {
    let s3 = ceph();
    s3.make_bucket(KEPT);
    set_versioning(&s3, "Enabled");
    let url = s3.url(KEPT, "pg/main");
    let far = Far::bare(&url, with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let before_all = "2026-01-01T00:00:00Z";
    let source = far.source("tree", 8);
    let first = id_of(&far.back_up(&source, &[]).ok());
    let then = last_change(&s3, KEPT);
    let other = far.source("other", 5);
    let second = id_of(&far.back_up(&other, &[]).ok());
    far.run(&["backup", "verify", &second]).ok();
    let good = last_change(&s3, KEPT);
    far.run(&["check"]).ok();

    destroy(&s3, KEPT);
    let ran = far.run(&["backup", "list"]);
    assert_ne!(ran.code, Some(0), "{}", ran.text());
    let known = remembered(&far);
    assert!(!known.is_empty());

    let at = |time: &str, arguments: &[&str]| far.run(&[&["--at", time], arguments].concat());
    let listed = at(&good, &["backup", "list"]).ok().text();
    assert!(listed.contains(&first) && listed.contains(&second) && listed.contains("passed"), "{listed}");
    assert!(listed.contains(&format!("at={}", &good[..19])), "the place says when: {listed}");
    let listed = at(&then, &["backup", "list"]).ok().text();
    assert!(listed.contains(&first) && !listed.contains(&second), "{listed}");
    at(before_all, &["backup", "list"]).exits(5).says("no repository in").says("at that time there was none");
    at(&good, &["check", "--read-data"]).ok();
    at(&good, &["stats"]).ok();
    at(&good, &["key", "list"]).ok();
    at(&good, &["backup", "get", &first]).ok();
    at(&good, &["backup", "verify", &first]).ok();
    assert!(!at(&good, &["backup", "export", &first]).ok().stdout.is_empty());
    for (id, source) in [(&first, &source), (&second, &other)] {
        let target = far.site.path().join(format!("back-{id}"));
        at(&good, &["backup", "restore", id, "--to", text(&target)]).ok();
        assert!(files_below(&target) == files_below(source), "{id} came back changed");
    }
    assert_eq!(remembered(&far), known, "what is remembered belongs to the present");
    what_writes_is_refused(&far, &url, &good);
    a_clean_repository_is_made_of_it(&far, &url, &good);

    // The attacker can turn it off, which takes no older version away.
    set_versioning(&s3, "Suspended");
    s3.ask("PUT", &format!("{KEPT}/pg/main/config"), &[], "and again");
    at(&good, &["check", "--read-data"]).ok().says("versioning is suspended");
}

/// Whoever has something to write has to say where.
fn what_writes_is_refused(far: &Far, url: &str, good: &str) {
    for verb in [
        &["init"][..],
        &["backup", "create", "acme", "--directory", "/etc"],
        &["backup", "delete", "x"],
        &["backup", "hold", "x"],
        &["forget", "--keep-last", "1"],
        &["prune", "--dry-run"],
        &["repair"],
        &["key", "generate"],
        &["doctor"],
        &["mirror", "a", "b", "--retire"],
    ] {
        far.run(&[&["--at", good], verb].concat()).exits(2).says("--at reads a repository as it was");
    }
    // The same by the address, where the store itself refuses.
    let past = format!("{url}&at={good}");
    let ran = far.run(&[
        "-r",
        &past,
        "backup",
        "create",
        "acme",
        "--directory",
        text(&far.site.path().join("tree")),
    ]);
    ran.exits(2).says("nothing can be written").says("leave --at");
}

fn a_clean_repository_is_made_of_it(far: &Far, url: &str, good: &str) {
    let home = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    let copied = far.run(&["--at", good, "--json", "copy", "--to", text(&home.repository())]).ok();
    assert_eq!(crate::json(&copied)["copied"].as_array().unwrap().len(), 2, "{}", copied.text());
    home.assert_sound();
    let source = far.site.path().join("tree");
    home.run(&["backup", "create", "acme", "--directory", text(&source)]).ok();
    let mirrored = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    far.run(&["--at", good, "mirror", url, text(&mirrored.repository())]).ok();
    assert_eq!(mirrored.ids().len(), 2);
}

#[test]
fn where_there_is_no_past_the_next_step_is_named() {
    let s3 = ceph();
    let far = Far::on(&s3, "plain");
    let list = ["backup", "list"];
    let now = last_change(&s3, BUCKET);
    far.run(&[&["--at", now.as_str()], &list[..]].concat())
        .exits(2)
        .says("the bucket keeps no versions")
        .says("turn versioning on");
    for (wrong, words) in
        [("2026-11-21T03:00:00", "zone"), ("yesterday", "zone"), ("2199-01-01T00:00:00Z", "is in the future")]
    {
        far.run(&[&["--at", wrong], &list[..]].concat()).exits(2).says(words);
    }
    let site = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    site.run(&[&["--at", now.as_str()], &list[..]].concat()).exits(2).says("keeps no versions");
    let google = far.program.clone().with("MAINSTAY_REPOSITORY", "gs://bucket/p");
    google.run(&[&["--at", now.as_str()], &list[..]].concat()).exits(2).says("s3:// alone");
}
