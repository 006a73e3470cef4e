//! Where a backup goes: nowhere by itself, and not onto the disk of the data.

use testkit::postgres::Postgres;

use crate::bare;

#[test]
fn c2_a_destination_is_named_and_local_is_another_disk() {
    let server = Postgres::start();
    server.psql("CREATE DATABASE app");
    let site = bare().with_server(&server);
    let local = site.path().join("local").display().to_string();
    let program = site.program().without("MAINSTAY_REPOSITORY").with("MAINSTAY_BACKUP_DIR", &local);
    let create = ["backup", "create", "acme", "--database", "app"];

    program.run(&create).exits(2).says("no destination was named");

    program.run(&["init", "--no-recovery-key"]).ok();
    program.run(&[&create[..], &["--dest", "local"]].concat()).exits(6).says("--allow-same-disk");

    program.run(&[&create[..], &["--dest", "local", "--allow-same-disk"]].concat()).ok();
    let other = site.path().join("other").display().to_string();
    program.run(&["init", "--no-recovery-key", "-r", &other]).ok();
    program.run(&[&create[..], &["--dest", &other]].concat()).ok();
    let listed = program.run(&["backup", "list", "-r", &other]).ok().text();
    assert_eq!(listed.lines().count(), 2, "{listed}");
}
