//! What other versions and programs may have put into a repository.

use std::sync::Arc;

use model::backup::{BackupRecord, Engine};
use model::secret::Secret;
use repo::Repository;
use repo::repository::FileKind;
use testkit::postgres::Postgres;
use testkit::rich;
use testkit::site::{PASSWORD, Site};

use crate::site;

pub(crate) fn open(site: &Site) -> Repository {
    let store = store::open::open(site.repository().to_str().unwrap()).unwrap();
    Repository::open(Arc::from(store), &Secret::new(PASSWORD)).unwrap()
}

#[test]
fn c28_an_unknown_engine_is_listed_and_never_restored() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    let repository = open(&site);
    let snapshot = repository.list(FileKind::Snapshot).unwrap()[0].id;
    let note = format!("record/{snapshot}");
    let mut record: BackupRecord = repository.load_note(&note).unwrap();
    record.engine = Engine("oracle".to_owned());
    repository.delete_note(&note).unwrap();
    assert!(repository.put_note(&note, &record).unwrap());
    assert_eq!(site.ids(), std::slice::from_ref(&id));
    let databases = rich::databases(&server);
    site.run(&["backup", "restore", &id, "--database", "other"]).exits(2).says("oracle");
    assert_eq!(rich::databases(&server), databases);
}

#[test]
fn a_newer_format_is_said_and_left_alone() {
    let site = site();
    let repository = open(&site);
    let mut config = serde_json::to_value(repository.config()).unwrap();
    config["version"] = 3.into();
    let mut sealed = vec![];
    repository.sealer().seal(config.to_string().as_bytes(), &mut sealed).unwrap();
    let place = site.repository().join("config");
    std::fs::remove_file(&place).unwrap();
    std::fs::write(&place, &sealed).unwrap();
    for arguments in [&["backup", "list"][..], &["check"], &["backup", "create", "a", "--database", "b"]] {
        site.run(arguments).exits(2).says("version 3");
    }
    site.run(&["init"]).exits(6);
    assert_eq!(std::fs::read(&place).unwrap(), sealed);
}

#[test]
fn t4_a_dump_without_owners_and_rights_names_none() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let arguments = ["backup", "create", "acme", "--database", "app", "--no-owner", "--no-acl"];
    site.run(&arguments).ok();
    let file = site.path().join("app.dump");
    site.run(&["backup", "export", &site.ids()[0], "-o", file.to_str().unwrap()]).ok();
    let mut command = std::process::Command::new(server.client().program("pg_restore"));
    let output = command.args(["-f", "-"]).arg(&file).output().unwrap();
    let sql = String::from_utf8(output.stdout).unwrap();
    assert!(sql.contains("CREATE TABLE app.orders"));
    assert!(!sql.contains("\nGRANT "), "rights are in the dump");
    // An archive always names owners; a backup made without them is restored without, where nobody knows them.
    let other = Postgres::start();
    let program = testkit::site::at_server(site.program(), &other);
    program.run(&["backup", "restore", "acme/app"]).ok();
    assert_eq!(other.psql_in("app", "SELECT count(*) FROM app.orders"), "5000");
}
