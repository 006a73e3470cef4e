//! Years of dumps that others made, through the retention of a configured source.

use std::fs::{self, File};
use std::time::SystemTime;

use jiff::Timestamp;
use pg::throwaway::SUPERUSER;
use testkit::postgres::Postgres;

use crate::Office;

/// However the files stand on the command line: they come in the order in which they were made, so that one of a year takes
/// the place of those before it. One whose name says nothing was made when it was last written.
#[test]
fn n4_imported_years_go_through_the_tiers_in_the_order_in_which_they_were_made() {
    let server = Postgres::start();
    server.psql_in("postgres", "CREATE DATABASE app");
    let office = Office::new(&format!(
        "[tenants.acme]\nrepository = {{ url = \"ROOT/repository\", password = \"file:ROOT/password\" }}\n\
         [tenants.acme.sources.app]\ndatabase = \"postgresql://{SUPERUSER}@127.0.0.1:{}/app\"\n\
         password = \"file:ROOT/server\"\n\
         retention = [{{ younger_than = \"1w\", keep = 7 }}, {{ every = \"1y\", keep = 2 }}]\n",
        server.port()
    ));
    office.secret("password", &"Canary-of-a-repository-".repeat(4));
    office.secret("server", server.password());
    office.run(&["init", "--no-recovery-key"]).ok();
    let session = server.session("app");
    let mut made = 0;
    let mut dump = |name: &str| {
        made += 1;
        server.psql_in("app", &format!("CREATE TABLE of_{made} (n int)"));
        let output = session.command(&server.client().program("pg_dump")).arg("-Fc").output().unwrap();
        assert!(output.status.success());
        let path = office.path().join(name);
        fs::write(&path, output.stdout).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let nameless = dump("nameless.dump");
    let modified: Timestamp = "2024-09-09T10:00:00Z".parse().unwrap();
    File::options().write(true).open(&nameless).unwrap().set_modified(SystemTime::from(modified)).unwrap();
    // The newest first, as `ls -t` has them.
    let files = [
        nameless,
        dump("app-20240101-000000.dump"),
        dump("app_20230601_020000.dump"),
        dump("app-2022-11-05.dump"),
        dump("app-20220301T000000Z.dump"),
    ];
    let files = files.each_ref().map(String::as_str);
    let import = ["backup", "import", "--tenant", "acme"];
    let planned = office.run(&[&import[..], &["--dry-run", files[0]]].concat()).ok();
    planned.says("nameless.dump: made 2024-09-09T10:00:00Z; nothing was done");
    let ran = office.run(&[&import[..], &files].concat()).ok();
    let words =
        ["20220301T000000Z", "20221105T000000Z", "20230601T020000Z", "20240101T000000Z", "20240909T100000Z"];
    let order: Vec<_> = words.iter().map(|time| ran.stderr.find(&format!("id=acme-app-{time}"))).collect();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{}", ran.stderr);
    // The first backup of our own forgets what the tiers do not ask for.
    office.run(&["run"]).ok();
    let listed = office.run(&["backup", "list"]).ok().text();
    let old: Vec<_> = words.iter().filter(|time| listed.contains(&format!("acme-app-{time} "))).collect();
    assert_eq!(old, [&words[2], &words[4]], "{listed}");
    assert_eq!(listed.lines().count(), 4, "{listed}");
}
