//! Credentials that may do less than everything: what they can do they do, and the rest is said.

use testkit::s3::S3;
use testkit::site::{Site, id_of};

use crate::{BUCKET, Far, ceph};

/// Take rights away from everybody; the owner may still change the policy.
fn deny(s3: &S3, actions: &str) {
    let policy = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Deny\",\"Principal\":\"*\",\
         \"Action\":[{actions}],\"Resource\":[\"arn:aws:s3:::{BUCKET}/*\"]}}]}}"
    );
    s3.ask("PUT", &format!("{BUCKET}?policy="), &[], &policy);
}

#[test]
fn a_writer_that_only_creates_and_a_reader_that_only_reads_do_their_part() {
    let s3 = ceph();
    let far = Far::on(&s3, "rights");
    let source = far.source("tree", 8);
    let first = id_of(&far.back_up(&source, &[]).ok());

    deny(&s3, "\"s3:DeleteObject\"");
    let second = id_of(&far.back_up(&source, &[]).ok());
    far.run(&["backup", "verify", &second]).ok();
    far.assert_restores(&second, &source);
    far.run(&["check", "--read-data"]).ok();
    let text = far.run(&["doctor"]).ok().text();
    assert!(text.contains("cannot delete"), "{text}");
    far.run(&["backup", "delete", &first])
        .exits(1)
        .says("permission denied")
        .says("forget and prune with others");
    assert_eq!(far.ids(), [second.as_str(), &first]);

    deny(&s3, "\"s3:DeleteObject\", \"s3:PutObject\"");
    far.back_up(&source, &[]).exits(1).says("permission denied");
    assert_eq!(far.ids(), [second.as_str(), &first]);
    far.assert_restores(&first, &source);
    far.run(&["backup", "export", &first]).ok();
    far.run(&["backup", "verify", &first]).ok();
    let home = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    far.run(&["copy", "--to", home.repository().to_str().unwrap()]).ok();
    assert_eq!(home.ids().len(), 2);
    let text = far.run(&["doctor"]).ok().text();
    assert!(text.contains("can be read and not written"), "{text}");
    far.by_restic(&["check", "--read-data"]);
}
