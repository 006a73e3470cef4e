//! The system fails at the n-th call: what was acknowledged is durable, what was not is nowhere, the next one works.

use std::os::unix::fs::PermissionsExt;

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

/// 40 MB go through where there is room for 1 MiB of temporary files: there and back, nothing of the dump is one.
#[test]
fn no_temporary_file_holds_a_dump() {
    let server = Postgres::start();
    let rows =
        "CREATE TABLE wide AS SELECT n, repeat(md5(n::text), 100) AS words FROM generate_series(1, 12500) n";
    rich::make(&server, "app", rows);
    let site = site().with_server(&server);
    let Some(disk) = SmallDisk::mount(&site.path().join("temporary"), "1m") else { return };
    let program = site.program().with("TMPDIR", disk.path());
    let made = program.run(&CREATE).ok();
    let size = made.stderr.split_whitespace().find_map(|word| word.strip_prefix("bytes=")).unwrap();
    assert!(size.parse::<u64>().unwrap() > 40_000_000, "{size}");
    server.psql("CREATE DATABASE empty");
    for target in ["new", "empty"] {
        let restore = ["backup", "restore", "acme/app", "--database", target, "--jobs", "2"];
        program.run(&restore).ok();
        assert_eq!(server.psql_in(target, "SELECT count(*), sum(length(words)) FROM wide"), "12500|40000000");
    }
    program.run(&["backup", "restore", "acme/app", "--database", "empty", "--clean", "--yes=empty"]).ok();
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0, "nothing is left there");
}

/// Stored bytes of packs.
fn stored(site: &Site) -> u64 {
    let packs = site.files().into_iter().filter(|(name, _)| name.starts_with("data/"));
    packs.map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn what_a_failed_dump_has_stored_is_not_sent_again() {
    let server = Postgres::start();
    let words = "CREATE TABLE noise AS SELECT n, \
        (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000) WHERE n > 0) AS words \
        FROM generate_series(1, 700) n";
    rich::make(&server, "app", words);
    let (site, other) = (site().with_server(&server), site().with_server(&server));
    other.back_up("app");
    // A pg_dump that fails half-way.
    let bin_dir = site.path().join("failing");
    std::fs::create_dir(&bin_dir).unwrap();
    for program in ["pg_restore", "psql"] {
        std::os::unix::fs::symlink(server.client().program(program), bin_dir.join(program)).unwrap();
    }
    let real = server.client().program("pg_dump").display().to_string();
    let script = format!(
        "#!/bin/bash\n[ \"$1\" = --version ] && exec {real} --version\n{real} \"$@\" | head -c 55000000\nexit 1\n"
    );
    std::fs::write(bin_dir.join("pg_dump"), script).unwrap();
    std::fs::set_permissions(bin_dir.join("pg_dump"), PermissionsExt::from_mode(0o755)).unwrap();
    let failing = ["--pg-bin-dir", bin_dir.to_str().unwrap()];
    let mut last = 0;
    for _ in 0..3 {
        let ran = site.run(&[&CREATE[..], &failing].concat());
        assert!(ran.code.is_some_and(|code| code != 0), "{}", ran.stderr);
        let now = stored(&site);
        assert!(now > 10_000_000, "{now} bytes: something was stored");
        // The packs that were open are not kept; all others are used by whoever comes next.
        assert!(last == 0 || now - last < 20_000_000, "{last} bytes, then {now}");
        last = now;
        let checked = site.run(&["check"]).ok().text();
        assert!(!checked.contains("in no index"), "{checked}");
    }
    site.back_up("app");
    let (once, all) = (stored(&other), stored(&site));
    assert!(all < once * 102 / 100, "{all} bytes where {once} are enough");
    site.assert_sound();
}
