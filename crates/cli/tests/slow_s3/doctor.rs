//! `doctor`: what each store, repository, machine and server lacks, and that it changes nothing.

use serde_json::Value;
use testkit::gcs::{Gcs, TOKEN};
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::s3::S3;
use testkit::service::free_port;
use testkit::site::{Site, at_server};

use crate::{BUCKET, Far, ceph, json};

/// The findings of one area and level, as one text.
fn found(ran: &Ran, area: &str, level: &str) -> String {
    let document = json(ran);
    let all = document["findings"].as_array().unwrap();
    let is_asked = |one: &&Value| one["area"] == area && one["level"] == level;
    all.iter().filter(is_asked).map(|one| format!("{one}\n")).collect()
}

#[track_caller]
fn has(ran: &Ran, area: &str, level: &str, words: &str) {
    assert!(found(ran, area, level).contains(words), "{area} {level} {words:?} is not in\n{}", ran.text());
}

/// Every object below the prefix, as S3 lists it.
fn listing(s3: &S3) -> String {
    let listed = s3.ask("GET", BUCKET, &[], "");
    assert!(listed.contains("<Key>"), "{listed}");
    listed.split("<Key>").skip(1).map(|one| format!("{}\n", one.split('<').next().unwrap())).collect()
}

#[test]
fn h2_a_plain_bucket_is_said_to_protect_from_nobody() {
    let (s3, server) = (ceph(), Postgres::start());
    let mut far = Far::bare_on(&s3, "doctor");
    far.program = at_server(far.program, &server);
    let doctor = ["--json", "doctor"];
    // Nothing there yet: the store is looked at all the same.
    let ran = far.run(&doctor).exits(5);
    has(&ran, "store", "ok", "keeps every promise");
    has(&ran, "repository", "problem", "mainstay init");

    far.run(&["init", "--no-recovery-key"]).ok();
    let before = listing(&s3);
    let ran = far.run(&doctor).ok();
    assert_eq!(listing(&s3), before, "doctor changes nothing");
    has(&ran, "store", "ok", "keeps every promise");
    has(&ran, "clock", "ok", "agree");
    has(&ran, "protection", "warning", "no protection against ransomware");
    has(&ran, "protection", "warning", "every backup for good");
    has(&ran, "repository", "ok", "0 backups");
    has(&ran, "repository", "warning", "recovery key");
    has(&ran, "machine", "ok", "PostgreSQL's programs");
    has(&ran, "server", "ok", "pg_dump");
    let shown = far.run(&["doctor"]).ok().text();
    assert!(shown.contains("warning  protection") && shown.contains("lost: whoever"), "{shown}");

    // What is mended is no longer named.
    versions_make_other_habits(&s3, &far);
    has(&far.run(&doctor).ok(), "protection", "warning", "has no Object Lock");
    s3.ask("PUT", "locked", &["x-amz-bucket-object-lock-enabled: true"], "");
    let locked = far.program.clone().with("MAINSTAY_REPOSITORY", s3.url("locked", "p"));
    has(&locked.run(&doctor).exits(5), "protection", "warning", "nothing is locked");
    let locking = format!("{}&object-lock=compliance:1d", s3.url("locked", "p"));
    let locked = locked.with("MAINSTAY_REPOSITORY", locking);
    has(&locked.run(&doctor).exits(5), "protection", "ok", "what is written is locked");

    // Each thing that is wrong has its words and its code.
    let with = |name: &str, value: &str| far.program.clone().with(name, value).run(&doctor);
    has(&with("MAINSTAY_PASSWORD", "wrong").exits(2), "repository", "problem", "password");
    has(&with("AWS_SECRET_ACCESS_KEY", "wrong").exits(2), "store", "problem", "secret");
    has(
        &with("MAINSTAY_REPOSITORY", &s3.url("missing", "p")).exits(5),
        "store",
        "problem",
        "make the bucket",
    );
    has(&with("PGPASSWORD", "wrong").exits(1), "server", "problem", "password");
    let without = far.run(&["--json", "doctor", "--pg-bin-dir", "/proc"]).exits(2);
    has(&without, "machine", "warning", "directories can");
}

/// Ceph 20 creates once, but in a bucket that keeps versions: what was seen before they were turned on says nothing.
fn versions_make_other_habits(s3: &S3, far: &Far) {
    let set_versions = |status: &str| {
        let body = format!(
            "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status>\
             </VersioningConfiguration>"
        );
        s3.ask("PUT", &format!("{BUCKET}?versioning="), &[], &body);
    };
    let records = || listing(s3).lines().filter(|key| key.contains("/x/store/")).count();
    let list = || far.run(&["backup", "list"]).ok().stderr;
    assert!(!list().contains("more than one is told") && records() == 1);
    set_versions("Enabled");
    assert!(list().contains("more than one is told that it made it"));
    assert_eq!(records(), 2, "it was tried anew");
    assert!(!list().contains("more than one") && records() == 2, "and once is enough");
    // The doctor looks in any case, and writes down what others go by.
    set_versions("Suspended");
    has(&far.run(&["--json", "doctor"]).ok(), "repository", "ok", "written down");
    assert_eq!(records(), 3);
    set_versions("Enabled");
    has(&far.run(&["--json", "doctor"]).ok(), "repository", "ok", "written down");
    let ran = far.run(&["--json", "doctor"]).ok();
    assert!(!found(&ran, "repository", "ok").contains("written down") && records() == 4);
}

#[test]
fn what_a_strange_store_breaks_is_said_with_what_is_lost() {
    let s3 = S3::dbstore();
    s3.make_bucket(BUCKET);
    let far = Far::on(&s3, "odd");
    let ran = far.run(&["--json", "doctor"]).ok();
    has(&ran, "store", "warning", "overwrites objects");
    has(&ran, "store", "warning", "wrong bytes to a range");
    has(&ran, "repository", "ok", "opens");
}

#[test]
fn what_cannot_be_known_is_not_made_up() {
    let gcs = Gcs::start();
    let far = Far::bare(&gcs.url("p"), |program| program.with("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN));
    far.run(&["init"]).ok();
    let ran = far.run(&["--json", "doctor"]).ok();
    has(&ran, "protection", "unknown", "cannot be seen");
    has(&ran, "server", "unknown", "no PostgreSQL server");
    // The fake's clock stands still in the past.
    has(&ran, "clock", "warning", "s apart");
    assert_eq!(found(&ran, "repository", "warning"), "", "there is a recovery key");

    let site = Site::bare(env!("CARGO_BIN_EXE_mainstay"));
    has(&site.run(&["--json", "doctor"]).exits(5), "store", "problem", "mainstay init");
    assert!(!site.repository().exists(), "doctor makes nothing");
    site.run(&["init"]).ok();
    let files = || site.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let before = files();
    let ran = site.run(&["--json", "doctor"]).ok();
    assert_eq!(files(), before);
    has(&ran, "protection", "warning", "second place");
    let nobody = free_port().to_string();
    let ran = site.program().run(&["--json", "doctor", "--db-host", "127.0.0.1", "--db-port", &nobody]);
    has(&ran.exits(1), "server", "problem", "refused");
    let nowhere = site.program().without("MAINSTAY_REPOSITORY").with("MAINSTAY_BACKUP_DIR", "/nowhere");
    has(&nowhere.run(&["--json", "doctor"]).exits(2), "repository", "problem", "no repository was named");
}
