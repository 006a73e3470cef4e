//! kill -9 at any moment of a backup, a restore or an export.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::program::Ran;
use testkit::site::{Site, files_below};
use testkit::tree::{assert_same_tree, differences};

use crate::{create, fill, id, restore, site, stored};

#[test]
fn killed_at_any_moment_the_repository_is_sound_and_the_next_backup_works() {
    let (site, data) = site();
    fill(&data, 3000, 20_000);
    let arguments = ["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    for wait_ms in [30, 120, 300, 700, 1200] {
        let mut child = site.program().start(&arguments);
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        site.run(&["check", "--read-data"]).ok();
    }
    let id = id(&create(&site, &data, &[]).ok());
    site.assert_sound();
    let to = site.path().join("restored");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
    assert_same_tree(&data, &to);
}

/// Packs and their bytes.
fn packs(site: &Site) -> Vec<(String, u64)> {
    let all = files_below(&site.repository()).into_iter();
    all.filter(|(name, _)| name.starts_with("data/"))
        .map(|(name, bytes)| (name, bytes.len() as u64))
        .collect()
}

/// Wait for a condition, or the end of the child.
fn wait_for(child: &mut std::process::Child, is_there: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_there() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < deadline, "it never came to that");
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn what_a_killed_backup_has_stored_is_not_sent_again() {
    let (site, data) = site();
    fill(&data, 300, 800_000);
    let arguments = ["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    let mut child = site.program().start(&arguments);
    assert!(wait_for(&mut child, || packs(&site).len() >= 6), "killed before it ends");
    child.kill().unwrap();
    child.wait().unwrap();
    let left = packs(&site);
    assert!(stored(&site, "index").is_empty(), "no index names them");
    assert!(site.ids().is_empty());
    let made = create(&site, &data, &[]).ok();
    let all = packs(&site);
    let (left, all): (HashSet<_>, HashSet<_>) = (left.into_iter().collect(), all.into_iter().collect());
    assert!(left.is_subset(&all), "nothing of it is gone");
    // Noise does not shrink, so what is stored is the directory once, and what every pack and tree costs.
    let bytes: u64 = all.iter().map(|(_, len)| len).sum();
    assert!(bytes < 300 * 800_000 * 102 / 100, "{bytes} bytes: something was sent twice");
    site.assert_sound();
    for restic in testkit::restic::installed() {
        let text = site.restic(&restic, &["check", "--read-data"]).ok();
        assert!(!format!("{}{}", text.text(), text.stderr).contains("not referenced"), "{}", text.text());
    }
    let to = site.path().join("restored");
    restore(&site, &id(&made), &["--to", to.to_str().unwrap()]).ok();
    assert_same_tree(&data, &to);
}

#[test]
fn ctrl_c_in_the_middle_of_a_directory_leaves_no_snapshot_and_no_lock() {
    let (site, data) = site();
    fill(&data, 150, 800_000);
    let mut child =
        site.program().start(&["backup", "create", "acme", "--directory", data.to_str().unwrap()]);
    assert!(wait_for(&mut child, || !packs(&site).is_empty()), "interrupted before it ends");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::wait(child).exits(1);
    assert!(!ran.stderr.contains("backup ok"), "{}", ran.stderr);
    assert!(site.ids().is_empty() && stored(&site, "snapshots").is_empty());
    assert!(stored(&site, "locks").is_empty() && stored(&site, "x/lease").is_empty());
    for restic in testkit::restic::installed() {
        site.restic(&restic, &["prune"]).ok();
    }
    let id = id(&create(&site, &data, &[]).ok());
    site.assert_sound();
    let to = site.path().join("restored");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
    assert_same_tree(&data, &to);
}

/// Names of unfinished files in a directory; looks at names alone, so as not to take longer than what it watches.
fn unfinished(dir: &Path) -> Vec<String> {
    let (mut found, mut folders) = (vec![], vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        // What vanishes between two looks is finished.
        for entry in fs::read_dir(dir.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            let name = path.to_str().unwrap().to_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ if name.ends_with(".partial") || name.contains(".tmp") => found.push(name),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn what_a_killed_restore_left_goes_with_the_next_one() {
    let (site, data) = site();
    fs::write(data.join("large"), vec![7; 300 << 20]).unwrap();
    fill(&data, 40, 2_000_000);
    let id = id(&create(&site, &data, &[]).ok());
    let to = site.path().join("to");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
    // Other names in the place: then files are not written into, but beside, and take their place at the end.
    let others = site.path().join("others");
    fs::create_dir(&others).unwrap();
    for (number, (name, _)) in files_below(&to).into_iter().enumerate() {
        fs::write(to.join(&name), "changed").unwrap();
        fs::hard_link(to.join(&name), others.join(number.to_string())).unwrap();
    }
    let arguments = ["backup", "restore", &id, "--to", to.to_str().unwrap(), "--delta"];
    let mut child = site.program().start(&arguments);
    assert!(wait_for(&mut child, || !unfinished(&to).is_empty()), "killed while files are written beside");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!unfinished(&to).is_empty());
    // One of a process that is alive is none of ours to remove.
    let alive =
        unfinished(&to)[0].replace(&format!("-{}-", child.id()), &format!("-{}-", std::process::id()));
    fs::write(to.join(&alive), "").unwrap();
    restore(&site, &id, &["--to", to.to_str().unwrap(), "--delta"]).ok();
    assert_eq!(unfinished(&to), [alive.as_str()]);
    fs::remove_file(to.join(alive)).unwrap();
    // Taking the last one away changed the time of its directory.
    let left: Vec<_> = differences(&data, &to).into_iter().filter(|line| !line.contains("mtime")).collect();
    assert!(left.is_empty(), "{left:?}");
    for number in fs::read_dir(others).unwrap() {
        assert_eq!(fs::read(number.unwrap().path()).unwrap(), b"changed", "written into another name");
    }
}

#[test]
fn a_killed_export_leaves_nothing() {
    let (site, data) = site();
    fill(&data, 60, 2_000_000);
    let id = id(&create(&site, &data, &[]).ok());
    let place = site.path().join("place");
    fs::create_dir(&place).unwrap();
    let file = place.join("a.tar");
    for wait_ms in [20, 80, 150, 300] {
        let mut child = site.program().start(&["backup", "export", &id, "-o", file.to_str().unwrap()]);
        std::thread::sleep(Duration::from_millis(wait_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        match fs::remove_file(&file) {
            Ok(()) => {}
            Err(_) => assert_eq!(files_below(&place), [], "after {wait_ms} ms"),
        }
    }
}
