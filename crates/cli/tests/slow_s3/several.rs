//! Several places of one backup, one of them behind a wire that breaks.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::program::Ran;
use testkit::proxy::Proxy;
use testkit::s3::{S3, with_credentials};
use testkit::site::{Site, id_of};

use crate::{BUCKET, Far, ceph, json, text};

#[test]
fn a_place_that_breaks_half_way_leaves_the_backup_to_the_next_and_catches_up() {
    let s3 = S3::moto();
    s3.make_bucket(BUCKET);
    let proxy = Proxy::start(s3.service().port());
    let far = Far::bare(&s3.url_through(proxy.port(), BUCKET, "several"), with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let near = Site::new(env!("CARGO_BIN_EXE_mainstay"));
    let (large, near_place) = (far.source("large", 64), near.repository());
    let url = s3.url_through(proxy.port(), BUCKET, "several");
    let create = ["--json", "backup", "create", "acme", "--directory", text(&large)];
    let places = ["--dest", &url, "--dest", text(&near_place), "--retry-for", "1"];
    let arguments = [&create[..], &places].concat();

    let writer = far.program.start(&[&arguments[..], &["--limit-upload", "16M"]].concat());
    let (begin, before) = (Instant::now(), proxy.bytes());
    while proxy.bytes() < before + (20 << 20) {
        assert!(begin.elapsed() < Duration::from_secs(120), "nothing is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.cut();
    let ran = Ran::wait(writer).exits(3).says("going on with the next place").says("copy failed");
    let first = id_of(&ran);
    assert_eq!(json(&ran)["record"]["location"], text(&near_place));
    assert_eq!(near.ids(), [first.as_str()]);

    proxy.mend();
    let second = id_of(&far.run(&arguments).ok());
    assert_eq!(far.ids(), [second.as_str(), &first]);
    assert_eq!(near.ids(), [second.as_str(), &first]);
    far.assert_restores(&first, Path::new(&large));
    far.run(&["check", "--read-data"]).ok();
    near.assert_sound();
}

/// A program as if on a host of that name.
fn on_host(name: &str) -> [&str; 6] {
    ["unshare", "--uts", "sh", "-c", "hostname \"$0\" && exec \"$@\"", name]
}

#[test]
fn pitfall_18_hosts_that_back_up_and_one_that_prunes_lose_nothing() {
    let s3 = ceph();
    let far = Far::on(&s3, "hosts");
    let sources: Vec<_> = (0..6).map(|number| far.source(&"s".repeat(number + 1), 2)).collect();
    let is_over = AtomicBool::new(false);
    let kept: Vec<(String, &Path)> = std::thread::scope(|scope| {
        let prune = scope.spawn(|| {
            let pruner = far.program.under(&on_host("pruner"));
            let mut ended = 0;
            while !is_over.load(Ordering::SeqCst) {
                pruner.run(&["prune", "--cooling-off", "0h", "--max-unused", "0"]).ok();
                ended += 1;
            }
            ended
        });
        let writers = ["one", "two", "three"].map(|host| {
            let (far, sources) = (&far, &sources);
            scope.spawn(move || {
                let writer = far.program.under(&on_host(host));
                let mut kept = vec![];
                for (round, source) in sources.iter().enumerate() {
                    let create = ["backup", "create", "acme", "--name", host, "--directory", text(source)];
                    let id = id_of(&writer.run(&create).ok());
                    match round % 2 {
                        0 => drop(writer.run(&["backup", "delete", &id]).ok()),
                        _ => kept.push((id, &**source)),
                    }
                }
                kept
            })
        });
        let kept = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(prune.join().unwrap() > 0);
        kept
    });
    assert_eq!(kept.len(), 9);
    for (id, source) in &kept {
        far.assert_restores(id, source);
    }
    far.assert_sound();
}
