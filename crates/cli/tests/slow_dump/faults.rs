//! The system fails at the n-th call: what was acknowledged is durable, what was not is nowhere, the next one works.

use std::path::Path;

use testkit::moments::Moments;
use testkit::postgres::Postgres;
use testkit::program::Ran;
use testkit::rich;
use testkit::site::Site;

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
            let fault =
                if error.starts_with("SIG") { format!("signal={error}") } else { format!("error={error}") };
            let inject = format!("inject={names}:{fault}:when={nth}");
            // No -f to pg_dump: it is our own calls that fail, in all our threads.
            let trace = site.path().join("trace");
            // What is not traced is not tampered with either.
            let traced = format!("trace={names}");
            let wrapper =
                ["strace", "-f", "-qq", "-o", trace.to_str().unwrap(), "-e", &traced, "-e", &inject];
            let ran = site.program().under(&wrapper).run(&CREATE);
            judge(&site, &ran, before, &format!("{names} {fault} {nth}"));
            let traced = std::fs::read_to_string(&trace).unwrap();
            tampered += usize::from(traced.contains("INJECTED") || traced.contains("killed by SIGKILL"));
        }
    }
    assert!(tampered >= calls.len(), "the faults never happened: {tampered}");
    assert!(site.run(&["backup", "export", &id]).ok().stdout == dump);
    site.back_up("app");
    site.assert_sound();
}

/// A file system of its own, gone with the value.
struct Mounted {
    place: std::path::PathBuf,
}

impl Mounted {
    /// Of this size; `None` where only root may mount and we are not.
    fn new(place: &Path, size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        std::fs::create_dir_all(place).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(place);
        mount.status().unwrap().success().then(|| Self { place: place.to_owned() })
    }

    fn remount(&self, option: &str) {
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{option}")]).arg(&self.place).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.place).status().ok();
    }
}

#[test]
fn a_full_or_read_only_disk_is_said_and_costs_nothing() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = Site::bare(env!("CARGO_BIN_EXE_mainstay")).with_server(&server);
    let Some(disk) = Mounted::new(&site.repository(), "3m") else { return };
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
