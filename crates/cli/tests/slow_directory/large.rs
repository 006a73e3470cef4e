//! Very many entries, and very large files: bounded memory, and every restic reads them.

use std::fs;

use crate::{create, fill, id, restore, site};

/// Entries of one directory: restic's format keeps them in one tree.
const ENTRIES: u32 = 200_000;
/// Directories, each with a tree of its own.
const DIRECTORIES: u32 = 50_000;

/// Peak memory of a run in KiB.
fn peak(site: &testkit::site::Site, arguments: &[&str]) -> u64 {
    let ran = site.program().under(&["/usr/bin/time", "-f", "peak %M"]).run(arguments).ok();
    let line = ran.stderr.lines().rev().find_map(|line| line.strip_prefix("peak ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn memory_stays_flat_for_fifty_sparse_gigabytes() {
    let (site, data) = site();
    fs::File::create(data.join("sparse")).unwrap().set_len(50_000_000_000).unwrap();
    let made = peak(&site, &["backup", "create", "acme", "--directory", data.to_str().unwrap()]);
    let to = site.path().join("to");
    let restored = peak(&site, &["backup", "restore", "acme/data", "--to", to.to_str().unwrap()]);
    assert!(made < 150 << 10 && restored < 150 << 10, "{made} and {restored} KiB");
}

/// Noise, so that every byte goes through packs, over a slow line, so that everything that may wait does.
#[test]
fn a_budget_of_memory_holds_whatever_the_speed_of_the_store() {
    let (site, data) = site();
    fill(&data, 40, 5_000_000);
    let back_up = |name: &str, more: &[&str]| {
        let mut arguments =
            vec!["backup", "create", "acme", "--directory", data.to_str().unwrap(), "--name", name];
        arguments.extend(more);
        let peak = peak(&site, &arguments);
        // The next one finds nothing of it, and stores everything again.
        fs::remove_dir_all(site.repository()).unwrap();
        site.run(&["init", "--again", "--no-recovery-key"]).ok();
        peak
    };
    let low = back_up("low", &["--memory", "low", "--limit-upload", "100M"]);
    let least = back_up("least", &["--memory", "32M", "--limit-upload", "100M"]);
    let usual = back_up("usual", &["--limit-upload", "100M"]);
    let fast = back_up("fast", &[]);
    assert!(least <= low && low < 80 << 10, "{least} and {low} KiB");
    assert!(usual < 150 << 10 && fast < 150 << 10, "{usual} and {fast} KiB");
    let id = id(&create(&site, &data, &["--memory", "low"]).ok());
    let to = site.path().join("to");
    let restored = peak(&site, &["backup", "restore", &id, "--to", to.to_str().unwrap(), "--memory", "low"]);
    assert!(restored < 80 << 10, "{restored} KiB");
    site.run(&["backup", "list", "--memory", "31M"]).exits(2).says("32M");
    site.assert_sound();
}

/// What every judge sees of it: the names of the first and the last, and how many there are.
#[track_caller]
fn judge(site: &testkit::site::Site, entries: u32) {
    site.assert_sound();
    for restic in testkit::restic::installed() {
        let listed = site.restic(&restic, &["ls", "latest"]).ok().text();
        let count = listed.lines().filter(|line| line.contains("/data/n")).count();
        assert_eq!(count, entries as usize, "{}", restic.version());
    }
}

#[test]
fn a_directory_of_200_000_entries_is_backed_up_and_restored() {
    let (site, data) = site();
    for number in 0..ENTRIES {
        fs::write(data.join(format!("n{number:07}")), []).unwrap();
    }
    let made = id(&create(&site, &data, &[]).ok());
    judge(&site, ENTRIES);
    // Those that were made just before count as changed: a later change may bear the same time.
    create(&site, &data, &[]).ok().says("files: 0 new, ");
    let to = site.path().join("to");
    restore(&site, &made, &["--to", to.to_str().unwrap()]).ok();
    assert_eq!(fs::read_dir(&to).unwrap().count(), ENTRIES as usize);
}

#[test]
fn fifty_thousand_directories_take_no_more_memory_than_a_few() {
    let (site, data) = site();
    for number in 0..DIRECTORIES / 1000 {
        for inner in 0..1000 {
            fs::create_dir_all(data.join(format!("n{number:03}/{inner:03}"))).unwrap();
        }
    }
    let path = data.to_str().unwrap();
    let made = peak(&site, &["backup", "create", "acme", "--directory", path]);
    let again = peak(&site, &["backup", "create", "acme", "--directory", path]);
    judge(&site, DIRECTORIES + DIRECTORIES / 1000);
    let to = site.path().join("to");
    let restored = peak(&site, &["backup", "restore", "acme/data", "--to", to.to_str().unwrap()]);
    assert!(made.max(again).max(restored) < 150 << 10, "{made}, {again}, {restored} KiB");
}
