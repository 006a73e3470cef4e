//! Directories through the binary: flags, exit codes, a kill, a full disk.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::program::{Program, Ran};
use testkit::site::Site;
use testkit::tree::{Tree, assert_same_tree, differences};

const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

fn site() -> (Site, PathBuf) {
    let site = Site::new(MAINSTAY);
    let data = site.path().join("data");
    fs::create_dir(&data).unwrap();
    (site, data)
}

fn create(site: &Site, data: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec!["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    arguments.extend(more);
    site.run(&arguments)
}

fn id(ran: &Ran) -> String {
    let line = ran.stderr.lines().find(|line| line.starts_with("backup ok ")).unwrap();
    line.split_whitespace().find_map(|word| word.strip_prefix("id=")).unwrap().to_owned()
}

fn restore(site: &Site, id: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["backup", "restore", id];
    arguments.extend(more);
    site.run(&arguments)
}

fn fill(data: &Path, files: u32, len: usize) {
    for number in 0..files {
        let dir = data.join(format!("d{}", number % 50));
        fs::create_dir_all(&dir).unwrap();
        let mut bytes = vec![0; len];
        let mut state = u64::from(number) << 20 | 1;
        for chunk in bytes.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&(state >> 7).to_le_bytes()[..chunk.len()]);
        }
        fs::write(dir.join(format!("f{number}")), bytes).unwrap();
    }
}

#[test]
fn a_directory_there_and_back_with_words_and_codes() {
    let (site, data) = site();
    Tree::sample(&data, 5).unwrap();
    let made = create(&site, &data, &["--label", "first"]).ok().says("backup ok id=acme-data-");
    let id = id(&made);
    let to = site.path().join("restored");
    let done = restore(&site, &id, &["--to", to.to_str().unwrap()]).ok().says("restore ok id=");
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    let left: Vec<_> = differences(&data, &to).into_iter().filter(|line| !line.contains("socket")).collect();
    assert!(left.iter().all(|line| line.contains("missing") || line.contains("mtime")), "{left:?}");
    restore(&site, &id, &["--to", to.to_str().unwrap()]).exits(6).says("is not empty");
    restore(&site, "acme/data", &["--to", to.to_str().unwrap(), "--delta"]).ok().says("0 new, 0 overwritten");
    site.run(&["backup", "verify", &id]).ok();
    site.run(&["check", "--read-data"]).ok();
    restore(&site, &id, &["--to", "/nonexistent/x", "--table", "t"]).exits(2);
    let path = site.path().join("part");
    let nowhere = ["--to", path.to_str().unwrap(), "--path", "no/where"];
    restore(&site, &id, &nowhere).exits(5).says("no/where is not in");
    let absolute = data.join("plain/deep");
    restore(&site, &id, &["--to", path.to_str().unwrap(), "--path", absolute.to_str().unwrap()]).ok();
    assert_same_tree(&absolute, &path.join("plain/deep"));
}

#[test]
fn exported_as_tar_it_is_the_same_without_mainstay() {
    let (site, data) = site();
    Tree::sample(&data, 5).unwrap();
    let id = id(&create(&site, &data, &[]).ok());
    let (archive, to) = (site.path().join("a.tar"), site.path().join("to"));
    site.run(&["backup", "export", &id, "--output", archive.to_str().unwrap()]).ok().says("export ok");
    fs::create_dir(&to).unwrap();
    let (archive, place) = (archive.to_str().unwrap(), to.to_str().unwrap());
    let flags = ["--xattrs", "--xattrs-include=*", "-xpf", archive, "-C", place];
    Program::new("tar").run(&flags).ok();
    // tar has no word for a socket, fills holes, and its header no time before 1970.
    let is_lost = |line: &String| {
        ["holes should be", "socket", "attributes"].iter().any(|part| line.contains(part))
            || line.contains("mtime should be -")
    };
    let left: Vec<_> = differences(&data, &to).into_iter().filter(|line| !is_lost(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn in_place_asks_for_the_name_and_a_dry_run_changes_nothing() {
    let (site, data) = site();
    fs::write(data.join("file"), "one").unwrap();
    let id = id(&create(&site, &data, &[]).ok());
    fs::write(data.join("file"), "two!").unwrap();
    fs::write(data.join("extra"), "extra").unwrap();
    let path = data.to_str().unwrap();
    restore(&site, &id, &[]).exits(6).says("is not empty");
    restore(&site, &id, &["--delta"]).exits(6).says(&format!("--yes={path}"));
    restore(&site, &id, &["--delta", "--yes=/other"]).exits(6);
    let plan = restore(&site, &id, &["--delta", "--delete", "--dry-run"]).ok();
    plan.says("would overwrite file").says("would delete extra").says("1 overwritten");
    assert_eq!(fs::read(data.join("file")).unwrap(), b"two!");
    restore(&site, &id, &["--delta", "--delete", &format!("--yes={path}")]).ok().says("restore ok");
    assert_eq!(fs::read(data.join("file")).unwrap(), b"one");
    assert!(!data.join("extra").exists());
    fs::remove_dir_all(&data).unwrap();
    restore(&site, &id, &["--dry-run"]).ok().says("1 new");
    assert!(!data.exists());
    restore(&site, &id, &[]).ok();
    assert_eq!(fs::read(data.join("file")).unwrap(), b"one");
}

#[test]
fn an_unreadable_directory_makes_it_incomplete_with_exit_3() {
    let (site, data) = site();
    fs::write(data.join("file"), "x").unwrap();
    fs::create_dir_all(data.join("gone")).unwrap();
    create(&site, &data, &["--exclude", "*.tmp"]).ok().says("0 left out, 0 problems");
    let busy = data.join("busy");
    let file = fs::File::create(&busy).unwrap();
    file.set_len(256 << 20).unwrap();
    file.write_all_at(&[1; 1 << 20], 200 << 20).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n: u64 = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                n += 1;
                file.write_all_at(&n.to_le_bytes(), (n % 1000) << 18).unwrap();
            }
        });
        let ran = create(&site, &data, &[]);
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        ran
    });
    let ran = ran.exits(3).says("/busy changed while it was read").says("is incomplete");
    let id = id(&ran);
    let to = site.path().join("x");
    let delete = ["--to", to.to_str().unwrap(), "--delta", "--delete"];
    restore(&site, &id, &delete).exits(6).says("what it could not read would be deleted");
}

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

#[test]
fn damage_is_named_file_by_file_with_exit_4_and_the_rest_is_restored() {
    let (site, data) = site();
    fill(&data, 20, 5_000);
    let id = id(&create(&site, &data, &[]).ok());
    let packs = Program::new("find")
        .run(&[site.repository().join("data").to_str().unwrap(), "-type", "f"])
        .ok()
        .text();
    let largest = packs.lines().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap().to_owned();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let to = site.path().join("to");
    let ran = restore(&site, &id, &["--to", to.to_str().unwrap()]).exits(4);
    let ran = ran.says("integrity check failed: 1 files").says("warning: d");
    assert!(!ran.stderr.contains("restore ok"));
    assert_eq!(differences(&data, &to).iter().filter(|line| line.contains("missing")).count(), 1);
}

#[test]
fn one_file_comes_back_where_it_was() {
    let (site, data) = site();
    let file = data.join("file");
    fs::write(&file, "one").unwrap();
    let id = id(&create(&site, &file, &[]).ok());
    fs::remove_file(&file).unwrap();
    restore(&site, &id, &[]).ok();
    assert_eq!(fs::read(&file).unwrap(), b"one");
}

#[test]
fn a_full_disk_stops_the_restore_with_its_reason() {
    let (site, data) = site();
    fill(&data, 60, 200_000);
    let id = id(&create(&site, &data, &[]).ok());
    let small = site.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = Program::new("mount");
    let mounted = mount.run(&["-t", "tmpfs", "-o", "size=4m", "tmpfs", small.to_str().unwrap()]);
    assert_eq!(mounted.code, Some(0), "only root can make a small disk: {}", mounted.stderr);
    let to = small.join("to");
    let ran = restore(&site, &id, &["--to", to.to_str().unwrap()]);
    Program::new("umount").run(&[small.to_str().unwrap()]).ok();
    ran.exits(1).says("No space left on device").says("--delta");
}

#[test]
fn memory_stays_flat_for_fifty_sparse_gigabytes() {
    let (site, data) = site();
    fs::File::create(data.join("sparse")).unwrap().set_len(50_000_000_000).unwrap();
    let peak = |arguments: &[&str]| -> u64 {
        let ran = site.program().under(&["/usr/bin/time", "-f", "peak %M"]).run(arguments).ok();
        let line = ran.stderr.lines().rev().find_map(|line| line.strip_prefix("peak ")).unwrap();
        line.parse().unwrap()
    };
    let made = peak(&["backup", "create", "acme", "--directory", data.to_str().unwrap()]);
    let to = site.path().join("to");
    let restored = peak(&["backup", "restore", "acme/data", "--to", to.to_str().unwrap()]);
    assert!(made < 150 << 10 && restored < 150 << 10, "{made} and {restored} KiB");
}
