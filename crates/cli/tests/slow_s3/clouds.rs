//! Google Cloud Storage by our fake of its published interface, Azure Blob by Microsoft's emulator: there and back.

use std::fs;

use testkit::azurite::{ACCOUNT_KEY, Azurite};
use testkit::gcs::{Gcs, TOKEN};
use testkit::postgres::Postgres;
use testkit::program::Program;
use testkit::rich;
use testkit::s3::with_credentials;
use testkit::site::{Site, at_server, id_of};

use crate::{Far, text};

/// A database and a directory go there and come back, and restic judges a copy at home.
fn there_and_back(far: &mut Far, destination: &[&str]) {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    far.program = at_server(far.program.clone(), &server);
    far.run(&["init", "--no-recovery-key"]).ok();
    let source = far.source("tree", 20);
    let directory = id_of(&far.back_up(&source, &[]).ok());
    let create = [&["backup", "create", "acme", "--database", "app"], destination].concat();
    let by_flag = far.program.clone().without("MAINSTAY_REPOSITORY");
    let database = id_of(&by_flag.run(&create).ok());
    assert_eq!(far.ids(), [database.as_str(), &directory]);
    far.run(&["backup", "verify", &database]).ok();
    far.assert_restores(&directory, &source);
    // Without an address: what `--dest` used from here is looked into.
    by_flag.run(&["backup", "restore", &database, "--database", "again"]).ok();
    assert_eq!(rich::plain(&server, "again"), rich::plain(&server, "app"));
    far.run(&["check", "--read-data"]).ok();
    let home = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    far.run(&["copy", "--to", text(&home.repository())]).ok();
    assert_eq!(home.ids(), far.ids());
    home.assert_sound();
    far.run(&["backup", "delete", &directory]).ok();
    far.run(&["prune", "--cooling-off", "0h"]).ok();
    assert_eq!(far.ids(), [database]);
    far.run(&["check", "--read-data"]).ok();
}

#[test]
fn c3_a_dump_goes_to_gcs_and_back_and_leaves_nothing_behind_here() {
    let gcs = Gcs::start();
    let staging = tempfile::tempdir().unwrap();
    let give =
        |program: Program| program.with("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN).with("TMPDIR", staging.path());
    let mut far = Far::bare(&gcs.url("backups/pg"), give);
    there_and_back(&mut far, &["--dest", "gcs", "--gcs-bucket", &gcs.url("backups/pg")]);
    let parts = ["config", "data/", "index/", "keys/", "locks/", "snapshots/", "x/"];
    for name in gcs.names() {
        let below = name.strip_prefix("backups/pg/").unwrap_or_else(|| panic!("{name} is elsewhere"));
        assert!(parts.iter().any(|part| below.starts_with(part)), "{name}");
    }
    let is_empty = || fs::read_dir(staging.path()).unwrap().next().is_none();
    assert!(is_empty(), "something stayed in the temporary directory");

    // Without credentials, and with wrong ones: said before anything is dumped, and nothing is left either.
    let create = ["backup", "create", "acme", "--database", "app", "--dest", "gcs", "--gcs-bucket"];
    let nobody = far.program.clone().without("GOOGLE_OAUTH_ACCESS_TOKEN");
    let ran = nobody.run(&[&create[..], &[&gcs.url("backups/pg")]].concat());
    ran.exits(2).says("no credentials").says("GOOGLE_APPLICATION_CREDENTIALS");
    let stranger = far.program.clone().with("GOOGLE_OAUTH_ACCESS_TOKEN", "wrong");
    let ran = stranger.run(&[&create[..], &[&gcs.url("backups/pg")]].concat());
    ran.exits(2).says("does not know these credentials").says("token");
    assert!(is_empty(), "something stayed in the temporary directory");
    far.run(&create[..7]).exits(2).says("--gcs-bucket gs://");
    far.run(&[&create[..], &["backups/pg"]].concat()).exits(2).says("--gcs-bucket gs://");
    // A place that does not need them works without them.
    let site = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    let source = far.site.path().join("tree");
    site.run(&["backup", "create", "acme", "--directory", text(&source)]).ok();
}

#[test]
fn a_dump_goes_to_azure_and_back() {
    let azurite = Azurite::start();
    azurite.make_container("acme");
    let url = azurite.url("acme", "backups/pg");
    let give = |program: Program| program.with("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY);
    let mut far = Far::bare(&url, give);
    there_and_back(&mut far, &["--dest", &url]);
    let list = ["backup", "list"];
    let missing = azurite.url("missing", "p");
    far.run(&["-r", &missing, "backup", "list"]).exits(5).says("make the bucket");
    let wrong = "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkgd3Jvbmcga2V5IHdyb25nIGtleQ==";
    far.program
        .clone()
        .with("AZURE_STORAGE_ACCOUNT_KEY", wrong)
        .run(&list)
        .exits(1)
        .says("permission denied");
    let nobody = far.program.clone().without("AZURE_STORAGE_ACCOUNT_KEY");
    nobody.run(&list).exits(2).says("AZURE_STORAGE_ACCOUNT_KEY");
}

#[test]
fn a_prefix_may_have_any_letters_that_an_address_can_have() {
    let (ceph, gcs, azurite) = (crate::ceph(), Gcs::start(), Azurite::start());
    azurite.make_container("acme");
    let prefix = "Ünïcode pre+fix/100% & more=less";
    let give = |program: Program| {
        let program = with_credentials(program).with("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN);
        program.with("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)
    };
    for url in [ceph.url(crate::BUCKET, prefix), gcs.url(prefix), azurite.url("acme", prefix)] {
        let far = Far::bare(&url, give);
        far.run(&["init", "--no-recovery-key"]).ok();
        let source = far.source("tree", 2);
        let id = id_of(&far.back_up(&source, &[]).ok());
        assert_eq!(far.ids(), std::slice::from_ref(&id), "{url}");
        far.assert_restores(&id, &source);
        far.run(&["backup", "delete", &id]).ok();
        far.run(&["prune", "--cooling-off", "0h"]).ok();
        far.run(&["check", "--read-data"]).ok();
    }
    assert!(gcs.names().iter().all(|name| name.starts_with(prefix)), "{:?}", gcs.names());
}
