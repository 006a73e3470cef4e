//! Backups, restores and prunes of real processes beside each other.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testkit::program::Ran;
use testkit::restic;
use testkit::site::{assert_restores, noisy_directory};
use testkit::tree::fill_with_noise;

use crate::directory_site::{create, id, site, stored};
use crate::scene::END;

/// Far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wait until something is true.
#[track_caller]
fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn while_prune_moves_what_is_needed_backups_and_restores_go_on() {
    let (site, data) = site();
    for name in ["keep", "given up"] {
        noisy_directory(&data, name, 2);
    }
    let old = id(&create(&site, &data, &[]).ok());
    fs::remove_dir_all(data.join("given up")).unwrap();
    let kept = id(&create(&site, &data, &[]).ok());
    site.run(&["backup", "delete", &old]).ok();
    let before = stored(&site, "data").len();
    // Two megabytes are stored once more; at this rate that takes over a minute.
    let mut prune = site.program().start(&[&END[..], &["--limit-upload", "30K"]].concat());
    await_that("marks", || !stored(&site, "x/mark").is_empty());
    fs::write(data.join("new"), "of today").unwrap();
    let new = id(&create(&site, &data, &[]).ok());
    assert_restores(&site.program(), &new, &data);
    site.run(&["backup", "verify", &kept]).ok();
    assert!(prune.try_wait().unwrap().is_none(), "prune was to be slower than all of these");
    // Killed before it took anything away; the next one goes on.
    end(prune);
    assert!(stored(&site, "data").len() >= before);
    site.run(&END).ok();
    assert_restores(&site.program(), &new, &data);
    site.run(&["check", "--read-data"]).ok();
    assert!(stored_bytes(&site.repository().join("data")) < 3 << 20, "what nobody needs is gone");
}

#[test]
fn who_prunes_waits_for_a_backup_and_who_comes_for_the_prune() {
    let (site, data) = site();
    noisy_directory(&data, "noise", 2);
    let old = id(&create(&site, &data, &[]).ok());
    fill_with_noise(&data.join("noise"), 77, 2);
    site.run(&["backup", "delete", &old]).ok();
    let arguments = ["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    let slow = site.program().start(&[&arguments[..], &["--limit-upload", "400K"]].concat());
    await_that("a lease", || !stored(&site, "x/lease").is_empty());
    let prune = site.program().start(&END);
    await_that("a wish to work alone", || stored(&site, "x/lease").iter().any(|path| is_of_prune(path)));
    let next = create(&site, &data, &["--name", "other"]).ok();
    let (slow, prune) = (Ran::wait(slow).ok(), Ran::wait(prune).ok());
    assert!(prune.stderr.contains("waiting for root@"), "{}", prune.stderr);
    for ran in [&slow, &next] {
        assert_restores(&site.program(), &id(ran), &data);
    }
    site.run(&["check", "--read-data"]).ok();
    // One that does not want to wait says for whom to come back.
    site.run(&["backup", "delete", &id(&next)]).ok();
    let more = ["--name", "third", "--limit-upload", "100K"];
    fill_with_noise(&data.join("noise"), 78, 2);
    let slow = site.program().start(&[&arguments[..], &more].concat());
    await_that("a lease", || !stored(&site, "x/lease").is_empty());
    let prune = site.run(&[&END[..], &["--wait", "0s"]].concat()).ok();
    assert!(prune.text().contains("waiting   for root@"), "{}", prune.text());
    end(slow);
}

/// End a process that we started.
fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn is_of_prune(lease: &Path) -> bool {
    lease.components().any(|part| part.as_os_str() == "prune")
}

fn stored_bytes(folder: &Path) -> u64 {
    testkit::site::files_below(folder).iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn backups_and_prunes_of_many_processes_at_one_time_lose_nothing() {
    const WRITERS: u32 = 3;
    const ROUNDS: u32 = 4;
    let (site, data) = site();
    let one_writer = |writer: u32| {
        let mut acknowledged = vec![];
        for round in 0..ROUNDS {
            // What another one has as well, and what is of this round alone.
            let place = data.join(format!("{writer}-{round}"));
            fill_with_noise(&place.join("shared"), u64::from((writer + round) % 3), 1);
            fill_with_noise(&place.join("own"), u64::from(100 + 10 * writer + round), 1);
            let name = format!("of-{writer}");
            let made = id(&create(&site, &place, &["--name", &name]).ok());
            // Every second one is given up again, so that there is something to prune.
            match round % 2 {
                0 => drop(site.run(&["backup", "delete", &made]).ok()),
                _ => acknowledged.push((made, place)),
            }
        }
        acknowledged
    };
    let is_over = AtomicBool::new(false);
    let kept = std::thread::scope(|scope| {
        let prunes = || {
            let mut ended = 0;
            while !is_over.load(Ordering::SeqCst) {
                // Another prune at the same time is an error that says so.
                let ran = site.run(&END);
                assert!([Some(0), Some(6)].contains(&ran.code), "{:?}: {}", ran.code, ran.stderr);
                ended += u32::from(ran.code == Some(0));
            }
            ended
        };
        let pruning = [scope.spawn(prunes), scope.spawn(prunes)];
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || one_writer(writer))).collect();
        let kept: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        is_over.store(true, Ordering::SeqCst);
        let ended: u32 = pruning.into_iter().map(|prune| prune.join().unwrap()).sum();
        assert!(ended > 0, "no prune came to its end");
        kept
    });
    assert_eq!(kept.len() as u32, WRITERS * ROUNDS / 2);
    for (id, place) in &kept {
        assert_restores(&site.program(), id, place);
    }
    site.run(&END).ok();
    site.run(&["check", "--read-data"]).ok();
    for one in restic::installed() {
        site.restic(&one, &["check", "--read-data"]).ok();
    }
}
