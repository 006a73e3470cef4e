//! Servers that break a promise: `init` says what is lost, and backups are made and restored nevertheless.

use testkit::s3::S3;
use testkit::site::id_of;

use crate::{BUCKET, Far};

/// What `init` warns of, and the road on what it made.
fn is_warned_about_and_works(s3: &S3, warnings: &[&str]) {
    s3.make_bucket(BUCKET);
    let far = Far::bare_on(s3, "odd");
    let ran = far.run(&["init", "--no-recovery-key"]).ok();
    for warning in warnings {
        assert!(ran.stderr.contains(warning), "{warning:?} is not in\n{}", ran.stderr);
    }
    assert_eq!(ran.stderr.contains("warning: this store"), !warnings.is_empty(), "{}", ran.stderr);
    far.run(&["init", "--no-recovery-key"]).exits(6).says("exists");
    let source = far.source("tree", 20);
    let id = id_of(&far.back_up(&source, &[]).ok());
    far.run(&["backup", "verify", &id]).ok();
    far.assert_restores(&id, &source);
    far.run(&["check", "--read-data"]).ok();
    far.run(&["backup", "delete", &id]).ok();
    let pruned = far.json(&["prune", "--cooling-off", "0h"]);
    assert!(pruned["report"]["removedPacks"].as_u64().unwrap() >= 1, "{pruned}");
    let again = id_of(&far.back_up(&source, &[]).ok());
    far.assert_restores(&again, &source);
}

#[test]
fn a_store_that_overwrites_is_warned_about_and_used_with_care() {
    is_warned_about_and_works(&S3::rclone(), &["overwrites objects", "from two places at once"]);
}

#[test]
fn a_store_with_wrong_ranges_is_warned_about_and_read_in_whole_objects() {
    is_warned_about_and_works(&S3::dbstore(), &["overwrites objects", "wrong bytes to a range"]);
}

#[test]
fn a_store_that_keeps_every_promise_is_not_warned_about() {
    is_warned_about_and_works(&S3::moto(), &[]);
}
