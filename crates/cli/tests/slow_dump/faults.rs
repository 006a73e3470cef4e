//! The system fails at the n-th call: what was acknowledged is durable, what was not is nowhere, the next one works.

use testkit::disk::SmallDisk;
use testkit::moments::Moments;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::rich;
use testkit::site::Site;
use testkit::strace::{self, Fault};

use crate::site;

const CREATE: [&str; 5] = ["backup", "create", "acme", "--database", "app"];

fn set_up() -> (Postgres, Site, String, Vec<u8>) {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    let dump = site.run(&["backup", "export", &id]).ok().stdout;
    (server, site, id, dump)
}

#[track_caller]
fn judge(site: &Site, ran: &Ran, before: usize, context: &str) {
    let ids = site.ids();
    match ran.stderr.contains("backup ok id=") {
        true => assert_eq!((ran.code, ids.len()), (Some(0), before + 1), "{context}: {}", ran.stderr),
        false => {
            assert_ne!(ran.code, Some(0), "{context}: {}", ran.stderr);
            assert!(ids.len() <= before + 1, "{context}");
        }
    }
    site.run(&["check"]).ok();
}

#[test]
fn t8_an_error_of_any_system_call_leaves_no_half_backup() {
    if !strace::is_permitted() {
        return;
    }
    let (server, site, id, dump) = set_up();
    let mut moments = Moments::seeded("t8_an_error_of_any_system_call_leaves_no_half_backup");
    let calls = [
        ("fsync,fdatasync", "EIO", 8),
        ("linkat,renameat2,renameat,rename,link", "EIO", 5),
        ("linkat,renameat2,renameat,rename,link", "ENOSPC", 3),
        ("openat", "EMFILE", 120),
        ("write,pwrite64,writev,pwritev,pwritev2", "ENOSPC", 40),
        ("write,pwrite64,writev,pwritev,pwritev2", "EIO", 40),
        ("fsync,fdatasync,linkat", "SIGKILL", 8),
        ("write,pwrite64", "SIGKILL", 40),
    ];
    let mut tampered = 0;
    for (names, error, among) in calls {
        for _ in 0..3 {
            let nth = 1 + moments.number() % among;
            server.psql_in(
                "app",
                &format!("UPDATE filler SET words = md5(n::text || '{names}{nth}') WHERE n % 3 = 0"),
            );
            let before = site.ids().len();
            // In every thread of ours, of pg_dump and of psql.
            let fault = match error {
                "SIGKILL" => Fault::kill(names),
                error => Fault::error(names, error),
            };
            let met = fault.nth(nth).run(&site.program(), &CREATE);
            judge(&site, &met.ran, before, &format!("{names} {error} {nth}"));
            tampered += usize::from(met.happened);
        }
    }
    assert!(tampered >= calls.len(), "the faults never happened: {tampered}");
    assert!(site.run(&["backup", "export", &id]).ok().stdout == dump);
    site.back_up("app");
    site.assert_sound();
}

#[test]
fn a_full_or_read_only_disk_is_said_and_costs_nothing() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = Site::bare(env!("CARGO_BIN_EXE_mainstay")).with_server(&server);
    let Some(disk) = SmallDisk::mount(&site.repository(), "3m") else { return };
    site.run(&["init", "--no-recovery-key"]).ok();
    let id = site.back_up("app");
    let dump = site.run(&["backup", "export", &id]).ok().stdout;
    let grow = "INSERT INTO filler SELECT n, md5(random()::text) || md5(random()::text) || md5(random()::text) \
        FROM generate_series(1, 60000) n";
    server.psql_in("app", grow);
    for _ in 0..3 {
        site.run(&CREATE).exits(1).says("No space left");
    }
    assert_eq!(site.ids(), std::slice::from_ref(&id));
    assert!(site.run(&["backup", "export", &id]).ok().stdout == dump);
    disk.remount("ro");
    site.run(&CREATE).exits(1).says("Read-only");
    // Reading needs no right to write.
    assert!(site.run(&["backup", "export", &id]).ok().stdout == dump);
    site.run(&["check", "--read-data"]).ok();
    site.run(&["backup", "restore", &id, "--database", "from_read_only"]).ok();
    disk.remount("rw,size=200m");
    let next = site.back_up("app");
    assert_eq!(site.ids(), [next, id]);
    site.assert_sound();
}
