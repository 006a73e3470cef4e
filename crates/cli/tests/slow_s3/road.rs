//! There and back: a directory and a database, by every verb that looks at them, and stock restic reads the same.

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::rich;
use testkit::site::{at_server, files_below, id_of};

use crate::{Far, ceph, json, text};

#[test]
fn h2_there_and_back_on_a_plain_bucket_and_stock_restic_reads_the_same() {
    let (s3, server) = (ceph(), Postgres::start());
    rich::create(&server, "app");
    let mut far = Far::on(&s3, "pg/main");
    far.program = at_server(far.program, &server);
    far.run(&["init", "--no-recovery-key"]).exits(6).says("exists");
    let source = far.source("tree", 20);
    let directory = id_of(&far.back_up(&source, &[]).ok());
    let made = far.run(&["--json", "backup", "create", "acme", "--database", "app"]).ok();
    let database = id_of(&made);
    assert_requests_are_counted(&json(&made));
    assert_eq!(far.ids(), [database.as_str(), &directory]);
    for id in [&directory, &database] {
        far.run(&["backup", "verify", id]).ok();
        let record = far.json(&["backup", "get", id]);
        assert!(record["location"].as_str().unwrap().starts_with("s3://acme/pg/main?endpoint="), "{record}");
        assert_eq!(record["destination"], "s3");
    }
    far.assert_restores(&directory, &source);
    far.run(&["backup", "restore", &database, "--database", "again"]).ok();
    assert_eq!(rich::plain(&server, "again"), rich::plain(&server, "app"));
    far.assert_sound();

    let dump = far.run(&["backup", "export", &database]).ok().stdout;
    for ran in far.by_restic(&["dump", "latest", "database.dump"]) {
        assert!(ran.stdout == dump, "restic reads another dump");
    }
    let restored = far.site.path().join("by-restic");
    far.by_restic(&["restore", "latest", "--path", text(&source), "--target", text(&restored)]);
    let contents = |files: Vec<(String, Vec<u8>)>| files.into_iter().map(|(_, one)| one).collect::<Vec<_>>();
    assert!(contents(files_below(&restored)) == contents(files_below(&source)), "restic reads other files");

    // The same place by the flags of C2, its server from where AWS's programs have it.
    let by_flags = far.program.clone().without("MAINSTAY_REPOSITORY").with("AWS_ENDPOINT_URL", s3.endpoint());
    let create = ["backup", "create", "acme", "--database", "app", "--dest", "s3", "--s3-bucket"];
    by_flags.run(&[&create[..], &["acme/pg/main"]].concat()).ok();
    by_flags.run(&create[..7]).exits(2).says("--s3-bucket");
    let record = json(&by_flags.run(&["--json", "backup", "list"]).ok())["records"][0].clone();
    assert_eq!(record["location"], far.json(&["backup", "get", &database])["location"]);

    // The list needs no database, and nothing of it is on this machine.
    drop(server);
    std::fs::remove_dir_all(far.site.path().join(".cache")).unwrap();
    assert_eq!(far.ids().len(), 3);
}

/// A run says what it asked of the store, and what that costs there.
fn assert_requests_are_counted(document: &Value) {
    let number = |name: &str| document["requests"][name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(number("puts") >= 4 && number("lists") >= 1, "{document}");
    assert!(number("uploadedBytes") > 10_000 && number("costMicroUsd") > 0, "{document}");
}
