//! The end of the writer by kill -9, and a store that goes away: what was acknowledged stays, and nothing is sent twice.

use std::process::Child;
use std::time::{Duration, Instant};

use testkit::program::Ran;
use testkit::proxy::Proxy;
use testkit::s3::S3;
use testkit::site::id_of;

use crate::{BUCKET, Far, ceph, json, text};

/// Long enough for a machine that does many things at once.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

/// A repository behind a wire that a test holds in its hand.
struct Wired {
    s3: S3,
    proxy: Option<Proxy>,
    port: u16,
    far: Far,
}

impl Wired {
    fn new() -> Self {
        let s3 = ceph();
        let proxy = Proxy::start(s3.service().port());
        let port = proxy.port();
        let mut far = Far::bare_on(&s3, "fire");
        far.program = far.program.with("MAINSTAY_REPOSITORY", s3.url_through(port, BUCKET, "fire"));
        far.run(&["init", "--no-recovery-key"]).ok();
        Self { s3, proxy: Some(proxy), port, far }
    }

    /// Start a backup that takes some seconds, and wait until so many MiB of it went over the wire.
    fn half_way(&self, source: &std::path::Path, mib: u64, more: &[&str]) -> Child {
        let bytes = || self.proxy.as_ref().unwrap().bytes();
        let (before, begin) = (bytes(), Instant::now());
        let create =
            ["--json", "backup", "create", "acme", "--directory", text(source), "--limit-upload", "24M"];
        let mut writer = self.far.program.start(&[&create[..], more].concat());
        while bytes() < before + mib * MIB {
            assert!(begin.elapsed() < PATIENCE, "nothing is sent");
            assert!(writer.try_wait().unwrap().is_none(), "{:?}", Ran::wait(writer));
            std::thread::sleep(Duration::from_millis(20));
        }
        writer
    }

    /// Nobody listens any more.
    fn refuse(&mut self) {
        self.proxy = None;
    }

    fn listen_again(&mut self) {
        self.proxy = Some(Proxy::start_at(self.port, self.s3.service().port()));
    }

    fn uploaded(ran: &Ran) -> u64 {
        json(ran)["requests"]["uploadedBytes"].as_str().unwrap().parse().unwrap()
    }
}

#[test]
fn kill_9_of_the_writer_costs_no_backup_and_nothing_is_sent_twice() {
    let wired = Wired::new();
    let far = &wired.far;
    let source = far.source("first", 8);
    let first = id_of(&far.back_up(&source, &[]).ok());
    let large = far.source("large", 128);
    for mib in [1, 24, 96] {
        let mut writer = wired.half_way(&large, mib.min(20), &[]);
        let bytes = || wired.proxy.as_ref().unwrap().bytes();
        let (begin, from) = (Instant::now(), bytes());
        while bytes() < from + mib.saturating_sub(20) * MIB && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        far.run(&["check", "--read-data"]).ok();
        assert_eq!(far.ids(), std::slice::from_ref(&first));
        far.assert_restores(&first, &source);
    }
    let ran = far.back_up(&large, &["--json"]).ok();
    // Of 128 MiB at least 96 were sent before the last kill; two packs of 16 MiB may have been on their way.
    assert!(Wired::uploaded(&ran) < 80 * MIB, "{}", ran.text());
    far.assert_restores(&id_of(&ran), &large);
    far.assert_sound();
}

#[test]
fn a_store_that_goes_away_is_waited_for_or_ends_the_run_cleanly() {
    let mut wired = Wired::new();
    let source = wired.far.source("first", 8);
    let first = id_of(&wired.far.back_up(&source, &[]).ok());

    // Connections are taken and dropped for some seconds, as by a server that is being restarted.
    let dropped = wired.far.source("dropped", 96);
    let writer = wired.half_way(&dropped, 20, &[]);
    wired.proxy.as_ref().unwrap().cut();
    std::thread::sleep(Duration::from_secs(3));
    wired.proxy.as_ref().unwrap().mend();
    let ran = Ran::wait(writer).ok().says("trying again");
    wired.far.assert_restores(&id_of(&ran), &dropped);

    // Nobody listens for some seconds.
    let refused = wired.far.source("refused one", 96);
    let writer = wired.half_way(&refused, 20, &[]);
    wired.refuse();
    std::thread::sleep(Duration::from_secs(3));
    wired.listen_again();
    let ran = Ran::wait(writer).ok().says("trying again");
    wired.far.assert_restores(&id_of(&ran), &refused);

    // For longer than it is told to wait: it ends, in words, and nothing half is seen.
    let late = wired.far.source("too late for it", 96);
    let before = wired.far.ids();
    let writer = wired.half_way(&late, 64, &["--retry-for", "2"]);
    wired.refuse();
    Ran::wait(writer).exits(1).says("refused").says("not sent twice");
    wired.listen_again();
    assert_eq!(wired.far.ids(), before);
    wired.far.assert_sound();
    wired.far.assert_restores(&first, &source);
    let ran = wired.far.back_up(&late, &["--json"]).ok();
    assert!(Wired::uploaded(&ran) < 80 * MIB, "{}", ran.text());
    wired.far.assert_restores(&id_of(&ran), &late);
    wired.far.assert_sound();
}

#[test]
fn a_store_that_is_away_for_a_minute_is_ridden_out() {
    let mut wired = Wired::new();
    let large = wired.far.source("large", 96);
    let writer = wired.half_way(&large, 20, &[]);
    wired.refuse();
    std::thread::sleep(Duration::from_secs(60));
    wired.listen_again();
    let ran = Ran::wait(writer).ok().says("trying again");
    wired.far.assert_restores(&id_of(&ran), &large);
    wired.far.assert_sound();
}
